//! The scan threads and what waits for them.
//!
//! One queue for all messages with two priorities, high always before low; the same content is in it once, however many wait
//! for it. A thread that its engine does not give back in time is replaced, up to a bound, and counted.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::cache::{ContentHash, VerdictCache};
use super::examine::{examine_message, stamp_of};
use super::memory::ScanMemory;
use super::{Engine, Metrics, Overruled, Priority, ScanReport, Settings, Stamp, UnscannablePolicy, Verdict};
use crate::intake::Body;
use crate::threads;

/// Threads, their queue and the verdicts they have found. The threads end with it.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

/// Which message under which stamp, and what is forgiven there: what makes two scans the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct JobKey {
    pub(super) content: ContentHash,
    pub(super) stamp: Stamp,
    /// Findings that do not count in this scan alone. With any, its verdict is not remembered.
    pub(super) forgiven: Vec<String>,
}

/// What becomes of a message that is handed in.
pub(super) enum Submitted {
    /// The verdict is known.
    Known(ScanReport),
    /// It waits; the report comes here.
    Begun(watch::Receiver<Option<ScanReport>>),
    /// Others had it scanned already; their report comes here.
    Joined(watch::Receiver<Option<ScanReport>>),
    /// Too many wait already.
    TurnedAway,
}

/// How many threads there are, and how many there may be while some are stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadCount {
    pub(super) regular: usize,
    pub(super) most: usize,
}

struct Shared {
    engine: Arc<dyn Engine>,
    policy: UnscannablePolicy,
    overruled: Overruled,
    threads: ThreadCount,
    memory: ScanMemory,
    metrics: Metrics,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    high: VecDeque<JobKey>,
    low: VecDeque<JobKey>,
    jobs: HashMap<JobKey, Arc<Job>>,
    cache: VerdictCache,
    /// How often the cache was emptied by order: what was handed in before does not get into it.
    epoch: u64,
    live_threads: usize,
    named_threads: usize,
    closed: bool,
}

struct Job {
    body: Body,
    /// When it was handed in, as `State` counts.
    epoch: u64,
    result: watch::Sender<Option<ScanReport>>,
    progress: Mutex<Progress>,
}

/// Changed under the pool's lock, except that a running scan reads `due` on its own.
struct Progress {
    /// When the most patient waiter leaves.
    due: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the low queue, the high one, or (promoted) both.
    Waiting(Priority),
    Running,
    /// Running, and nobody waits any longer.
    Overdue,
}

// === impl Pool ===

impl Pool {
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        settings: &Settings,
        threads: ThreadCount,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let Settings { unscannable: policy, memory, overruled, .. } = settings.clone();
        let state = Mutex::new(State::default());
        let (memory, work) = (ScanMemory::new(memory), Condvar::new());
        let shared = Arc::new(Shared { engine, policy, overruled, threads, memory, metrics, state, work });
        // Made first, so that an error half-way ends the threads there are.
        let pool = Self { shared };
        for _ in 0..threads.regular {
            pool.shared.spawn(&mut pool.shared.lock())?;
        }
        Ok(pool)
    }

    /// Hands a message in, or joins those who wait for the same content: the scan then has until the later of the deadlines,
    /// but for the item that is with the engine, and the higher of the priorities.
    pub(super) fn submit(&self, key: JobKey, body: Body, priority: Priority, due: Instant) -> Submitted {
        let shared = &self.shared;
        let mut state = shared.lock();
        let known = state.cache.lookup(&key.content, &key.stamp).filter(|_| key.forgiven.is_empty());
        if let Some(report) = known.filter(|it| !shared.overruled.overtakes(&key.content, &it.verdict)) {
            shared.metrics.remembered.inc();
            return Submitted::Known(report.clone());
        }
        if let Some(job) = state.jobs.get(&key).cloned() {
            shared.metrics.remembered.inc();
            if job.join(priority, due) == Joined::Promoted {
                state.high.push_back(key);
            }
            return Submitted::Joined(job.result.subscribe());
        }
        let is_low_full = priority == Priority::Low && state.low_waiting() >= LOW_WAITING_MAX;
        if is_low_full || state.jobs.len() >= JOBS_MAX {
            shared.metrics.turned_away.inc();
            return Submitted::TurnedAway;
        }
        let (result, report) = watch::channel(None);
        let progress = Mutex::new(Progress { due, phase: Phase::Waiting(priority) });
        let epoch = state.epoch;
        state.jobs.insert(key.clone(), Arc::new(Job { body, epoch, result, progress }));
        match priority {
            Priority::High => state.high.push_back(key),
            Priority::Low => state.low.push_back(key),
        }
        shared.metrics.queue_length.inc();
        drop(state);
        shared.work.notify_one();
        Submitted::Begun(report)
    }

    /// Has everything scanned anew.
    pub(super) fn forget(&self) {
        let mut state = self.shared.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.cache = VerdictCache::default();
    }

    /// Tells that a waiter's time is up. If nobody else waits, a scan that has not begun never will, and one that runs has got
    /// stuck: its thread is counted and another one takes its place.
    pub(super) fn waiter_left(&self, key: &JobKey) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let Some(job) = state.jobs.get(key).cloned() else { return };
        if job.result.receiver_count() > 0 {
            return;
        }
        let mut progress = job.progress();
        match progress.phase {
            Phase::Waiting(_) => {
                state.forget(key);
                shared.metrics.queue_length.dec();
            }
            Phase::Running => {
                progress.phase = Phase::Overdue;
                shared.metrics.threads_overdue.inc();
                shared.replace_thread(&mut state);
            }
            Phase::Overdue => {}
        }
    }
}

