//! What newer signatures find in mails that are here already. They stay: a release scans afresh anyway.

use std::io;

use bytes::Bytes;

use super::{FoundLater, Quarantine, Record};
use crate::events::What;
use crate::queue::QueueId;

// === impl Quarantine ===

impl Quarantine {
    /// The next so many mails behind that one, by their ids; without one, from the beginning. Those that are being released are
    /// left out.
    ///
    /// # Errors
    /// A bug: the thread has panicked.
    pub(crate) async fn behind(
        &self,
        after: Option<QueueId>,
        most: usize,
    ) -> io::Result<Vec<(QueueId, Record)>> {
        self.folder.run(move |folder| folder.behind(after, most)).await
    }

    /// How many mails there are.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn len(&self) -> io::Result<usize> {
        self.folder.run(|folder| folder.len()).await
    }

    /// The body of a mail, without our trace headers; `None` where it is not as it was when it came here.
    ///
    /// # Errors
    /// The disk's; `NotFound` where the mail is gone.
    pub(crate) async fn body(&self, id: QueueId, record: &Record) -> io::Result<Option<Bytes>> {
        let (mut whole, mut hasher) = (Vec::new(), blake3::Hasher::new());
        loop {
            let offset = whole.len() as u64;
            let piece = self.folder.run(move |folder| folder.read(id, offset, PIECE_OCTETS)).await??;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > record.octets {
                return Ok(None);
            }
        }
        let trace_octets = usize::try_from(record.trace_octets).unwrap_or(usize::MAX);
        let is_whole = !record.damaged && hasher.finalize().to_hex().as_str() == record.hash;
        let body = Bytes::from(whole);
        Ok((is_whole && trace_octets <= body.len()).then(|| body.slice(trace_octets..)))
    }

    /// Tells of what was found in a mail, and keeps it beside what was found before; nothing where that is no news.
    ///
    /// # Errors
    /// The disk's: it is told, and not kept.
    pub(crate) async fn find(&self, id: QueueId, later: FoundLater, content: String) -> io::Result<()> {
        let Some(record) = self.folder.run(move |folder| folder.record(id)).await? else { return Ok(()) };
        if record.has_found(&later.threat) {
            return Ok(());
        }
        tracing::warn!(queue_id = %id, threat = later.threat, before = record.threat, "a virus was found in a mail in quarantine");
        let before = record.found_later.as_ref().map_or(&record.threat, |before| &before.threat);
        let what = What::QuarantineVirusFound {
            content,
            threat: later.threat.clone(),
            item: later.item.clone(),
            before: before.clone(),
        };
        // Before it is kept: a crash in between has it told twice rather than never.
        self.events.record(record.about(), what);
        self.folder.run(move |folder| folder.note(id, later)).await?
    }
}

const PIECE_OCTETS: usize = 64 * 1024;
