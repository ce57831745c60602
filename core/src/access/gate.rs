//! The one door through which every reader gets a message: POP3, and `gatepost mailbox show|export`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::Metrics;
use crate::clock::{millis, now_ms};
use crate::findings::{Findings, FoundBy};
use crate::intake::Body;
use crate::memory::{Drawn, MemoryBudget};
use crate::queue::QueueId;
use crate::remedy::{self, Remedied, Remedy};
use crate::scan::{Priority, Scanner, Verdict};
use crate::store::{ContentHash, MailStore, ScanMark, StoreError, StoredMessage};

/// Gives out messages that are clean under the scanner's current signatures, and no others. Cheap to clone; clones
/// share the memory budget.
#[derive(Clone)]
pub struct ScanGate {
    store: Arc<dyn MailStore>,
    scanner: Scanner,
    /// In units of `BUDGET_UNIT` octets.
    memory: Arc<Semaphore>,
    /// Of the whole process.
    budget: MemoryBudget,
    accounts: Accounts,
    /// By database.
    ways: Arc<HashMap<String, Way>>,
    scan_wait: Duration,
    metrics: Option<Metrics>,
}

/// What is done for the readers of a database.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Told of viruses that are found when somebody wants to read.
    pub findings: Option<Findings>,
    /// What is older than this, and was found clean by whichever signatures, is shown without another scan.
    pub age_max: AgeMax,
    /// Does something about what is found.
    pub remedy: Option<Remedy>,
}

/// How old a message may be that was scanned once and is scanned again when somebody wants to read it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct AgeMax(Arc<ArcSwapOption<Duration>>);

/// What is left of each account's share, for accounts that read now. Clones are the same map.
#[derive(Clone, Default)]
struct Accounts(Arc<Mutex<HashMap<String, Weak<Semaphore>>>>);

/// A message's part of the budget and of its account's share.
#[derive(Debug)]
struct Share {
    _of_account: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
    _of_process: Drawn,
}

/// A message that may be shown.
#[derive(Debug, Clone)]
pub struct Released {
    /// Its uid.
    pub uid: u32,
    /// Head and body. Counted against the gate's memory budget until the last clone is dropped.
    pub octets: Bytes,
    /// Where in `octets` the body begins, as it was received; before it stand the header lines of ours.
    pub body_at: usize,
    /// The mail that it came as.
    pub queue_id: QueueId,
    /// When it was accepted, milliseconds since 1970.
    pub received_at_ms: u64,
}

/// Why a message is not shown.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// There is no such message (any more).
    Gone,
    /// It is infected: POP3 `-ERR [SYS/PERM]`. It stays in the mailbox, unseen.
    Infected {
        /// The threat's name, `[A-Za-z0-9._-]`, at most 128.
        threat: String,
    },
    /// It was infected, and another message has taken its place: POP3 `-ERR [SYS/TEMP]`, since the session does not know that
    /// one.
    Replaced {
        /// The threat's name.
        threat: String,
        /// The uid of what is left of it.
        by: u32,
    },
    /// It could not be scanned or read in time; later it may be: POP3 `-ERR [SYS/TEMP]`.
    Unavailable,
}

/// A message's octets together with their share of the budget.
struct Budgeted {
    octets: Bytes,
    _share: Share,
}

// === impl ScanGate ===

impl ScanGate {
    /// A gate between this store and all its readers.
    #[must_use]
    pub fn new(store: Arc<dyn MailStore>, scanner: Scanner, metrics: Option<Metrics>) -> Self {
        let memory = Arc::new(Semaphore::new(BUDGET_UNITS as usize));
        let (accounts, budget) = (Accounts::default(), MemoryBudget::default());
        Self {
            store,
            scanner,
            memory,
            budget,
            accounts,
            ways: Arc::default(),
            scan_wait: SCAN_WAIT_DEFAULT,
            metrics,
        }
    }

    /// Messages on their way to readers are drawn from this budget as well.
    #[must_use]
    pub fn drawing_on(self, budget: MemoryBudget) -> Self {
        Self { budget, ..self }
    }

