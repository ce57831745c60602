//! Infected parts out of a message, all else as it was.
//!
//! ```text
//! leaves (where all readers agree) -> scanner, each -> infected: engine.clean, else a notice -> scanner, the whole
//! ```
//! What comes out was scanned as a whole, so a mistake about where a part ends costs a rewriting, never a virus that
//! passes. Signatures of the sender that cover the body do not verify any more, and nothing hides that.

mod leaves;
mod replacement;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatepost_smtp::server::BodySink as _;

use self::leaves::{Leaf, file_name};
use super::examine::clean_contained;
use super::{Cleaning, Engine, Priority, Scanner, Stamp, Verdict};
use crate::disk::IoPool;
use crate::intake::{Body, BodyBuffer, Spool, trace};
use crate::memory::{Drawn, MemoryBudget};
use crate::queue::{AppendError, QueueId};
pub use leaves::Indivisible;
pub use replacement::Notice;

/// Rewrites messages on threads of its own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rewriter {
    scanner: Scanner,
    pool: IoPool,
    memory: MemoryBudget,
}

/// A message to be rewritten.
#[derive(Debug, Clone)]
pub struct Task {
    /// As it was received.
    pub body: Body,
    /// Whether the engines are asked to clean before a part is taken out.
    pub cleans: bool,
    /// What stands in the place of what is taken out.
    pub notice: Notice,
    /// For all of it; an hour at most.
    pub time: Duration,
}

/// A message without what was found in it.
#[derive(Debug)]
pub struct Rewritten {
    /// All of it, as it is to be received. Counted against the rewriter's memory until this is dropped.
    pub octets: Bytes,
    /// Under which it was found clean, as a whole.
    pub stamp: Stamp,
    /// What became of its infected parts, at least one.
    pub parts: Vec<Treated>,
    _drawn: Drawn,
}

/// One infected part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treated {
    /// What was found in it, `[A-Za-z0-9._-]`, at most 128.
    pub threat: String,
    /// What became of it.
    pub treatment: Treatment,
}

/// What became of an infected part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Taken out, since that was wanted.
    Removed,
    /// Cleaned.
    Cleaned,
    /// Taken out, since it could not be cleaned.
    CleanFailed,
}

/// Why a message stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRewritten {
    /// No memory, no verdict in time, or a body that cannot be read now: later it may be.
    #[error("there is no time or memory for it now")]
    NotNow,
    /// It cannot be.
    #[error(transparent)]
    Impossible(#[from] Indivisible),
}

/// One change: what stands here becomes this.
struct Edit {
    leaf: Leaf,
    octets: Vec<u8>,
}

// === impl Rewritten ===

impl Rewritten {
    /// The header field that says what was done to a message: on which server, by what the event log and the quarantine know it as it
    /// was, and what was found. Neither name has anything in it that could end a line.
    #[must_use]
    pub fn field(&self, hostname: &str, original: QueueId, threat: &str, now_ms: u64) -> String {
        field(&self.parts, hostname, original, threat, now_ms)
    }
}

// === impl Rewriter ===

