//! What a linter can find in a table.

use std::fmt;

use serde::Serialize;

use crate::units::{Gpus, Millis, Tokens};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Some answers are less certain than they could be.
    Warning,
    /// Answers are wrong, whatever is asked.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The table that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// That of prefill.
    Prefill,
    /// That of decode.
    Decode,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        })
    }
}

/// Something in a table that looks wrong. None of them stops a load.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// An input length was measured several times; the mean is used.
    DuplicateIsl {
        /// The input length.
        isl: Tokens,
        /// How often.
        points: usize,
    },
    /// A batch and context were measured several times; the mean is used.
    DuplicateDecodePoint {
        /// The batch, in sequences.
        batch: f64,
        /// The context length.
        context: Tokens,
        /// How often.
        points: usize,
    },
    /// The prefill points of the file do not stand in the order of their input length.
    IslOutOfOrder {
        /// The first input length that is below the one before it.
        isl: Tokens,
    },
    /// A longer prompt was faster than a shorter one.
    TtftFalls {
        /// The shorter input.
        from: Tokens,
        /// The longer input.
        to: Tokens,
        /// Its time to first token before the fall.
        before: Millis,
        /// And after.
        after: Millis,
    },
    /// A larger batch was faster than a smaller one of the same context.
    ItlFalls {
        /// The context length.
        context: Tokens,
        /// The smaller batch, in sequences.
        from: f64,
        /// The larger batch, in sequences.
        to: f64,
        /// The latency before the fall.
        before: Millis,
        /// And after.
        after: Millis,
    },
    /// A longer context was faster than a shorter one at the same batch.
    ItlFallsWithContext {
        /// The batch, in sequences.
        batch: f64,
        /// The shorter context.
        from: Tokens,
        /// The longer context.
        to: Tokens,
        /// The latency of the shorter one.
        before: Millis,
        /// And of the longer one.
        after: Millis,
    },
    /// Prefill throughput disagrees with `isl / ttft` at single points: one of the three columns is
    /// of another measurement there.
    PrefillThroughput {
        /// How many points do.
        points: usize,
        /// The worst ratio, as `isl / ttft / GPUs` over the stated throughput.
        worst: f64,
        /// The input length of the worst.
        isl: Tokens,
    },
    /// The prefill throughput was divided by another number of GPUs than the engine has.
    GpuCount {
        /// GPUs of one engine as stated.
        stated: Gpus,
        /// The median of `isl / ttft / throughput`.
        implied: f64,
    },
    /// Decode throughput disagrees with `batch / itl / GPUs` by more than 1.3 times.
    LittlesLaw {
        /// How many points do.
        points: usize,
        /// Of how many that have a throughput.
        of: usize,
        /// The worst ratio, as `batch / itl / GPUs` over the stated throughput.
        worst: f64,
        /// The batch of the worst, in sequences.
        batch: f64,
        /// The context length of the worst.
        context: Tokens,
    },
    /// A table has so few points that what is between them is a guess.
    FewPoints {
        /// Which.
        table: Table,
        /// How many.
        points: usize,
        /// How many it takes.
        wanted: usize,
    },
    /// Decode was measured at one context length only.
    OneContext {
        /// That context length.
        context: Tokens,
    },
    /// The decode points form no rows of equal context: a least squares plane stands in.
    NoRows,
    /// The contexts share their curve in batch (a mixture of experts does), found by leaving points
    /// out: they lend each other points, and a finer sweep of short contexts would be better.
    SharedBatchCurve,
    /// Decode points whose batch is below one sequence: `max_kv_tokens` is not of this sweep.
    BatchBelowOne {
        /// How many.
        points: usize,
        /// The smallest batch, in sequences.
        smallest: f64,
    },
    /// Engines of different size are said to hold the same tokens, which is right for one of them at
    /// most.
    SharedKvTokens {
        /// GPUs of the smallest and of the largest engine.
        gpus: [Gpus; 2],
        /// The tokens that each is said to hold.
        max_kv_tokens: Tokens,
    },
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            // Counts and sizes of the whole engine: every capacity that follows is off by a factor.
            Self::GpuCount { .. } | Self::BatchBelowOne { .. } | Self::SharedKvTokens { .. } => {
                Severity::Error
            }
            // At single points throughput may have been measured in another state; at most of them
            // it is the unit, the GPU count or the KV cache that is of another engine.
            Self::LittlesLaw { points, of, .. } if *points * 2 > *of => Severity::Error,
            Self::LittlesLaw { .. }
            | Self::PrefillThroughput { .. }
            | Self::TtftFalls { .. }
            | Self::ItlFalls { .. }
            | Self::ItlFallsWithContext { .. }
            | Self::FewPoints { .. }
            | Self::OneContext { .. }
            | Self::NoRows => Severity::Warning,
            Self::DuplicateIsl { .. }
            | Self::DuplicateDecodePoint { .. }
            | Self::IslOutOfOrder { .. }
            | Self::SharedBatchCurve => Severity::Note,
        }
    }

    /// The table that it is about.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self {
            Self::DuplicateIsl { .. }
            | Self::IslOutOfOrder { .. }
            | Self::TtftFalls { .. }
            | Self::GpuCount { .. }
            | Self::PrefillThroughput { .. } => Table::Prefill,
            Self::FewPoints { table, .. } => *table,
            Self::DuplicateDecodePoint { .. }
            | Self::ItlFalls { .. }
            | Self::ItlFallsWithContext { .. }
            | Self::LittlesLaw { .. }
            | Self::OneContext { .. }
            | Self::NoRows
            | Self::SharedBatchCurve
            | Self::BatchBelowOne { .. }
            | Self::SharedKvTokens { .. } => Table::Decode,
        }
    }

    /// The column to look at, by its name in the file.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::DuplicateIsl { .. } | Self::IslOutOfOrder { .. } => "prefill_isl",
            Self::TtftFalls { .. } => "prefill_ttft",
            Self::GpuCount { .. } | Self::PrefillThroughput { .. } => "prefill_thpt_per_gpu",
            Self::FewPoints { .. } => match self.table() {
                Table::Prefill => "prefill_isl",
                Table::Decode => "x_kv_usage",
            },
            Self::DuplicateDecodePoint { .. } | Self::SharedBatchCurve => "x_kv_usage",
            Self::ItlFalls { .. } | Self::ItlFallsWithContext { .. } => "z_itl",
            Self::LittlesLaw { .. } => "z_thpt_per_gpu",
            Self::OneContext { .. } | Self::NoRows => "y_context_length",
            Self::BatchBelowOne { .. } | Self::SharedKvTokens { .. } => "max_kv_tokens",
        }
    }

    /// How to mend it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::DuplicateIsl { .. } | Self::DuplicateDecodePoint { .. } => {
                "keep the better measurement; their mean is used until then"
            }
            Self::IslOutOfOrder { .. } => {
                "sort the points by input length; they are sorted when read, but other readers of \
                 the file may not do it"
            }
            Self::TtftFalls { .. } => {
                "measure both lengths again, with a warm engine and more repetitions; the curve is \
                 made level there"
            }
            Self::ItlFalls { .. } => {
                "measure again, and look whether the engine ran that many sequences at once \
                 (`max_num_seqs`); the curve is made level there"
            }
            Self::ItlFallsWithContext { .. } => {
                "measure both contexts again at that batch; the surface is made level there"
            }
            Self::PrefillThroughput { .. } => {
                "measure that point again; the throughput column is not used for planning, TTFT is"
            }
            Self::GpuCount { .. } => {
                "state the GPUs of one engine in `meta.json` (`gpus_per_engine`), or divide the \
                 throughput columns by them"
            }
            Self::LittlesLaw { .. } => {
                "check that `max_kv_tokens` and the GPU count are of this engine, and that ITL and \
                 throughput are of the same run"
            }
            Self::FewPoints { .. } => "measure more points, above all where the load will be",
            Self::OneContext { .. } => {
                "measure a second context length, so that the cost of long contexts is known"
            }
            Self::NoRows => "measure several batches at each of a few context lengths",
            Self::SharedBatchCurve => "measure smaller batches at the short contexts",
            Self::BatchBelowOne { .. } => {
                "take `max_kv_tokens` from the log of the engine that was measured"
            }
            Self::SharedKvTokens { .. } => {
                "take `max_kv_tokens` of each engine size from its own log"
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateIsl { isl, points } => {
                write!(f, "input length {isl:.0} was measured {points} times; the mean is used")
            }
            Self::DuplicateDecodePoint { batch, context, points } => write!(
                f,
                "batch {batch:.0} at context {context:.0} was measured {points} times; the mean is \
                 used"
            ),
            Self::TtftFalls { from, to, before, after } => write!(
                f,
                "TTFT falls from {before:.1} to {after:.1} between inputs of {from:.0} and {to:.0}"
            ),
            Self::ItlFalls { context, from, to, before, after } => write!(
                f,
                "ITL falls from {before:.1} to {after:.1} between batches of {from:.0} and {to:.0} \
                 at context {context:.0}"
            ),
            Self::IslOutOfOrder { isl } => {
                write!(f, "input length {isl:.0} stands behind a longer one")
            }
            Self::ItlFallsWithContext { batch, from, to, before, after } => write!(
                f,
                "ITL falls from {before:.1} to {after:.1} between contexts of {from:.0} and {to:.0} \
                 at batch {batch:.0}"
            ),
            Self::PrefillThroughput { points, worst, isl } => write!(
                f,
                "prefill throughput disagrees with ISL / TTFT / GPUs at {points} points, worst \
                 {worst:.2} times at {isl:.0}"
            ),
            Self::GpuCount { stated, implied } => write!(
                f,
                "engines have {stated} GPUs but prefill throughput was divided by {implied:.2}"
            ),
            Self::LittlesLaw { points, of: _, worst, batch, context } => write!(
                f,
                "decode throughput disagrees with batch / ITL / GPUs at {points} points, worst \
                 {worst:.2} times at batch {batch:.0}, context {context:.0}"
            ),
            Self::FewPoints { table, points, wanted } => {
                write!(
                    f,
                    "{table} has {points} points; what is between fewer than {wanted} is a guess"
                )
            }
            Self::OneContext { context } => {
                write!(f, "decode was measured at one context length only, {context:.0}")
            }
            Self::NoRows => {
                f.write_str("decode points form no rows of equal context: a plane stands in")
            }
            Self::SharedBatchCurve => f.write_str(
                "ITL bends at small batches between the points of short contexts: taken from the \
                 longer ones; a finer sweep would be better",
            ),
            Self::BatchBelowOne { points, smallest } => write!(
                f,
                "{points} decode points are of a batch below 1 (smallest {smallest:.2}): \
                 max_kv_tokens is not of this sweep"
            ),
            Self::SharedKvTokens { gpus: [few, many], max_kv_tokens } => write!(
                f,
                "engines of {few} and of {many} GPUs are both said to hold {max_kv_tokens:.0}"
            ),
        }
    }
}
