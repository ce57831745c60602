//! What all engines outside this process have in common: sessions that are kept, deadlines, a breaker, and a thread that looks
//! after them.
//!
//! ```text
//! scan thread -> idle session, or a new one -> item -> answer, and under which signatures
//! watching thread -> signatures every few seconds; with growing pauses while the engine does not answer
//! ```
//! The version of the signatures is asked behind each item as well. Whoever stamps compares it before and after, so a verdict
//! of signatures that changed meanwhile vouches for nothing.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::health::{CallError, Health, Opened, Task};
use crate::events::Log;
use crate::scan::metrics::EngineMetrics;
use crate::scan::{Cleaning, Engine, EngineIdentity, Obstacle, Reload, Verdict};
use crate::threads;

/// What is set up in the same way for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideSettings {
    /// What the engine is called in stamps, metrics and logs.
    pub name: String,
    /// For one item, whatever time the waiter has.
    pub timeout: Duration,
    /// The longest pause before an engine that cannot be reached is tried again.
    pub retry_delay: Duration,
}

/// A way to speak with an engine.
pub(super) trait Protocol: fmt::Debug + Send + Sync + 'static {
    type Session: Session;

    /// A new session, and which signatures the engine has.
    fn open(&self, due: Instant) -> Result<(Self::Session, String), CallError>;

    /// The engine has just been found: is it set up as it must be? What is not goes to `Health::misconfigured`.
    fn check(&self, _health: &Health) {}
}

/// One session with an engine, for one item after the other.
pub(super) trait Session: fmt::Debug + Send + 'static {
    /// Whether it can be used again, after it lay idle for so long.
    fn is_usable(&self, idle: Duration) -> bool;

    /// Which signatures the engine has now.
    fn version(&mut self, due: Instant) -> Result<String, CallError>;

    /// Has an item scanned.
    fn scan(&mut self, item: &[u8], due: Instant) -> Result<Scanned, CallError>;

    /// Has an item cleaned. `None`: it is not, or not by this engine.
    fn clean(&mut self, _item: &[u8], _due: Instant) -> Result<Option<Vec<u8>>, CallError> {
        Ok(None)
    }
}

/// What came of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scanned {
    pub(super) answer: Answer,
    /// The signatures after the scan, as far as they were told.
    pub(super) version: Option<String>,
}

/// What an engine says of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing found.
    Clean,
    /// Something was found; the name is fit for a verdict.
    Found(String),
    /// A limit of the engine's own kept it from looking at all of it.
    BeyondLimits,
    /// It needs a password.
    Encrypted,
}

/// An engine outside this process.
#[derive(Debug)]
pub(super) struct Outside<P: Protocol> {
    protocol: P,
    settings: OutsideSettings,
    identity: ArcSwap<EngineIdentity>,
    health: Health,
    idle: Mutex<Vec<Idle<P::Session>>>,
    /// Wakes the watching thread; its end ends the thread.
    watcher: SyncSender<()>,
}

#[derive(Debug)]
struct Idle<S> {
    session: S,
    since: Instant,
}

// === impl Outside ===

impl<P: Protocol> Outside<P> {
    /// Looks for the engine, and goes on looking where it is not there: until then it has no verdicts. Blocks for some
    /// seconds at most. Fails if the system refuses a thread.
    pub(super) fn start(
        protocol: P,
        settings: OutsideSettings,
        events: Log,
        metrics: EngineMetrics,
    ) -> io::Result<Arc<Self>> {
        let (watcher, woken) = mpsc::sync_channel(1);
        let health = Health::new(&settings.name, settings.retry_delay, events, metrics);
        let identity = ArcSwap::from_pointee(EngineIdentity::of_words(&settings.name, UNKNOWN));
        let engine = Arc::new(Self { protocol, settings, identity, health, idle: Mutex::default(), watcher });
        if let Err(error) = engine.look() {
            engine.health.not_loaded(&error);
        }
        let watched = Arc::downgrade(&engine);
        threads::spawn("gatepost-engine", move || watch(&watched, &woken))?;
        Ok(engine)
    }

    /// Asks for the version, over a session that lies idle or a new one.
    fn look(&self) -> Result<Reload, CallError> {
        let due = soon(LOOK_TIME);
        let was_available = self.health.is_available();
        let known = self.idle_session().and_then(|mut session| Some((session.version(due).ok()?, session)));
        let (version, session) = match known {
            Some(known) => known,
            None => match self.protocol.open(due) {
                Ok((session, version)) => (version, session),
                // All are in use, which tells as much.
                Err(CallError::Busy) => return Ok(Reload::Unchanged),
                Err(error) => return Err(error),
            },
        };
        self.keep(session);
        let reload = self.saw(&version);
        if !was_available {
            self.protocol.check(&self.health);
        }
        Ok(reload)
    }

    fn saw(&self, version: &str) -> Reload {
        let identity = EngineIdentity::of_words(&self.settings.name, version);
        let is_new = **self.identity.load() != identity;
        if is_new {
            self.identity.store(Arc::new(identity.clone()));
        }
        self.health.loaded(identity.signatures());
        if is_new { Reload::Replaced } else { Reload::Unchanged }
    }