    /// For the readers of these databases, by name; of others nothing is told or done, and nothing is too old for a scan.
    #[must_use]
    pub fn going(self, ways: HashMap<String, Way>) -> Self {
        Self { ways: Arc::new(ways), ..self }
    }

    /// A reader waits so long for a scan; three minutes unless it is said.
    #[must_use]
    pub fn waiting(self, scan_wait: Duration) -> Self {
        Self { scan_wait, ..self }
    }

    /// How long a reader may have to wait for memory, a scan, and what is done about what that finds.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        MEMORY_WAIT_MAX.saturating_add(self.scan_wait).saturating_add(remedy::TIME_MAX)
    }

    /// Hands out a message, scanning it first (high priority, bounded wait) unless its stamp is current. Returns within
    /// `patience` and the time of the database.
    ///
    /// # Errors
    /// Why it is not shown now.
    pub async fn release(&self, mailbox: &str, uid: u32) -> Result<Released, Withheld> {
        let outcome = self.try_release(mailbox, uid).await;
        if let Some(metrics) = &self.metrics {
            metrics.count(&outcome);
        }
        if let Err(Withheld::Infected { threat }) = &outcome {
            info!(mailbox, uid, threat, "an infected message is withheld from its reader");
        }
        outcome
    }

    fn way(&self, mailbox: &str) -> Option<&Way> {
        self.ways.get(self.store.database_of(mailbox))
    }

    async fn try_release(&self, mailbox: &str, uid: u32) -> Result<Released, Withheld> {
        let summary = self.store.summary(mailbox, uid).await.map_err(unavailable)?.ok_or(Withheld::Gone)?;
        let share = self.share(mailbox, summary.octets).await?;
        let message = self.store.fetch(mailbox, uid).await.map_err(unavailable)?.ok_or(Withheld::Gone)?;
        self.vouch(mailbox, uid, &message).await?;
        Ok(Released {
            uid,
            octets: Bytes::from_owner(Budgeted { octets: message.octets, _share: share }),
            body_at: message.body_at,
            queue_id: message.queue_id,
            received_at_ms: message.received_at_ms,
        })
    }

    /// A message larger than the whole budget takes all of it, one larger than an account's share all of that.
    async fn share(&self, mailbox: &str, octets: u64) -> Result<Share, Withheld> {
        let units = u32::try_from(octets.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX).clamp(1, BUDGET_UNITS);
        let account = self.accounts.share_of(mailbox);
        let acquire = async {
            // The account's first: who waits for his own readers takes nothing from others meanwhile.
            let of_account = account.acquire_many_owned(units.min(ACCOUNT_UNITS)).await?;
            let of_all = Arc::clone(&self.memory).acquire_many_owned(units).await?;
            Ok::<_, AcquireError>((of_account, of_all))
        };
        let mut of_process = self.budget.clone().draw();
        match timeout(MEMORY_WAIT_MAX, acquire).await {
            Ok(Ok((of_account, of_all))) if of_process.try_grow(octets, 0) => {
                Ok(Share { _of_account: of_account, _of_all: of_all, _of_process: of_process })
            }
            Ok(Ok(_) | Err(_)) | Err(_) => {
                warn!(mailbox, octets, "no memory for another message being read");
                Err(Withheld::Unavailable)
            }
        }
    }

    async fn vouch(&self, mailbox: &str, uid: u32, message: &StoredMessage) -> Result<(), Withheld> {
        let body = Body::Memory(message.body());
        if let Some(mark) = &message.mark
            && self.scanner.upholds(&body, mark.threat.as_deref(), &mark.stamp).await
        {
            return self.judge(mailbox, uid, message, mark.threat.clone()).await;
        }
        if self.way(mailbox).is_some_and(|way| way.age_max.spares(message, now_ms(), &self.scanner)) {
            return Ok(());
        }
        if let Some(metrics) = &self.metrics {
            metrics.rescans.inc();
        }
        let report = self.scanner.scan(body, Priority::High, self.scan_wait).await;
        let threat = match report.verdict {
            Verdict::Clean => None,
            Verdict::Infected { threat } => Some(threat),
            verdict @ (Verdict::Unscannable { .. } | Verdict::TimedOut | Verdict::Failed) => {
                warn!(mailbox, uid, %verdict, "not shown: no scan vouches for it");
                return Err(Withheld::Unavailable);
            }
        };
        self.tell(mailbox, message, threat.as_deref()).await;
        let mark = ScanMark { stamp: report.stamp, threat: threat.clone() };
        if let Err(error) = self.store.mark(mailbox, uid, mark).await {
            // The verdict holds all the same; the next reader costs another scan.
            warn!(mailbox, uid, %error, "a scan's verdict could not be kept");
        }
        self.judge(mailbox, uid, message, threat).await
    }

    /// What is infected is nothing to read, and may have an end now.
    async fn judge(
        &self,
        mailbox: &str,
        uid: u32,
        message: &StoredMessage,
        threat: Option<String>,
    ) -> Result<(), Withheld> {
        let Some(threat) = threat else { return Ok(()) };
        let remedy = self.way(mailbox).and_then(|way| way.remedy.as_ref());
        let Some(remedy) = remedy else { return Err(Withheld::Infected { threat }) };
        let content = ContentHash::of(&message.body());
        match remedy.act(content, &threat, FoundBy::Access, Some((mailbox, uid))).await {
            Some(Remedied::Rewritten(by)) => Err(Withheld::Replaced { threat, by }),
            Some(Remedied::Gone) | None => Err(Withheld::Infected { threat }),
        }
    }

    /// Tells of a threat that was not known of this body before.
    async fn tell(&self, mailbox: &str, message: &StoredMessage, threat: Option<&str>) {
        let known = message.mark.as_ref().and_then(|mark| mark.threat.as_deref());
        let findings = self.way(mailbox).and_then(|way| way.findings.as_ref());
        if let (Some(findings), Some(threat)) = (findings, threat.filter(|_| threat != known)) {
            findings.tell(ContentHash::of(&message.body()), threat, FoundBy::Access).await;
        }
    }
}

