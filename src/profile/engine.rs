//! One engine's tables, read and ready to be asked.

use serde_json::{Map, Value};

use super::decode::DecodeSurface;
use super::error::ProfileError;
use super::fields::Fields;
use super::finding::Finding;
use super::prefill::PrefillCurve;
use super::source::{self, ProfileFiles};
use super::table::{DecodePoint, PrefillPoint, decode_points, prefill_points};
use crate::units::{Gpus, Millis, Tokens, round_to_u32};

/// What one engine (one replica of a pool) does, as measured.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineProfile {
    place: String,
    model: Option<String>,
    gpus_stated: Option<Gpus>,
    prefill_points: Vec<PrefillPoint>,
    decode_points: Vec<DecodePoint>,
    prefill: PrefillCurve,
    decode: DecodeSurface,
    pub(super) found_reading: Vec<Finding>,
}

/// What `meta.json` may say; all of it optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meta {
    pub(super) model: Option<String>,
    pub(super) gpus: Option<Gpus>,
}

impl Meta {
    pub(super) fn from_object(file: &str, map: &Map<String, Value>) -> Result<Self, ProfileError> {
        let wrong = |field: &str, expected, value: &Value| ProfileError::Type {
            file: file.to_owned(),
            field: field.to_owned(),
            expected,
            found: value.to_string(),
        };
        let model = match map.get("model") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(s.clone()),
            Some(other) => return Err(wrong("model", "the name of a model", other)),
        };
        let gpus = match map.get("gpus_per_engine") {
            None | Some(Value::Null) => None,
            Some(v) => match v.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(n) if n > 0 => Some(Gpus::new(n)),
                _ => return Err(wrong("gpus_per_engine", "a whole number above 0", v)),
            },
        };
        Ok(Self { model, gpus })
    }

    /// What is absent here, from the keys of a sweep: an engine has `tp * pp * dp` GPUs.
    pub(super) fn or_keys_of(mut self, fields: &Fields) -> Self {
        let number = |key| fields.key(key).and_then(|v| v.parse::<u32>().ok());
        let of_keys = || {
            let others = number("pp").unwrap_or(1).checked_mul(number("dp").unwrap_or(1))?;
            number("tp")?.checked_mul(others).filter(|n| *n > 0).map(Gpus::new)
        };
        self.gpus = self.gpus.or_else(of_keys);
        self.model = self.model.or_else(|| fields.key("model").map(str::to_owned));
        self
    }
}

impl EngineProfile {
    /// Reads the tables an edge has found.
    ///
    /// # Errors
    ///
    /// Where a role has no table, a file is not what its name promises, a field is missing, empty,
    /// of the wrong type or length, or a number is not a measurement (not a number, infinite,
    /// negative, zero, a KV usage above 1.01), and where several sweeps would fit.
    pub fn from_files(files: &ProfileFiles) -> Result<Self, ProfileError> {
        let source::Read { prefill, decode, meta } = source::read(files)?;
        Self::build(files.place.clone(), &prefill, &decode, meta)
    }

    /// From explicit points: prefill as (input tokens, TTFT in ms), decode as (batch in sequences,
    /// context in tokens, ITL in ms), and the tokens that the KV cache of one engine holds.
    ///
    /// # Errors
    ///
    /// As [`EngineProfile::from_files`]; fields are named as in the files. `kv_usage` is
    /// `batch * context / max_kv_tokens`.
    pub fn from_points(
        prefill: &[(f64, f64)],
        decode: &[(f64, f64, f64)],
        max_kv_tokens: Tokens,
    ) -> Result<Self, ProfileError> {
        let place = "explicit points";
        let kv = max_kv_tokens.get();
        let prefill = Fields::from_columns(
            place,
            &[
                ("prefill_isl", prefill.iter().map(|p| p.0).collect()),
                ("prefill_ttft", prefill.iter().map(|p| p.1).collect()),
            ],
        );
        let decode = Fields::from_columns(
            place,
            &[
                ("x_kv_usage", decode.iter().map(|p| p.0 * p.1 / kv).collect()),
                ("y_context_length", decode.iter().map(|p| p.1).collect()),
                ("z_itl", decode.iter().map(|p| p.2).collect()),
                ("max_kv_tokens", vec![kv]),
            ],
        );
        Self::build(place.to_owned(), &prefill, &decode, Meta::default())
    }

