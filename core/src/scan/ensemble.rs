//! Several engines as one, and what each of them has said of the same octets before.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::examine::{clean_contained, scan_contained};
use super::item_verdicts::ItemVerdicts;
use super::kept::VerdictFile;
use super::metrics::EngineMetrics;
use super::{Cleaning, Engine, EngineIdentity, Reload, Verdict, VerdictFolder};

/// The engines of a scanner, in the order in which they are asked.
#[derive(Default)]
pub struct Ensemble {
    policy: EnginePolicy,
    members: Vec<Member>,
}

/// What the word of one engine counts among several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EnginePolicy {
    /// What any engine finds is found, and all of them must have looked.
    #[default]
    Any,
    /// Only what all engines find is found: for engines with many false alarms.
    All,
    /// The first that is available decides; the others stand in for it.
    First,
}

/// What is known of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The version of its signatures.
    pub signatures: String,
    /// Whether it can be asked.
    pub is_available: bool,
    /// Items that it was given.
    pub calls: u64,
    /// Items that it had said something of before.
    pub remembered: u64,
    /// Items of which the file for the next run has a verdict.
    pub kept: u64,
    /// Calls that took longer than 2.5 s.
    pub slow_calls: u64,
}

struct Member {
    name: String,
    engine: Arc<dyn Engine>,
    verdicts: ItemVerdicts,
    /// Where these outlive this process; none where they do not.
    file: Option<VerdictFile>,
    metrics: EngineMetrics,
}

// === impl Ensemble ===

impl Ensemble {
    /// Without an engine yet: it fails at everything.
    #[must_use]
    pub fn new(policy: EnginePolicy) -> Self {
        Self { policy, members: Vec::new() }
    }

    /// With one engine more, behind the others.
    #[must_use]
    pub fn with(mut self, name: &str, engine: Arc<dyn Engine>, metrics: EngineMetrics) -> Self {
        let (name, verdicts) = (name.to_owned(), ItemVerdicts::default());
        self.members.push(Member { name, engine, verdicts, file: None, metrics });
        self
    }

    /// With what they have said of items kept in this folder. What it has is taken over, as far as it is of the signatures that
    /// they have. Blocks on the disk.
    #[must_use]
    pub fn keeping_in(mut self, folder: &VerdictFolder) -> Self {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        folder.clear_up(&names);
        for member in &mut self.members {
            let file = folder.file(&member.name, member.metrics.items_kept.clone());
            if let Some(recalled) = file.read() {
                member.verdicts.recall(recalled, &member.engine.identity());
            }
            member.file = Some(file);
        }
        self
    }

    /// Writes what is new into the folder: now and then, and at the end. Blocks on the disk.
    pub fn keep(&self) {
        for Member { file, verdicts, .. } in &self.members {
            file.iter().for_each(|file| file.write(verdicts));
        }
    }

    /// What is known of each engine.
    #[must_use]
    pub fn status(&self) -> Vec<EngineStatus> {
        self.members.iter().map(Member::status).collect()
    }

    /// Has each engine look for new signatures, and forgets what they have said of items: some come without a new version.
    /// `Scanner::forget` does the same for messages. Blocking.
    pub fn reload_each(&self) -> Vec<(String, Reload)> {
        let reload = |member: &Member| {
            let reload = member.engine.reload();
            member.forget();
            (member.name.clone(), reload)
        };
        self.members.iter().map(reload).collect()
    }

    /// The engine that decides where one does.
    fn first_available(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.engine.is_available())
    }

    /// That alone counts, if one does: the only one, or the first that is available, or would be.
    fn decider(&self) -> Option<&Member> {
        match (self.policy, self.members.as_slice()) {
            (_, [only]) => Some(only),
            (EnginePolicy::First, members) => self.first_available().or_else(|| members.first()),
            (EnginePolicy::Any | EnginePolicy::All, _) => None,
        }
    }

    fn scan_by_any(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let mut worst = Verdict::Clean;
        for member in &self.members {
            worst = worst.worse(member.scan_for_others(item, deadline, forgiven));
            if let Verdict::Infected { .. } = worst {
                break;
            }
        }
        worst
    }

    fn scan_by_all(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let mut found = None;
        let mut otherwise = Verdict::Clean;
        for member in &self.members {
            match member.scan_for_others(item, deadline, forgiven) {
                Verdict::Clean => return Verdict::Clean,
                Verdict::Infected { threat } => found = found.or(Some(threat)),
                verdict => otherwise = otherwise.worse(verdict),
            }
        }
        match (otherwise, found) {
            (Verdict::Clean, Some(threat)) => Verdict::Infected { threat },
            (otherwise, _) => otherwise,
        }
    }
}