fn unavailable(error: StoreError) -> Withheld {
    error!(%error, "a message could not be read");
    Withheld::Unavailable
}

/// The store has no text of its own.
impl std::fmt::Debug for ScanGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanGate")
            .field("memory_left", &self.memory.available_permits())
            .finish_non_exhaustive()
    }
}

// === impl AgeMax ===

impl AgeMax {
    /// `None`: any age.
    #[must_use]
    pub fn new(age_max: Option<Duration>) -> Self {
        let new = Self::default();
        new.set(age_max);
        new
    }

    /// Holds for all clones at once.
    pub fn set(&self, age_max: Option<Duration>) {
        self.0.store(age_max.map(Arc::new));
    }

    /// What nobody has ever scanned is not spared, nor is what is known to be infected: newer signatures may know better.
    fn spares(&self, message: &StoredMessage, now_ms: u64, scanner: &Scanner) -> bool {
        let Some(age_max) = self.0.load_full() else { return false };
        if now_ms.saturating_sub(message.received_at_ms) <= millis(*age_max) {
            return false;
        }
        let known_clean = message.mark.as_ref().filter(|mark| mark.threat.is_none());
        known_clean
            .is_some_and(|mark| scanner.has_sealed(&ContentHash::of(&message.body()).0, None, &mark.stamp))
    }
}

// === impl Accounts ===

impl Accounts {
    fn share_of(&self, mailbox: &str) -> Arc<Semaphore> {
        let name = mailbox.to_ascii_lowercase();
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&name).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(ACCOUNT_UNITS as usize));
        shares.insert(name, Arc::downgrade(&share));
        share
    }
}

// === impl Budgeted ===

impl AsRef<[u8]> for Budgeted {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// What readers may hold together: 256 MiB, five mails of the largest size, or a quarter of a million small ones.
const BUDGET_UNITS: u32 = 256 * 1024;
const BUDGET_UNIT: u64 = 1024;

/// What the readers of one account may hold together: a quarter of all. It has room for one mail of the default largest
/// size, and readers of one account who do not take what they asked for leave the rest to others.
const ACCOUNT_UNITS: u32 = BUDGET_UNITS / 4;

/// Mail programs wait a minute or more for RETR; most mail is scanned already.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(15);

/// The classic time for which a reader waits.
const SCAN_WAIT_DEFAULT: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests;