impl Rewriter {
    /// Starts its threads. Messages are held in memory of this budget while they are worked on.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(scanner: Scanner, memory: MemoryBudget) -> io::Result<Self> {
        Ok(Self { scanner, pool: IoPool::start("gatepost-rewrite", THREADS)?, memory })
    }

    /// Takes the infected parts out of a message, or cleans them, and scans what comes of it.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub async fn rewrite(&self, task: Task) -> Result<Rewritten, NotRewritten> {
        let due = soon(task.time);
        let drawn = self.draw(&task.body)?;
        let body = task.body.clone();
        let message = self.pool.run(move || body.read()).await.and_then(|read| read);
        let message = message.map_err(|error| {
            tracing::warn!(%error, "a message that is to be rewritten cannot be read");
            NotRewritten::NotNow
        })?;
        let (whole, looked_at) = (message.clone(), message.clone());
        let leaves = self.pool.run(move || leaves::leaves(&looked_at)).await.map_err(not_now)??;
        let (mut edits, mut parts) = (Vec::new(), Vec::new());
        for leaf in leaves {
            let part = message.slice(leaf.range.clone());
            let Some(threat) = self.threat(part.clone(), due).await? else { continue };
            if leaf.is_sealed {
                return Err(Indivisible::Sealed.into());
            }
            let (octets, treatment) = self.treat(&task, part, &threat, due).await?;
            edits.push(Edit { leaf, octets });
            parts.push(Treated { threat, treatment });
        }
        if edits.is_empty() {
            return Err(Indivisible::NotInAPart.into());
        }
        let octets: Bytes = self.pool.run(move || spliced(&whole, edits)).await.map_err(not_now)?.into();
        let stamp = self.vouch(octets.clone(), due).await?;
        Ok(Rewritten { octets, stamp, parts, _drawn: drawn })
    }

    /// What comes of a message as a body of its own, durable where it is large.
    ///
    /// # Errors
    /// The spool's.
    pub async fn body(&self, rewritten: &Rewritten, spool: Spool) -> Result<Body, AppendError> {
        let mut buffer = BodyBuffer::new(spool, self.memory.clone());
        for piece in rewritten.octets.chunks(PIECE_OCTETS) {
            buffer.put(piece);
            buffer.settle().await?;
        }
        buffer.finish().await
    }

    /// Counts what has become of a message, once that is durable.
    pub fn count(&self, parts: &[Treated]) {
        let metrics = &self.scanner.metrics;
        metrics.messages_cleaned.inc();
        for part in parts {
            match part.treatment {
                Treatment::Removed => metrics.files_removed.inc(),
                Treatment::Cleaned => metrics.files_cleaned.inc(),
                Treatment::CleanFailed => {
                    metrics.files_removed.inc();
                    metrics.clean_failures.inc();
                }
            }
        }
    }

    /// For the message as it is, once decoded, and as it will be.
    fn draw(&self, body: &Body) -> Result<Drawn, NotRewritten> {
        let mut drawn = self.memory.clone().draw();
        let octets = body.octets().saturating_mul(COPIES);
        // One that runs alone gets what it needs, or a large message could never be rewritten.
        if drawn.try_grow(octets, 0) || (self.memory.used() == 0 && grown(&mut drawn, octets)) {
            return Ok(drawn);
        }
        tracing::warn!(octets, "no memory to rewrite a message");
        Err(NotRewritten::NotNow)
    }

    /// What is found in a part, each of which the scanner takes for a message of its own.
    async fn threat(&self, part: Bytes, due: Instant) -> Result<Option<String>, NotRewritten> {
        match self.verdict(part, due).await.0 {
            Verdict::Infected { threat } => Ok(Some(threat)),
            // What cannot be looked into is judged with the whole.
            Verdict::Clean | Verdict::Unscannable { .. } => Ok(None),
            Verdict::TimedOut | Verdict::Failed => Err(NotRewritten::NotNow),
        }
    }

    async fn vouch(&self, octets: Bytes, due: Instant) -> Result<Stamp, NotRewritten> {
        match self.verdict(octets, due).await {
            (Verdict::Clean, stamp) => Ok(stamp),
            (Verdict::Infected { .. } | Verdict::Unscannable { .. }, _) => {
                Err(Indivisible::StillSuspect.into())
            }
            (Verdict::TimedOut | Verdict::Failed, _) => Err(NotRewritten::NotNow),
        }
    }

    async fn verdict(&self, octets: Bytes, due: Instant) -> (Verdict, Stamp) {
        let left = due.saturating_duration_since(Instant::now());
        let report = self.scanner.scan(Body::Memory(octets), Priority::Low, left).await;
        (report.verdict, report.stamp)
    }

    /// What stands in the place of a part.
    async fn treat(
        &self,
        task: &Task,
        part: Bytes,
        threat: &str,
        due: Instant,
    ) -> Result<(Vec<u8>, Treatment), NotRewritten> {
        if !task.cleans {
            return Ok((self.notice(task, part, threat).await?, Treatment::Removed));
        }
        let (engine, dirty) = (Arc::clone(&self.scanner.engine), part.clone());
        let cleaned = self.pool.run(move || clean(&*engine, &dirty, due)).await.map_err(not_now)?;
        if let Some(cleaned) = cleaned
            && self.threat(cleaned.clone(), due).await?.is_none()
        {
            return Ok((cleaned.to_vec(), Treatment::Cleaned));
        }
        Ok((self.notice(task, part, threat).await?, Treatment::CleanFailed))
    }

    async fn notice(&self, task: &Task, part: Bytes, threat: &str) -> Result<Vec<u8>, NotRewritten> {
        let (notice, threat) = (task.notice.clone(), threat.to_owned());
        let make = move || notice.part(file_name(&part).as_deref(), &threat);
        self.pool.run(make).await.map_err(not_now)
    }
}

/// The part with the content that an engine has cleaned; `None` where none can.
fn clean(engine: &dyn Engine, part: &[u8], due: Instant) -> Option<Bytes> {
    let content = replacement::content(part)?;
    match clean_contained(engine, &content, due) {
        Cleaning::Cleaned(cleaned) => replacement::with_content(part, &cleaned).map(Bytes::from),
        Cleaning::NotCleanable | Cleaning::Failed => None,
    }
}

fn field(parts: &[Treated], hostname: &str, original: QueueId, threat: &str, now_ms: u64) -> String {
    let cleaned = parts.iter().filter(|part| part.treatment == Treatment::Cleaned).count();
    let removed = parts.len().saturating_sub(cleaned);
    let date = trace::date(now_ms);
    format!(
        "X-Gatepost-Rewritten: by {hostname}; was={original}; removed={removed}; cleaned={cleaned};\r\n\
         \tfound={threat};\r\n\t{date}\r\n"
    )
}

fn spliced(message: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut new = Vec::with_capacity(message.len());
    let mut at = 0;
    for Edit { leaf, octets } in edits {
        new.extend_from_slice(message.get(at..leaf.range.start).unwrap_or_default());
        new.extend_from_slice(&octets);
        at = leaf.range.end;
    }
    new.extend_from_slice(message.get(at..).unwrap_or_default());
    new
}

fn grown(drawn: &mut Drawn, octets: u64) -> bool {
    let _more_than_there_is = drawn.grow(octets);
    true
}

/// A bug, which has told of itself.
fn not_now(_panicked: io::Error) -> NotRewritten {
    NotRewritten::NotNow
}

fn soon(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// Infected mail is rare; an engine that cleans may take its time.
const THREADS: usize = 2;
/// As it was, what is decoded of it, and as it will be.
const COPIES: u64 = 3;
const PIECE_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests;