    pub(super) fn build(
        place: String,
        prefill: &Fields,
        decode: &Fields,
        meta: Meta,
    ) -> Result<Self, ProfileError> {
        let prefill_points = prefill_points(prefill)?;
        let (decode_points, max_kv) = decode_points(decode)?;
        let mut found_reading = Vec::new();
        let listed = prefill.numbers("prefill_isl")?.unwrap_or(&[]);
        if let Some(pair) = listed.windows(2).find(|pair| pair[1] < pair[0]) {
            found_reading.push(Finding::IslOutOfOrder { isl: Tokens::clamped(pair[1]) });
        }
        let curve = PrefillCurve::new(&merge_prefill(&prefill_points, &mut found_reading));
        let surface = DecodeSurface::new(&merge_decode(&decode_points, &mut found_reading), max_kv);
        Ok(Self {
            place,
            model: meta.model,
            gpus_stated: meta.gpus,
            prefill_points,
            decode_points,
            prefill: curve,
            decode: surface,
            found_reading,
        })
    }

    /// Where the tables came from, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The model measured, where the source says it.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// GPUs of one engine: as stated ([`EngineProfile::gpus_stated`]), else as the prefill table implies
    /// ([`EngineProfile::gpus_implied`]), else `None`.
    #[must_use]
    pub fn gpus_per_engine(&self) -> Option<Gpus> {
        self.gpus_stated.or_else(|| {
            let implied = round_to_u32(self.gpus_implied()?);
            (implied > 0).then_some(Gpus::new(implied))
        })
    }

    /// GPUs of one engine as `meta.json` states them, or the keys of a pre-swept table.
    #[must_use]
    pub const fn gpus_stated(&self) -> Option<Gpus> {
        self.gpus_stated
    }

    /// The median of `isl / ttft * 1000 / throughput_per_gpu` over the prefill points: the GPUs that
    /// the throughput column was divided by. `None` where the table has no such column.
    #[must_use]
    pub fn gpus_implied(&self) -> Option<f64> {
        let mut ratios: Vec<f64> = self
            .prefill_points
            .iter()
            .filter_map(|p| Some(p.isl.get() / p.ttft.get() * 1e3 / p.throughput_per_gpu?.get()))
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }

    /// Time to first token by input length.
    #[must_use]
    pub const fn prefill(&self) -> &PrefillCurve {
        &self.prefill
    }

    /// Inter-token latency by batch and context length.
    #[must_use]
    pub const fn decode(&self) -> &DecodeSurface {
        &self.decode
    }

    /// The prefill points as read, by growing input length.
    #[must_use]
    pub fn prefill_points(&self) -> &[PrefillPoint] {
        &self.prefill_points
    }

    /// The decode points as read, in the order of the file.
    #[must_use]
    pub fn decode_points(&self) -> &[DecodePoint] {
        &self.decode_points
    }
}

/// One point per input length: the mean of those measured twice, which is told.
fn merge_prefill(points: &[PrefillPoint], found: &mut Vec<Finding>) -> Vec<PrefillPoint> {
    points
        .chunk_by(|a, b| a.isl == b.isl)
        .map(|same| {
            if same.len() > 1 {
                found.push(Finding::DuplicateIsl { isl: same[0].isl, points: same.len() });
            }
            let mean = same.iter().map(|p| p.ttft.get()).sum::<f64>() / same.len() as f64;
            PrefillPoint { ttft: Millis::clamped(mean), ..same[0] }
        })
        .collect()
}

/// One point per batch and context: the mean of those measured twice, which is told.
fn merge_decode(points: &[DecodePoint], found: &mut Vec<Finding>) -> Vec<DecodePoint> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| {
        a.context.get().total_cmp(&b.context.get()).then(a.batch.total_cmp(&b.batch))
    });
    sorted
        .chunk_by(|a, b| a.context == b.context && a.batch == b.batch)
        .map(|same| {
            if same.len() > 1 {
                found.push(Finding::DuplicateDecodePoint {
                    batch: same[0].batch,
                    context: same[0].context,
                    points: same.len(),
                });
            }
            let mean = same.iter().map(|p| p.itl.get()).sum::<f64>() / same.len() as f64;
            DecodePoint { itl: Millis::clamped(mean), ..same[0] }
        })
        .collect()
}