    /// One task for a session, over one that lies idle or a new one.
    fn call<T>(
        &self,
        due: Instant,
        task: impl Fn(&mut P::Session) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        loop {
            if let Some(session) = self.idle_session() {
                match self.ask(session, &task) {
                    // Engines close what lay idle too long; or it was restarted.
                    Err(CallError::Lost(_)) => {}
                    answered => return answered,
                }
            }
            match self.protocol.open(due) {
                Ok((session, version)) => {
                    let _ = self.saw(&version);
                    return self.ask(session, &task);
                }
                // Somebody else's session will lie idle soon.
                Err(CallError::Busy) if Instant::now() < due => thread::sleep(BUSY_PAUSE),
                Err(error) => return Err(error),
            }
        }
    }

    fn ask<T>(
        &self,
        mut session: P::Session,
        task: &impl Fn(&mut P::Session) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let answer = task(&mut session)?;
        self.keep(session);
        Ok(answer)
    }

    fn idle_session(&self) -> Option<P::Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one used last is the one that the engine has least reason to close.
        while let Some(Idle { session, since }) = idle.pop() {
            if session.is_usable(since.elapsed()) {
                return Some(session);
            }
        }
        None
    }

    fn keep(&self, session: P::Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && session.is_usable(Duration::ZERO) {
            idle.push(Idle { session, since: Instant::now() });
        }
    }

    fn failed(&self, task: Task, error: &CallError) -> Opened {
        let opened = self.health.failed(task, error);
        if opened == Opened::Yes {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        opened
    }

    /// As `failed`, on another thread than the watching one, which is to look after it sooner than it would.
    fn failed_in_use(&self, task: Task, error: &CallError) {
        if self.failed(task, error) != Opened::No {
            // Full: it is about to wake up anyway.
            let _ = self.watcher.try_send(());
        }
    }
}

impl<P: Protocol> Engine for Outside<P> {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::clone(&self.identity.load())
    }

    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict {
        if !self.health.is_available() {
            return Verdict::Failed;
        }
        let due = deadline.min(soon(self.settings.timeout));
        match self.call(due, |session| session.scan(item, due)) {
            Ok(Scanned { answer, version }) => {
                if let Some(version) = version {
                    let _ = self.saw(&version);
                }
                self.health.scanned();
                verdict(answer)
            }
            Err(error) => {
                let is_overdue = Instant::now() >= deadline;
                // How long others wait, and how many there are, is no fault of the engine's.
                let is_ours = is_overdue && matches!(error, CallError::Late | CallError::Busy);
                if !is_ours {
                    self.failed_in_use(Task::Item, &error);
                }
                if is_overdue { Verdict::TimedOut } else { Verdict::Failed }
            }
        }
    }

    fn clean(&self, item: &[u8], deadline: Instant) -> Cleaning {
        if !self.health.is_available() {
            return Cleaning::Failed;
        }
        let due = deadline.min(soon(self.settings.timeout));
        match self.call(due, |session| session.clean(item, due)) {
            Ok(Some(cleaned)) => Cleaning::Cleaned(cleaned),
            Ok(None) => Cleaning::NotCleanable,
            Err(error) => {
                // Whether it is of use at all is for its scans to tell.
                tracing::warn!(engine = self.settings.name, %error, "an item could not be cleaned");
                Cleaning::Failed
            }
        }
    }

    fn is_available(&self) -> bool {
        self.health.is_available()
    }

    fn reload(&self) -> Reload {
        match self.look() {
            Ok(reload) => reload,
            Err(error) => {
                self.failed_in_use(Task::Look, &error);
                Reload::Kept(error.to_string())
            }
        }
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Clean => Verdict::Clean,
        Answer::Found(threat) => Verdict::Infected { threat },
        Answer::BeyondLimits => Verdict::Unscannable { reason: Obstacle::EngineLimit },
        Answer::Encrypted => Verdict::Unscannable { reason: Obstacle::Encrypted },
    }
}

fn watch<P: Protocol>(engine: &Weak<Outside<P>>, woken: &Receiver<()>) {
    let mut pause = LOOK_INTERVAL;
    loop {
        let waited = woken.recv_timeout(pause);
        let Some(engine) = engine.upgrade() else { return };
        match waited {
            Err(RecvTimeoutError::Disconnected) => return,
            // It has just been given up: who was restarted needs a moment.
            Ok(()) if !engine.health.is_available() => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = engine.look() {
                    let _ = engine.failed(Task::Look, &error);
                }
            }
        }
        pause = if engine.health.is_available() { LOOK_INTERVAL } else { engine.health.next_retry_delay() };
    }
}

pub(super) fn soon(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// Before the engine has ever answered. No mail is stamped with it.
const UNKNOWN: &str = "unknown";
/// New signatures are noticed within this time, also where no mail comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// For a connection and the version.
pub(super) const LOOK_TIME: Duration = Duration::from_secs(5);
/// Far below what a scan takes.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// Each holds a thread or a descriptor of the engine; clamd's default `MaxThreads` is 10.
const IDLE_MAX: usize = 16;
