//! Makes the lines of one run.

use super::line::{Checkpoint, Record, VERSION, WriteOutcome};
use super::setting::Setting;
use crate::plan::{Decision, Memory, PlanInput, Report};
use crate::spec::Mode;

/// Decisions between two checkpoints where nothing changes. Of a simulated day (8640 decisions,
/// 25 MB) a decision took 2.8 kB and a checkpoint 40 kB, so that the file is 4 % longer for them. At
/// ten seconds a tick they come every hour, which is then the most that a file cut at its beginning
/// has lost for a replay.
pub const CHECKPOINT_EVERY: u64 = 360;

/// Numbers the decisions of one planner for one DGD, and says when a checkpoint is due.
#[derive(Clone, Debug)]
pub struct Recorder {
    run: String,
    program: String,
    dgd: String,
    seq: u64,
    since_checkpoint: u64,
    /// The number of the decision that the last checkpoint was for.
    checkpoint: Option<u64>,
    /// That of the last checkpoint; `None` where the next line has to be one.
    setting: Option<Setting>,
}

impl Recorder {
    /// Of a planner that has just started: `run` tells it from every other that may write the same
    /// file, `program` is its version, `dgd` what it plans for.
    pub fn new(run: impl Into<String>, program: impl Into<String>, dgd: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            program: program.into(),
            dgd: dgd.into(),
            seq: 0,
            since_checkpoint: 0,
            checkpoint: None,
            setting: None,
        }
    }

    /// The line that has to be written before the decision on `input` with `memory`: at the start,
    /// where the setting has changed, after a line was lost, and every [`CHECKPOINT_EVERY`]
    /// decisions.
    pub fn checkpoint(&mut self, input: &PlanInput<'_>, memory: &Memory) -> Option<Checkpoint> {
        let same = self.setting.as_ref().is_some_and(|setting| setting.is_of(input));
        if same && self.since_checkpoint < CHECKPOINT_EVERY {
            return None;
        }
        self.since_checkpoint = 0;
        self.checkpoint = Some(self.seq);
        let setting = self.setting.insert(Setting::of(input)).clone();
        Some(Checkpoint {
            version: VERSION,
            run: self.run.clone(),
            seq: self.seq,
            at: input.now,
            dgd: self.dgd.clone(),
            program: self.program.clone(),
            setting,
            memory: memory.clone(),
        })
    }

    /// The line of a decision on `input`, with what the referee noted and what became of its writes.
    pub fn tick(
        &mut self,
        mode: Mode,
        input: PlanInput<'_>,
        decision: Decision,
        report: Report,
        notes: Vec<String>,
        writes: Vec<WriteOutcome>,
    ) -> Record {
        let PlanInput { now, sla, pools: _, budget, intervals: _, predictor: _, observation } =
            input;
        let seq = self.seq;
        self.seq += 1;
        self.since_checkpoint += 1;
        Record {
            version: VERSION,
            run: self.run.clone(),
            seq,
            checkpoint: self.checkpoint,
            at: now,
            dgd: self.dgd.clone(),
            mode,
            sla,
            budget,
            observation,
            decision,
            report,
            notes,
            writes,
        }
    }

    /// Takes note that a line did not reach the file: a replay of what follows would lack what the
    /// planner learned then, so that the next decision begins with a checkpoint.
    pub fn lost(&mut self) {
        self.setting = None;
    }
}
