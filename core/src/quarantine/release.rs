//! The way back into the queue: a fresh scan, then the mail as it was, for those whose copies were here.

use std::io;
use std::time::Duration;

use gatepost_smtp::server::BodySink as _;
use tokio::task::JoinError;

use super::folder::NotTaken;
use super::{Quarantine, Record};
use crate::clock::now_ms;
use crate::events::What;
use crate::intake::{Body, BodyBuffer};
use crate::memory::MemoryBudget;
use crate::queue::{AppendError, NewMessage, Queue, QueueId};
use crate::scan::{Priority, Ruling, ScanReport, Scanner, Stamp, Verdict};

/// What a release needs besides the quarantine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Releaser {
    /// Where the mail lies.
    pub quarantine: Quarantine,
    /// Where it goes.
    pub queue: Queue,
    /// Who looks at it once more.
    pub scanner: Scanner,
    /// What the mail draws its memory from on its way.
    pub memory: MemoryBudget,
}

/// A mail that was let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Its new queue id.
    pub id: QueueId,
    /// The findings that do not count from now on.
    pub overruled: Vec<String>,
}

/// Why a mail stays.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is no such mail.
    #[error("{0} is not in the quarantine")]
    Unknown(QueueId),
    /// Somebody else releases it at this moment.
    #[error("{0} is being released already")]
    Busy(QueueId),
    /// It was released, and is still here.
    #[error("{id} was released already, and cannot be taken out of the quarantine: {error}")]
    Released {
        /// Which.
        id: QueueId,
        /// Why not.
        error: io::Error,
    },
    /// Infected, and that was not overruled.
    #[error("{id} is infected: {threat}")]
    Infected {
        /// Which.
        id: QueueId,
        /// What a fresh scan found.
        threat: String,
    },
    /// There is no verdict, or one that lets nothing pass.
    #[error("no scan lets {id} go: {verdict}")]
    NotScanned {
        /// Which.
        id: QueueId,
        /// What the scan said.
        verdict: Verdict,
    },
    /// It is not as it was when it came here.
    #[error("{0} is damaged")]
    Damaged(QueueId),
    /// The quarantine's disk.
    #[error("the quarantine: {0}")]
    Io(#[from] io::Error),
    /// The queue does not take it.
    #[error(transparent)]
    Queue(#[from] AppendError),
    /// A bug, which the log tells.
    #[error("the release broke off: {0}")]
    Panicked(#[from] JoinError),
}

/// A mail on its way out.
struct Content {
    trace: Vec<u8>,
    body: Body,
    hash: [u8; 32],
}

// === impl ReleaseError ===

impl ReleaseError {
    /// Whether the same order would do with `overrule`.
    #[must_use]
    pub fn can_be_overruled(&self) -> bool {
        match self {
            Self::Infected { .. } => true,
            Self::NotScanned { verdict, .. } => verdict.finding().is_some(),
            _ => false,
        }
    }
}

// === impl Releaser ===

impl Releaser {
    /// Lets one mail go. Where a fresh scan finds something, only with `overrule`: then all that it finds in this content does
    /// not count any more, here or anywhere. Where the mail stays, nothing was overruled. Goes on to its end where nobody waits
    /// for it.
    ///
    /// # Errors
    /// Why it stays. A crash between the queue's flush and the removal here is put right at the next start, unless the mail
    /// was delivered in between: then it lies here still.
    pub async fn release(&self, id: QueueId, overrule: bool, by: &str) -> Result<Released, ReleaseError> {
        let (releaser, by) = (self.clone(), by.to_owned());
        tokio::spawn(async move { releaser.run(id, overrule, &by).await }).await?
    }

    async fn run(&self, id: QueueId, overrule: bool, by: &str) -> Result<Released, ReleaseError> {
        let quarantine = &self.quarantine;
        let record =
            quarantine.folder.run(move |folder| folder.take(id)).await?.map_err(|why| match why {
                NotTaken::Unknown => ReleaseError::Unknown(id),
                NotTaken::Busy => ReleaseError::Busy(id),
                NotTaken::Released(error) => ReleaseError::Released { id, error },
            })?;
        let released = self.put_back(id, &record, overrule, by).await;
        quarantine.folder.run(move |folder| folder.give_back(id)).await?;
        let (by, about, details) = (by.to_owned(), record.about(), record.details());
        let what = match &released {
            Ok(Released { id: released_as, overruled }) => {
                tracing::info!(queue_id = %id, %released_as, by, ?overruled, "a mail was released from the quarantine");
                let released_as = released_as.to_string();
                What::QuarantineReleased { by, released_as, details, overruled: overruled.clone() }
            }
            Err(error) => {
                tracing::warn!(queue_id = %id, by, %error, "a mail stays in the quarantine");
                What::QuarantineWithheld { by, reason: error.to_string(), details }
            }
        };
        quarantine.events.record(about, what);
        released
    }

    async fn put_back(
        &self,
        id: QueueId,
        record: &Record,
        overrule: bool,
        by: &str,
    ) -> Result<Released, ReleaseError> {
        let content = self.read(id, record).await?;
        let (stamp, overruled) = self.judge(id, &content, overrule).await?;
        // It waits anew: a mail that has been here for weeks would have expired.
        let submission = record.submission(now_ms()).ok_or(ReleaseError::Damaged(id))?;
        let released = self.queue.allocate_id();
        let Content { trace, body, hash } = content;
        let message = NewMessage { id: released, submission, trace, body, stamp: Some(stamp) };
        self.quarantine.folder.run(move |folder| folder.mark_releasing(id, Some(released))).await??;
        if let Err(error) = self.queue.append(message).await {
            self.quarantine.folder.run(move |folder| folder.mark_releasing(id, None)).await??;
            return Err(error.into());
        }
        self.overrule(id, hash, &overruled, by).await;
        let (taken, is_overruled) = (record.clone(), !overruled.is_empty());
        let gone = self.quarantine.folder.run(move |folder| folder.released(&taken, id, is_overruled)).await;
        if let Err(error) = gone.and_then(|gone| gone) {
            tracing::error!(queue_id = %id, %error, "a released mail could not be taken out of the quarantine");
        }
        Ok(Released { id: released, overruled })
    }

    /// Piece by piece; the whole is compared with what was kept.
    async fn read(&self, id: QueueId, record: &Record) -> Result<Content, ReleaseError> {
        if record.damaged || record.trace_octets > TRACE_OCTETS_MAX {
            return Err(ReleaseError::Damaged(id));
        }
        let trace_octets = usize::try_from(record.trace_octets).unwrap_or(usize::MAX);
        let trace = self.piece(id, 0, trace_octets).await?;
        let (mut whole, mut of_body) = (blake3::Hasher::new(), blake3::Hasher::new());
        whole.update(&trace);
        let mut buffer = BodyBuffer::new(self.queue.spool(), self.memory.clone());
        let mut offset = record.trace_octets;
        loop {
            let piece = self.piece(id, offset, PIECE_OCTETS).await?;
            if piece.is_empty() {
                break;
            }
            whole.update(&piece);
            of_body.update(&piece);
            offset = offset.saturating_add(piece.len() as u64);
            buffer.put(&piece);
            buffer.settle().await?;
        }
        if whole.finalize().to_hex().as_str() != record.hash {
            return Err(ReleaseError::Damaged(id));
        }
        Ok(Content { trace, body: buffer.finish().await?, hash: *of_body.finalize().as_bytes() })
    }

    async fn piece(&self, id: QueueId, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
        self.quarantine.folder.run(move |folder| folder.read(id, offset, octets)).await?
    }

    /// The stamp to go with, and what has to be overruled for it. A scan names one finding, so each has another look behind it.
    async fn judge(
        &self,
        id: QueueId,
        content: &Content,
        overrule: bool,
    ) -> Result<(Stamp, Vec<String>), ReleaseError> {
        let mut forgiven: Vec<String> = Vec::new();
        loop {
            let report = self
                .scanner
                .scan_forgiving(content.body.clone(), &forgiven, Priority::High, SCAN_TIME_MAX)
                .await;
            match report.verdict.finding() {
                Some(threat) if overrule && !forgiven.contains(&threat) && forgiven.len() < FINDINGS_MAX => {
                    forgiven.push(threat);
                }
                _ => return Ok((cleared(id, report)?, forgiven)),
            }
        }
    }

    /// Behind the queue's flush, so that no finding is overruled for a mail that stays. A crash in between overrules nothing:
    /// then readers of the mail hear of it once other signatures find it again.
    async fn overrule(&self, id: QueueId, content: [u8; 32], threats: &[String], by: &str) {
        if threats.is_empty() {
            return;
        }
        let ruling = |threat: &String| Ruling { content, threat: threat.clone() };
        let rulings: Vec<Ruling> = threats.iter().map(ruling).collect();
        for ruling in &rulings {
            self.quarantine.overruled.insert(ruling.clone());
        }
        let by = by.to_owned();
        let kept = self.quarantine.folder.run(move |folder| folder.overrule(&rulings, &by, now_ms())).await;
        if let Err(error) = kept.and_then(|kept| kept) {
            tracing::error!(queue_id = %id, %error, "what was overruled cannot be kept, and counts again at the next start");
        }
    }
}

/// The stamp of a clean mail.
fn cleared(id: QueueId, report: ScanReport) -> Result<Stamp, ReleaseError> {
    match report.verdict {
        Verdict::Clean => Ok(report.stamp),
        Verdict::Infected { threat } => Err(ReleaseError::Infected { id, threat }),
        verdict => Err(ReleaseError::NotScanned { id, verdict }),
    }
}

const PIECE_OCTETS: usize = 64 * 1024;
/// One line of `Received` and a few signatures take a hundredth of this.
const TRACE_OCTETS_MAX: u64 = 1024 * 1024;
/// More names than engines have for one mail. Each is a scan that an operator waits for.
const FINDINGS_MAX: usize = 32;
/// An operator waits for it, as a reader would.
const SCAN_TIME_MAX: Duration = Duration::from_secs(180);