impl Drop for Pool {
    /// Does not wait: a stuck engine must not hold up the end of the process.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

// === impl Shared ===

impl Shared {
    /// A poisoned lock is taken all the same: nothing under it panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let shared = Arc::clone(self);
        let number = state.named_threads;
        threads::spawn(format!("gatepost-scan-{number}"), move || shared.work())?;
        state.named_threads = number.saturating_add(1);
        state.live_threads = state.live_threads.saturating_add(1);
        Ok(())
    }

    /// One more thread in place of a stuck one, unless there are too many already.
    fn replace_thread(self: &Arc<Self>, state: &mut State) {
        if state.live_threads >= self.threads.most {
            tracing::error!(
                threads = state.live_threads,
                "scan threads are stuck, and there may not be more"
            );
        } else if let Err(error) = self.spawn(state) {
            tracing::error!(%error, "no further scan thread");
        }
    }

    /// A scan thread's life.
    fn work(&self) {
        while let Some((key, job)) = self.next_job() {
            let report = self.run(&key, &job);
            if self.finish(&key, &job, report) == Next::Leave {
                return;
            }
        }
    }

    fn next_job(&self) -> Option<(JobKey, Arc<Job>)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(key) = state.high.pop_front().or_else(|| state.low.pop_front()) {
                if let Some(job) = state.take_waiting(&key) {
                    self.metrics.queue_length.dec();
                    if job.result.receiver_count() > 0 {
                        return Some((key, job));
                    }
                    // Everybody has gone.
                    state.jobs.remove(&key);
                }
                continue;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Scans until the signatures are the same before and after: what was found clean by some that are no longer in use
    /// vouches for nothing.
    fn run(&self, key: &JobKey, job: &Job) -> ScanReport {
        for _ in 0..SCANS_MAX {
            let report = self.scan(key, job);
            let is_settled = match report.verdict {
                // What one engine has failed at, and may have failed because of, is not for its stand-in to clear at once.
                Verdict::Infected { .. } | Verdict::TimedOut | Verdict::Failed => true,
                Verdict::Clean | Verdict::Unscannable { .. } => report.stamp == stamp_of(&*self.engine),
            };
            if is_settled {
                return report;
            }
            self.metrics.stale.inc();
        }
        tracing::error!("the signatures change faster than a message is scanned");
        self.metrics.failures.inc();
        failed(stamp_of(&*self.engine))
    }

    fn scan(&self, key: &JobKey, job: &Job) -> ScanReport {
        let started = Instant::now();
        let forgiven = |finding: &str| {
            key.forgiven.iter().any(|it| it == finding) || self.overruled.contains(&key.content, finding)
        };
        let scanned = catch_unwind(AssertUnwindSafe(|| {
            let due = || job.progress().due;
            let Some(held) = self.memory.enter(&job.body, &due) else {
                tracing::warn!("no memory for a scan within its time");
                return Ok(timed_out(stamp_of(&*self.engine)));
            };
            let message = job.body.read()?;
            let engine = self.engine.deciding().unwrap_or(&*self.engine);
            Ok(examine_message(engine, self.policy, &forgiven, &message, &due, held))
        }));
        let report = match scanned {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => {
                let error: io::Error = error;
                tracing::error!(%error, "body cannot be read for scanning");
                failed(stamp_of(&*self.engine))
            }
            Err(_) => {
                tracing::error!("scan panicked");
                failed(stamp_of(&*self.engine))
            }
        };
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        self.count(&report);
        report
    }

    fn count(&self, report: &ScanReport) {
        let metrics = &self.metrics;
        metrics.messages.inc();
        metrics.items.inc_by(u64::try_from(report.items).unwrap_or(u64::MAX));
        metrics.octets.inc_by(report.octets);
        match report.verdict {
            // Time-outs are counted where they are told, since a waiter may leave before the scan ends.
            Verdict::Clean | Verdict::TimedOut => {}
            Verdict::Infected { .. } => metrics.infected.inc(),
            Verdict::Unscannable { .. } => metrics.unscannable.inc(),
            Verdict::Failed => metrics.failures.inc(),
        }
    }

    fn finish(&self, key: &JobKey, job: &Job, report: ScanReport) -> Next {
        let mut state = self.lock();
        if job.epoch == state.epoch && key.forgiven.is_empty() {
            state.cache.insert(key.content, &report);
        }
        state.jobs.remove(key);
        job.result.send_replace(Some(report));
        if job.progress().phase == Phase::Overdue {
            self.metrics.threads_overdue.dec();
        }
        if state.live_threads > self.threads.regular {
            state.live_threads = state.live_threads.saturating_sub(1);
            return Next::Leave;
        }
        Next::Stay
    }
}

/// Whether a thread goes on after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    /// It had been replaced.
    Leave,
}

