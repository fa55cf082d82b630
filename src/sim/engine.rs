//! One engine: a queue, and passes over what it has taken on.
//!
//! Works like vLLM's scheduler: a pass reads parts of prompts up to a token limit, first come first
//! served, and makes one token for each running sequence. A prompt that ends in a pass is done at
//! its end, whatever else is in it. Sequences are taken on while there is a slot and KV memory for the
//! prompt; when the growing ones no longer fit, the newest is put back and read again later.
//!
//! Passes that only generate are worked off many at a time: nothing can happen between two of them
//! until a sequence ends, the memory is full, or a request arrives.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::SimTime;
use super::policy::PassView;
use super::time::nanos_of_millis;
use super::truth::{Chunk, EngineTruth, Resume};

/// Passes that are worked off as one, at most: within them the context grows, and with it the time
/// of a pass, which is only looked up once.
const MOST_PASSES: u64 = 32;

/// What an engine is to do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    /// The request.
    pub(super) id: u32,
    /// Tokens to read before the first new one.
    pub(super) prefill: u32,
    /// Tokens of the same prompt that are in the cache.
    pub(super) cached: u32,
    /// Tokens to make.
    pub(super) steps: u32,
    /// When it made its last one, of a sequence that was put back.
    pub(super) stopped: Option<SimTime>,
}

impl Job {
    /// KV tokens at the beginning of generation.
    fn kv(self) -> u64 {
        u64::from(self.prefill) + u64::from(self.cached)
    }
}

/// A prompt that is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    job: Job,
    done: u32,
    /// The part that the pass under way reads.
    chunk: u32,
}

/// A sequence that generates. By growing end, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Running {
    /// The iteration in which it makes its last token.
    end: u64,
    id: u32,
    /// KV tokens when that has happened.
    kv_at_end: u64,
    /// The more, the newer.
    taken: u64,
}

/// Equal passes in a row.
#[derive(Clone, Copy, Debug)]
struct Pass {
    start: SimTime,
    /// Of one.
    nanos: u64,
    count: u64,
}

impl Pass {
    fn end(&self) -> SimTime {
        self.start.plus_nanos(self.nanos.saturating_mul(self.count))
    }
}

/// What came of a pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// Requests that got their first token, and when.
    pub(super) first: Vec<(u32, SimTime)>,
    /// Requests whose last token was made at the end of the pass.
    pub(super) finished: Vec<u32>,
    /// Requests whose prompt was read, on an engine that does not generate.
    pub(super) prefilled: Vec<u32>,
    /// Tokens that came after another one of the same request.
    pub(super) tokens: u64,
    /// Time between two of them, ns.
    pub(super) gap: u64,
    /// The same of each sequence that goes on after it was put back, ns.
    pub(super) resumed: Vec<u64>,
    /// How long the engine worked, ns.
    pub(super) busy: u64,
}

impl Done {
    fn clear(&mut self) {
        let Self { first, finished, prefilled, tokens, gap, resumed, busy } = self;
        first.clear();
        finished.clear();
        prefilled.clear();
        resumed.clear();
        (*tokens, *gap, *busy) = (0, 0, 0);
    }
}

#[derive(Clone, Debug)]
pub(super) struct Engine {
    truth: Arc<EngineTruth>,
    /// Whether it makes tokens, or hands a request over when its prompt is read.
    generates: bool,
    waiting: VecDeque<Job>,
    /// Sequences that memory had no room for, where they come after new ones.
    put_back: VecDeque<Job>,
    reading: VecDeque<Reading>,
    running: BinaryHeap<Reverse<Running>>,
    /// Sequences taken on in the pass under way without a prompt to read.
    joined: Vec<u32>,
    /// Iterations made.
    iteration: u64,
    kv_running: u64,
    kv_reading: u64,
    /// Prompt tokens not read yet, of waiting and reading requests.
    unread: u64,
    /// Prompt tokens of waiting requests.
    waiting_kv: u64,
    taken: u64,
    preempted: u64,
    pass: Option<Pass>,
    last_pass: Option<PassView>,
    /// Everything takes this many times as long.
    pub(super) slow: f64,
}