impl Engine for Ensemble {
    /// That of the one engine that there is, or that decides. Where several do, their names, and a hash of all versions.
    fn identity(&self) -> EngineIdentity {
        if let Some(member) = self.decider() {
            return member.engine.identity();
        }
        let policy = if self.policy == EnginePolicy::All { "all" } else { "any" };
        let mut name = policy.to_owned();
        let mut versions = blake3::Hasher::new();
        for member in &self.members {
            let identity = member.engine.identity();
            name = name + "." + identity.name();
            // What an identity holds has no line ends.
            versions.update(format!("{}\n{}\n", identity.name(), identity.signatures()).as_bytes());
        }
        let version = versions.finalize().to_hex();
        EngineIdentity::of_words(&name, version.get(..VERSION_DIGITS).unwrap_or_default())
    }

    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict {
        self.scan_for_others(item, deadline, &|_| false)
    }

    /// What is forgiven one engine does not keep the others from being asked.
    fn scan_for_others(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        if self.members.is_empty() {
            return Verdict::Failed;
        }
        match self.policy {
            EnginePolicy::Any => self.scan_by_any(item, deadline, forgiven),
            EnginePolicy::All => self.scan_by_all(item, deadline, forgiven),
            EnginePolicy::First => self
                .first_available()
                .map_or(Verdict::Failed, |member| member.scan_for_others(item, deadline, forgiven)),
        }
    }

    fn deciding(&self) -> Option<&dyn Engine> {
        self.decider().map(|member| -> &dyn Engine { member })
    }

    /// The first engine that can. Those that find nothing in it give it back as it is, or not at all.
    fn clean(&self, item: &[u8], deadline: Instant) -> Cleaning {
        let mut failed = false;
        for member in self.members.iter().filter(|member| member.engine.is_available()) {
            match clean_contained(&*member.engine, item, deadline) {
                Cleaning::Cleaned(cleaned) => return Cleaning::Cleaned(cleaned),
                Cleaning::NotCleanable => (),
                Cleaning::Failed => failed = true,
            }
        }
        if failed { Cleaning::Failed } else { Cleaning::NotCleanable }
    }

    fn is_available(&self) -> bool {
        match self.policy {
            EnginePolicy::First => self.first_available().is_some(),
            EnginePolicy::Any | EnginePolicy::All => {
                !self.members.is_empty() && self.members.iter().all(|member| member.engine.is_available())
            }
        }
    }
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble").field("policy", &self.policy).field("engines", &self.status()).finish()
    }
}

// === impl Member ===

impl Member {
    fn status(&self) -> EngineStatus {
        EngineStatus {
            name: self.name.clone(),
            signatures: self.engine.identity().signatures().to_owned(),
            is_available: self.engine.is_available(),
            calls: self.metrics.calls.get(),
            remembered: self.metrics.items_remembered.get(),
            kept: u64::try_from(self.metrics.items_kept.get()).unwrap_or(0),
            slow_calls: self.metrics.slow_calls.get(),
        }
    }

    fn forget(&self) {
        match &self.file {
            Some(file) => file.forget(&self.verdicts),
            None => {
                self.verdicts.forget();
            }
        }
    }

    fn call(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let started = Instant::now();
        let verdict = scan_contained(&*self.engine, item, deadline, forgiven);
        let elapsed = started.elapsed();
        self.metrics.calls.inc();
        if elapsed > SLOW_CALL {
            self.metrics.slow_calls.inc();
            let (seconds, octets) = (elapsed.as_secs_f64(), item.len());
            tracing::warn!(engine = self.name, seconds, octets, "a scan engine was slow");
        }
        verdict
    }
}

impl Engine for Member {
    fn identity(&self) -> EngineIdentity {
        self.engine.identity()
    }

    fn scan(&self, item: &[u8], deadline: Instant) -> Verdict {
        self.scan_for_others(item, deadline, &|_| false)
    }

    /// What is remembered is what the engine says of the item, whatever is forgiven in one mail or the other.
    fn scan_for_others(&self, item: &[u8], deadline: Instant, forgiven: &dyn Fn(&str) -> bool) -> Verdict {
        let identity = || self.engine.identity();
        let (verdict, is_remembered) =
            self.verdicts.find_or_make(item, &identity, deadline, || self.call(item, deadline, &|_| false));
        if is_remembered {
            self.metrics.items_remembered.inc();
        }
        match &verdict {
            // There may be more in it.
            Verdict::Infected { threat } if forgiven(threat) => self.call(item, deadline, forgiven),
            _ => verdict,
        }
    }

    fn clean(&self, item: &[u8], deadline: Instant) -> Cleaning {
        self.engine.clean(item, deadline)
    }

    fn is_available(&self) -> bool {
        self.engine.is_available()
    }
}

/// Where the classic guidance calls an engine call an error.
const SLOW_CALL: Duration = Duration::from_millis(2_500);
/// As many as the embedded engine's version has.
const VERSION_DIGITS: usize = 16;

#[cfg(test)]
mod tests;