// === impl State ===

impl State {
    /// How many wait at low priority. The queue also holds what was promoted or has gone, so it is counted by the jobs.
    fn low_waiting(&self) -> usize {
        let waits = |job: &Arc<Job>| job.progress().phase == Phase::Waiting(Priority::Low);
        self.low.iter().filter(|key| self.jobs.get(key).is_some_and(waits)).count()
    }

    /// Removes a job that waits, with its places in the queues.
    fn forget(&mut self, key: &JobKey) {
        self.jobs.remove(key);
        self.high.retain(|waiting| waiting != key);
        self.low.retain(|waiting| waiting != key);
    }

    /// The job, now running; `None` if another thread took it by its other entry.
    fn take_waiting(&mut self, key: &JobKey) -> Option<Arc<Job>> {
        let job = self.jobs.get(key)?;
        let mut progress = job.progress();
        let Phase::Waiting(_) = progress.phase else { return None };
        progress.phase = Phase::Running;
        drop(progress);
        Some(Arc::clone(job))
    }
}

/// What joining did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    AsItWas,
    /// It waited at low priority and belongs into the high queue now.
    Promoted,
}

// === impl Job ===

impl Job {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, priority: Priority, due: Instant) -> Joined {
        let mut progress = self.progress();
        progress.due = progress.due.max(due);
        if priority == Priority::High && progress.phase == Phase::Waiting(Priority::Low) {
            progress.phase = Phase::Waiting(Priority::High);
            return Joined::Promoted;
        }
        Joined::AsItWas
    }
}

/// The report of a scan that did not take place.
pub(super) fn failed(stamp: Stamp) -> ScanReport {
    without_items(Verdict::Failed, stamp)
}

/// The report for a waiter who leaves without one.
pub(super) fn timed_out(stamp: Stamp) -> ScanReport {
    without_items(Verdict::TimedOut, stamp)
}

fn without_items(verdict: Verdict, stamp: Stamp) -> ScanReport {
    ScanReport { verdict, culprit: None, tolerated: Vec::new(), stamp, items: 0, octets: 0 }
}

/// Waiting and running. A queued body in memory has at most 256 KiB, so at worst 256 MiB are held by those who wait here; readers
/// of mailboxes have a budget of their own.
const JOBS_MAX: usize = 1_024;
/// The classic bound. Who is turned away comes again: the queue by its schedule, a reader at high priority.
const LOW_WAITING_MAX: usize = 30;
/// Signatures are replaced a few times a day.
const SCANS_MAX: usize = 3;

#[cfg(test)]
mod tests;