impl Engine {
    pub(super) fn new(truth: Arc<EngineTruth>, generates: bool) -> Self {
        Self {
            truth,
            generates,
            waiting: VecDeque::new(),
            put_back: VecDeque::new(),
            reading: VecDeque::new(),
            running: BinaryHeap::new(),
            joined: Vec::new(),
            iteration: 0,
            kv_running: 0,
            kv_reading: 0,
            unread: 0,
            waiting_kv: 0,
            taken: 0,
            preempted: 0,
            pass: None,
            last_pass: None,
            slow: 1.0,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.put_back.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that it has.
    pub(super) fn requests(&self) -> usize {
        self.waiting() + self.reading.len() + self.running.len()
    }

    pub(super) const fn unread(&self) -> u64 {
        self.unread
    }

    pub(super) const fn waiting_kv(&self) -> u64 {
        self.waiting_kv
    }

    pub(super) const fn kv(&self) -> u64 {
        self.kv_running + self.kv_reading
    }

    pub(super) fn max_kv(&self) -> u64 {
        self.truth.max_kv_tokens()
    }

    pub(super) const fn last_pass(&self) -> Option<PassView> {
        self.last_pass
    }

    /// Sequences put back for want of memory so far.
    #[cfg(test)]
    pub(super) const fn preempted(&self) -> u64 {
        self.preempted
    }

    pub(super) const fn is_working(&self) -> bool {
        self.pass.is_some()
    }

    /// Whether a request given now would be begun with the next pass.
    pub(super) fn can_begin(&self, job: Job) -> bool {
        let free_now = self.generates || self.pass.is_none();
        free_now
            && self.unread < u64::from(self.truth.limits().max_num_batched_tokens)
            && self.has_room(job, self.requests(), self.kv() + self.waiting_kv)
    }

    /// Whether a sequence fits beside `others` that hold `kv` tokens.
    fn has_room(&self, job: Job, others: usize, kv: u64) -> bool {
        let slots = usize::try_from(self.truth.limits().max_num_seqs).unwrap_or(usize::MAX);
        if others >= slots {
            return false;
        }
        if !self.generates {
            return true;
        }
        let sequences = u64::try_from(others).unwrap_or(u64::MAX);
        let held = kv + sequences * self.truth.kv_slack();
        held + self.truth.kv_of(job.kv() + 1) <= self.truth.max_kv_tokens()
    }

    /// Takes in a request. Answers the new end of the pass under way, where that changes.
    pub(super) fn push(&mut self, job: Job, now: SimTime) -> Option<SimTime> {
        let first = self.waiting.is_empty();
        self.enqueue_back(job);
        let pass = self.pass.as_mut().filter(|p| first && p.count > 1)?;
        let begun = now.since(pass.start).div_ceil(pass.nanos).max(1);
        if begun >= pass.count {
            return None;
        }
        pass.count = begun;
        Some(pass.end())
    }

    fn enqueue_back(&mut self, job: Job) {
        self.unread += u64::from(job.prefill);
        self.waiting_kv += job.kv();
        self.waiting.push_back(job);
    }

    /// Begins the next pass, if there is anything to do; answers when it ends.
    pub(super) fn begin(&mut self, now: SimTime) -> Option<SimTime> {
        // As in vLLM, a pass that puts back takes nothing on.
        let put_back = self.make_room(now);
        let limits = self.truth.limits();
        let generating = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let mut budget = limits.max_num_batched_tokens.saturating_sub(generating);
        for reading in &mut self.reading {
            reading.chunk = (reading.job.prefill - reading.done).min(budget);
            budget -= reading.chunk;
        }
        while budget > 0 && !put_back {
            if self.waiting.is_empty() {
                self.waiting.extend(self.put_back.pop_front());
            }
            let begun = self.running.len() + self.reading.len();
            let fits = |job: &Job| self.has_room(*job, begun, self.kv());
            if !self.waiting.front().is_some_and(fits) {
                break;
            }
            let Some(job) = self.waiting.pop_front() else { break };
            self.waiting_kv -= job.kv();
            if job.prefill == 0 && self.generates {
                budget -= 1;
                self.joined.push(job.id);
                self.run(job);
            } else {
                let chunk = job.prefill.min(budget);
                budget -= chunk;
                self.kv_reading += job.kv();
                self.reading.push_back(Reading { job, done: 0, chunk });
            }
        }
        let batch = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        if batch == 0 && self.reading.is_empty() {
            return None;
        }
        let chunks = self
            .reading
            .iter()
            .map(|r| Chunk { tokens: r.chunk, before: r.job.cached.saturating_add(r.done) });
        let prefill = self.truth.prefill(chunks);
        let millis = (prefill + self.truth.iteration(batch, self.kv_running)) * self.slow;
        let nanos = nanos_of_millis(millis);
        // A first token is told when it is made, so its pass is one of its own; and after one that put
        // back, what waits may fit.
        let alike = self.reading.is_empty() && self.joined.is_empty() && !put_back;
        let count = if alike { self.passes_alike(batch) } else { 1 };
        self.last_pass = Some(PassView {
            prefill_tokens: self.reading.iter().map(|r| u64::from(r.chunk)).sum(),
            decode_requests: batch,
            decode_kv_tokens: self.kv_running,
            wall_s: nanos as f64 / 1e9,
        });
        let pass = Pass { start: now, nanos, count };
        self.pass = Some(pass);
        Some(pass.end())
    }

    /// How many passes there are until something changes.
    fn passes_alike(&self, batch: u32) -> u64 {
        let to_end = self.running.peek().map_or(1, |Reverse(r)| r.end - self.iteration);
        let to_full = self.truth.iterations_to_full(batch, self.kv_running);
        to_end.min(u64::from(to_full)).clamp(1, MOST_PASSES)
    }

    fn run(&mut self, job: Job) {
        self.taken += 1;
        self.kv_running += job.kv();
        self.running.push(Reverse(Running {
            end: self.iteration + u64::from(job.steps),
            id: job.id,
            kv_at_end: job.kv() + u64::from(job.steps),
            taken: self.taken,
        }));
    }

    /// Puts the newest sequences back until one more token for each fits; answers whether it had to.
    fn make_room(&mut self, now: SimTime) -> bool {
        let before = self.preempted;
        loop {
            let n = u64::try_from(self.running.len()).unwrap_or(u64::MAX);
            let needed = self.kv() + n * (self.truth.kv_slack() + 1);
            if n < 2 || needed <= self.truth.max_kv_tokens() {
                return self.preempted > before;
            }
            let Some(newest) = self.running.iter().map(|Reverse(r)| *r).max_by_key(|r| r.taken)
            else {
                return self.preempted > before;
            };
            self.running.retain(|Reverse(r)| r.taken != newest.taken);
            self.preempted += 1;
            let left = newest.end - self.iteration;
            let held = newest.kv_at_end - left;
            self.kv_running -= held;
            let job = Job {
                id: newest.id,
                prefill: u32::try_from(held).unwrap_or(u32::MAX),
                cached: 0,
                steps: u32::try_from(left).unwrap_or(u32::MAX),
                stopped: Some(now),
            };
            self.unread += u64::from(job.prefill);
            self.waiting_kv += job.kv();
            match self.truth.resume() {
                Resume::First => self.waiting.push_front(job),
                Resume::Last => self.put_back.push_back(job),
            }
        }
    }

    /// Ends the pass under way.
    pub(super) fn end(&mut self, done: &mut Done) {
        done.clear();
        let Some(pass) = self.pass.take() else { return };
        let batch = u64::try_from(self.running.len()).unwrap_or(u64::MAX);
        let joined = u64::try_from(self.joined.len()).unwrap_or(u64::MAX);
        self.iteration += pass.count;
        self.kv_running += batch * pass.count;
        done.busy = pass.nanos.saturating_mul(pass.count);
        done.gap = pass.nanos;
        done.tokens = batch * pass.count - joined;
        done.first.extend(self.joined.drain(..).map(|id| (id, pass.end())));
        while let Some(Reverse(r)) = self.running.peek().copied() {
            if r.end > self.iteration {
                break;
            }
            self.running.pop();
            self.kv_running -= r.kv_at_end;
            done.finished.push(r.id);
        }
        self.end_reading(pass.end(), done);
    }

    fn end_reading(&mut self, now: SimTime, done: &mut Done) {
        for reading in &mut self.reading {
            reading.done += reading.chunk;
            self.unread -= u64::from(reading.chunk);
            reading.chunk = 0;
        }
        // Prompts are read in order, so those that are done are in front.
        while let Some(Reading { job, .. }) =
            self.reading.front().copied().filter(|r| r.done == r.job.prefill)
        {
            self.reading.pop_front();
            self.kv_reading -= job.kv();
            if !self.generates {
                done.prefilled.push(job.id);
                continue;
            }
            // The pass that read the end of the prompt makes the first token, or the next one.
            match job.stopped {
                None => done.first.push((job.id, now)),
                Some(at) => done.resumed.push(now.since(at)),
            }
            if job.steps > 1 {
                let prefill = job.prefill + 1;
                self.run(Job { prefill, steps: job.steps - 1, stopped: None, ..job });
            } else {
                done.finished.push(job.id);
            }
        }
    }

    /// Everything that it has, for a worker that is lost.
    pub(super) fn abandon(&mut self) -> Vec<u32> {
        let waiting = self.waiting.drain(..).chain(self.put_back.drain(..)).map(|job| job.id);
        let reading = self.reading.drain(..).map(|r| r.job.id);
        let running = self.running.drain().map(|Reverse(r)| r.id);
        let mut ids: Vec<u32> = waiting.chain(reading).chain(running).collect();
        ids.sort_unstable();
        self.pass = None;
        self.joined.clear();
        (self.kv_running, self.kv_reading, self.unread, self.waiting_kv) = (0, 0, 0, 0);
        ids
    }
}

#[cfg(test)]
mod tests;
