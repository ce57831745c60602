//! The engine that needs no other program: YARA rules, matched by boreal. Some rules are compiled in; a folder adds others and
//! is watched for changes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use boreal::scanner::{ScanError, ScanResult};

use crate::events::{About, Log, What};
use crate::scan::rules::{self, CompiledRules, Fingerprint, RELOAD_INTERVAL, RulesError};
use crate::scan::{Engine, EngineIdentity, Reload, Verdict, threat_name};
use crate::threads;

/// The embedded engine. Its threat names are rule names, its signature version a hash of all rules.
#[derive(Debug)]
pub struct YaraEngine {
    current: ArcSwap<Loaded>,
    folder: Option<Watched>,
    /// Told of rules that are taken up, and of faulty ones.
    events: Log,
    /// Its end tells the watching thread, should there be one, that the engine is gone.
    _alive: mpsc::Sender<()>,
}

/// What scans use now. Replaced as a whole, so that a scan never sees half of a new set.
#[derive(Debug)]
struct Loaded {
    rules: CompiledRules,
    identity: EngineIdentity,
}

#[derive(Debug)]
struct Watched {
    folder: PathBuf,
    /// Of the last attempt to load, successful or not: a faulty file is reported once and not at every look.
    tried: Mutex<Option<Fingerprint>>,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// No thread to watch the folder with.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

// === impl YaraEngine ===

impl YaraEngine {
    /// Compiles the built-in rules and those of `folder` (`*.yar`, `*.yara`), and watches the folder until the last handle is
    /// dropped. A folder that does not exist is an empty one.
    ///
    /// # Errors
    /// A faulty rule file at the start is an error, since there is no older set to keep: a server that was told to use rules
    /// does not run without them.
    pub fn start(folder: Option<&Path>) -> Result<Arc<Self>, StartError> {
        Self::start_telling(folder, Log::discarding())
    }

    /// As `start`; what becomes of the rules afterwards is told to this log.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_telling(folder: Option<&Path>, events: Log) -> Result<Arc<Self>, StartError> {
        let (alive, gone) = mpsc::channel();
        // The fingerprint first: a file written in between is then seen as a change.
        let folder_state = match folder {
            Some(folder) => Some(Watched {
                folder: folder.to_path_buf(),
                tried: Mutex::new(Some(rules::fingerprint(folder)?)),
            }),
            None => None,
        };
        let current = ArcSwap::from_pointee(Loaded::new(rules::compile(folder)?));
        let engine = Arc::new(Self { current, folder: folder_state, events, _alive: alive });
        if folder.is_some() {
            let watched = Arc::downgrade(&engine);
            threads::spawn("gatepost-rules", move || watch(&watched, &gone))?;
        }
        Ok(engine)
    }

    /// Looks at the rules folder and loads it if it has changed. The watching thread does this every few seconds; call it for
    /// a reload at once. Blocking.
    pub fn reload_if_changed(&self) -> Reload {
        let reload = self.look();
        let engine = NAME.to_owned();
        match &reload {
            Reload::Unchanged => {}
            Reload::Replaced => {
                let signatures = self.identity().signatures().to_owned();
                self.events.record(About::default(), What::EngineLoaded { engine, signatures });
            }
            Reload::Kept(reason) => {
                let reason = reason.clone();
                self.events.record(About::default(), What::EngineMisconfigured { engine, reason });
            }
        }
        reload
    }

    fn look(&self) -> Reload {
        let Some(watched) = &self.folder else { return Reload::Unchanged };
        let mut tried = watched.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match rules::fingerprint(&watched.folder) {
            Ok(now) if *tried == Some(now) => return Reload::Unchanged,
            Ok(now) => now,
            // Reported once: the next look that succeeds is a change, whatever it sees.
            Err(_) if tried.is_none() => return Reload::Unchanged,
            Err(error) => {
                *tried = None;
                return Reload::Kept(error.to_string());
            }
        };
        *tried = Some(now);
        match rules::compile(Some(&watched.folder)) {
            Ok(rules) => {
                self.current.store(Arc::new(Loaded::new(rules)));
                Reload::Replaced
            }
            Err(error) => Reload::Kept(error.to_string()),
        }
    }
}

impl Engine for YaraEngine {
    fn identity(&self) -> EngineIdentity {
        self.current.load().identity.clone()
    }

    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict {
        self.scan_for_others(item, deadline, &|_| false)
    }

    fn scan_for_others(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let time = deadline.saturating_duration_since(Instant::now()).min(ITEM_TIME_MAX);
        if time.is_zero() {
            return Verdict::TimedOut;
        }
        // A copy shares the compiled rules and has parameters of its own.
        let mut scanner = self.current.load().rules.scanner.clone();
        let params = scanner.scan_params().clone().timeout_duration(Some(time));
        scanner.set_scan_params(params);
        match scanner.scan_mem(item) {
            Ok(result) => first_match(&result, forgiven).unwrap_or(Verdict::Clean),
            // A match before the time was up is still a match.
            Err((ScanError::Timeout, partial)) => {
                first_match(&partial, forgiven).unwrap_or(Verdict::TimedOut)
            }
            Err((error, _)) => {
                tracing::error!(%error, "rule scan failed");
                Verdict::Failed
            }
        }
    }

    fn reload(&self) -> Reload {
        self.reload_if_changed()
    }
}

// === impl Loaded ===

impl Loaded {
    fn new(rules: CompiledRules) -> Self {
        Self { identity: EngineIdentity::yara(&rules.version), rules }
    }
}

fn first_match(result: &ScanResult<'_>, forgiven: &dyn Fn(&str) -> bool) -> Option<Verdict> {
    let mut threats = result.rules.iter().map(|rule| threat_name(rule.name));
    threats.find(|threat| !forgiven(threat)).map(|threat| Verdict::Infected { threat })
}

fn watch(engine: &Weak<YaraEngine>, gone: &mpsc::Receiver<()>) {
    while gone.recv_timeout(RELOAD_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(engine) = engine.upgrade() else { return };
        match engine.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Replaced => {
                tracing::info!(signatures = engine.identity().signatures(), "scan rules reloaded");
            }
            Reload::Kept(reason) => {
                tracing::error!(reason, "scan rules not reloaded, the old ones stay in use");
            }
        }
    }
}

/// What events call it: there is one such engine at most.
pub(super) const NAME: &str = "yara";

/// One item may not use up the deadline of a patient waiter: after a minute the rules are at fault, not the item.
const ITEM_TIME_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
