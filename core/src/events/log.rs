//! The handle by which every room records.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::writer::{Message, Writer};
use super::{About, Event, History, Metrics, What};
use crate::threads;

/// The event log. Clones are the same log; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Log {
    channel: Option<Channel>,
    history: Option<History>,
}

#[derive(Debug, Clone)]
struct Channel {
    sender: mpsc::Sender<Message>,
    /// Events that found the channel full since the writer last looked.
    lost: Arc<AtomicU64>,
    metrics: Option<Metrics>,
}

// === impl Log ===

impl Log {
    /// Opens the log in `folder` (made if missing, for its owner alone) and starts its writer.
    ///
    /// # Errors
    /// The folder cannot be made or written, or the system refuses a thread.
    pub fn start(folder: &Path, metrics: Option<Metrics>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer::open(folder, Arc::clone(&lost), metrics.clone())?;
        threads::spawn("gatepost-events", move || writer.run(receiver))?;
        Ok(Self { channel: Some(Channel { sender, lost, metrics }), history: Some(History::open(folder)) })
    }

    /// A log that keeps nothing, for programs that only look and for tests.
    #[must_use]
    pub const fn discarding() -> Self {
        Self { channel: None, history: None }
    }

    /// Records what happens now. Never waits: where the writer cannot keep up the event is lost and counted.
    pub fn record(&self, about: About, what: What) {
        let Some(channel) = &self.channel else { return };
        let message = Message::Event(Box::new(Event::now(about, what)));
        if channel.sender.try_send(message).is_err() {
            channel.lost.fetch_add(1, Ordering::Relaxed);
            if let Some(metrics) = &channel.metrics {
                metrics.overflowed.inc();
            }
        }
    }

    /// What it has in its files; `None` where it keeps nothing.
    #[must_use]
    pub fn history(&self) -> Option<History> {
        self.history.clone()
    }

    /// Waits until everything recorded so far is in its file.
    pub async fn flush(&self) {
        let Some(channel) = &self.channel else { return };
        let (done, written) = oneshot::channel();
        if channel.sender.send(Message::Flush(done)).await.is_ok() {
            // An error means that the writer has gone, and nothing is left to wait for.
            let _ = written.await;
        }
    }
}

/// Some 500 octets each: 2 MiB at most wait for the writer.
const EVENTS_WAITING_MAX: usize = 4096;
