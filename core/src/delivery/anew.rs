//! Mail for addresses here that lead to other servers only since it was accepted.
//!
//! Its recipients are those whom the address leads to now, each with a state of his own, so it goes on as a mail of its
//! own. That lies in the batch of the attempt, before its record, as notifications do: the queue has both or neither.

use std::io::{self, Read as _};

use gatepost_smtp::server::BodySink as _;

use super::retry::Setback;
use super::rooms::Rooms;
use crate::intake::{Body, BodyBuffer};
use crate::memory::MemoryBudget;
use crate::queue::{AppendError, NewMessage, Queue};
use crate::store::StoreError;

/// What goes on as a mail of its own.
#[derive(Debug)]
pub(super) struct Anew {
    /// Whom it goes on for: indices into the recipients of the mail that it was.
    pub(super) recipients: Vec<usize>,
    /// The mail; `None` where all whom it would go to have theirs.
    pub(super) message: Option<NewMessage>,
}

// === impl Anew ===

impl Anew {
    /// For these recipients.
    ///
    /// # Errors
    /// Its body cannot be copied now.
    pub(super) async fn make(
        rooms: &Rooms,
        message: &NewMessage,
        recipients: Vec<usize>,
    ) -> Result<Self, Setback> {
        let Some(submission) = rooms.forward_late(&message.submission, &recipients) else {
            return Ok(Self { recipients, message: None });
        };
        let id = rooms.queue.allocate_id();
        let (trace, stamp) = (message.trace.clone(), message.stamp.clone());
        let body = copied(&rooms.queue, &message.body).await?;
        tracing::info!(queue_id = %message.id, goes_on_as = %id, "addresses lead to other servers now");
        Ok(Self { recipients, message: Some(NewMessage { id, submission, trace, body, stamp }) })
    }
}

/// A file belongs to one mail, and goes with it.
async fn copied(queue: &Queue, body: &Body) -> Result<Body, Setback> {
    if let Body::Memory(_) = body {
        return Ok(body.clone());
    }
    // It holds no more than a piece beyond what goes into the file.
    let mut buffer = BodyBuffer::new(queue.spool(), MemoryBudget::default());
    let opened = body.clone();
    let mut reader = blocking(move || opened.reader()).await?;
    loop {
        let read = move || {
            let mut piece = Vec::with_capacity(PIECE_OCTETS);
            reader.by_ref().take(PIECE_OCTETS as u64).read_to_end(&mut piece)?;
            Ok((reader, piece))
        };
        let (rest, piece) = blocking(read).await?;
        if piece.is_empty() {
            return buffer.finish().await.map_err(unwritten);
        }
        reader = rest;
        buffer.put(&piece);
        buffer.settle().await.map_err(unwritten)?;
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Setback> {
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| Setback::Panicked)?;
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => Setback::Damaged,
        _ => Setback::Store(StoreError::BodyUnreadable),
    })
}

const fn unwritten(error: AppendError) -> Setback {
    match error {
        AppendError::Full | AppendError::OverQuota => Setback::Store(StoreError::Full),
        AppendError::Failed | AppendError::Closed => Setback::Store(StoreError::Failed),
    }
}

const PIECE_OCTETS: usize = 64 * 1024;
