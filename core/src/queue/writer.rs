//! The writer's thread: group commit.
//!
//! It takes everything that has been handed in, makes it durable with one flush, and wakes all who wait. There is no
//! timer: while one flush runs, the next batch gathers by itself.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::AppendError;
use super::committer::{Committer, Work};

/// What the writer is told.
pub(super) enum Message {
    /// Make this durable.
    Work(Work, oneshot::Sender<Result<(), AppendError>>),
    /// Stop after what was handed in before.
    Close(oneshot::Sender<()>),
}

/// Starts the thread. It ends on `Close` or when all senders are gone.
pub(super) fn start(committer: Committer) -> io::Result<mpsc::Sender<Message>> {
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    let writer = Writer { committer, inbox, lift_tried: None };
    thread::Builder::new().name("gatepost-queue".to_owned()).spawn(move || writer.run())?;
    Ok(sender)
}

struct Writer {
    committer: Committer,
    inbox: mpsc::Receiver<Message>,
    lift_tried: Option<Instant>,
}

// === impl Writer ===

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut batch = Batch::default();
            batch.add(first);
            while batch.work.len() < BATCH_RECORDS_MAX
                && let Ok(next) = self.inbox.try_recv()
            {
                batch.add(next);
            }
            self.commit(batch.work, batch.replies);
            if let Some(closed) = batch.closed {
                self.drain();
                self.committer.close();
                // Who asked may have gone: nothing depends on it.
                let _unheard = closed.send(());
                return;
            }
            self.committer.remove_segments();
        }
        self.committer.close();
    }

    fn commit(&mut self, work: Vec<Work>, replies: Vec<oneshot::Sender<Result<(), AppendError>>>) {
        if work.is_empty() {
            return;
        }
        self.try_to_lift_stop();
        for (reply, result) in replies.into_iter().zip(self.committer.commit(work)) {
            // A session that is gone meanwhile does not hear that its mail was taken: the window that SMTP leaves.
            let _unheard = reply.send(result);
        }
    }

    fn try_to_lift_stop(&mut self) {
        if !self.committer.is_stopped() || self.lift_tried.is_some_and(|at| at.elapsed() < LIFT_PAUSE) {
            return;
        }
        if self.committer.lift_stop() {
            tracing::info!("a fresh segment of the queue has flushed: mail is accepted again");
        }
        self.lift_tried = Some(Instant::now());
    }

    /// After `Close`: what was sent before the senders noticed.
    fn drain(&mut self) {
        self.inbox.close();
        let mut batch = Batch::default();
        while let Ok(next) = self.inbox.try_recv() {
            batch.add(next);
        }
        self.commit(batch.work, batch.replies);
    }
}

#[derive(Default)]
struct Batch {
    work: Vec<Work>,
    replies: Vec<oneshot::Sender<Result<(), AppendError>>>,
    closed: Option<oneshot::Sender<()>>,
}

// === impl Batch ===

impl Batch {
    fn add(&mut self, message: Message) {
        match message {
            Message::Work(work, reply) => {
                self.work.push(work);
                self.replies.push(reply);
            }
            Message::Close(reply) => self.closed = Some(reply),
        }
    }
}

/// Sessions that wait beyond these wait for a place here first.
const WAITING_MAX: usize = 4096;
/// One vectored write takes a few thousand slices without trouble.
const BATCH_RECORDS_MAX: usize = 1024;
/// A dying disk is not asked for a fresh segment more often than this.
const LIFT_PAUSE: Duration = Duration::from_secs(1);
