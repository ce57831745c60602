//! The writer's thread: group commit.
//!
//! It takes everything that has been handed in, makes it durable with one flush, and has all who wait woken. There is no
//! timer: while one flush runs, the next batch gathers by itself. Where sessions compete for the processors, a flush is
//! shorter than the way of a mail to it; then the writer stands back before it begins, so that those who can go on without
//! it join the batch.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::committer::{Committer, Work};
use super::progress::Pulse;
use super::shared::Shared;
use super::teller::{Reply, Teller};
use crate::threads;

/// What the writer is told.
pub(super) enum Message {
    /// Make this durable.
    Work(Work, Reply),
    /// Look after what nobody waits for.
    Tend,
    /// Stop after what was handed in before.
    Close(oneshot::Sender<()>),
}

/// Starts the thread. It ends on `Close` or when all senders are gone. Where it is called inside a runtime, that one wakes
/// who waits.
pub(super) fn start(committer: Committer) -> io::Result<mpsc::Sender<Message>> {
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    let is_busy = Arc::new(AtomicBool::new(false));
    let (teller, shared) = (Teller::start(), Arc::downgrade(&committer.shared));
    let writer = Writer { committer, inbox, teller, lift_tried: None, is_busy: Arc::clone(&is_busy) };
    threads::spawn("gatepost-queue", move || writer.run())?;
    let (bell, is_busy) = (sender.downgrade(), Arc::clone(&is_busy));
    threads::spawn("gatepost-tend", move || ring(&bell, &is_busy, &shared))?;
    Ok(sender)
}

struct Writer {
    committer: Committer,
    inbox: mpsc::Receiver<Message>,
    teller: Teller,
    lift_tried: Option<Instant>,
    /// Whether there is more to tend to soon.
    is_busy: Arc<AtomicBool>,
}

/// Rings for `Tend` until the queue is gone. A full inbox is no time for it. The gauges are measured here, where nobody waits.
fn ring(bell: &mpsc::WeakSender<Message>, is_busy: &AtomicBool, shared: &Weak<Shared>) {
    let mut measured: Option<Instant> = None;
    loop {
        if let Some(shared) = shared.upgrade() {
            // Where nobody claims or hands in mail for a while, it is seen here that the clock was set.
            shared.watch_clock();
        }
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_PAUSE)
            && let Some(shared) = shared.upgrade()
        {
            shared.measure();
            measured = Some(Instant::now());
        }
        let pause = if is_busy.load(Ordering::Relaxed) { TEND_PAUSE_BUSY } else { TEND_PAUSE };
        std::thread::sleep(pause);
        let Some(sender) = bell.upgrade() else { return };
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(Message::Tend) {
            return;
        }
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self) {
        let mut has_company = false;
        while let Some(first) = self.inbox.blocking_recv() {
            let _busy = Pulse::begin(&self.committer.shared);
            let mut batch = Batch::default();
            batch.add(first);
            if has_company {
                // At once on a processor that has nothing else to do. Who hands in mail alone never waits.
                std::thread::yield_now();
            }
            while batch.work.len() < BATCH_RECORDS_MAX
                && let Ok(next) = self.inbox.try_recv()
            {
                batch.add(next);
            }
            if !batch.work.is_empty() {
                has_company = batch.work.len() > 1;
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
            if batch.tend {
                self.committer.look_at_space();
                self.try_to_lift_stop();
                self.is_busy.store(self.committer.carry_on(), Ordering::Relaxed);
            }
        }
        self.committer.close();
    }

    fn commit(&mut self, work: Vec<Work>, replies: Vec<Reply>) {
        if work.is_empty() {
            return;
        }
        self.try_to_lift_stop();
        let results = self.committer.commit(work);
        self.teller.tell(replies.into_iter().zip(results).collect());
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
    replies: Vec<Reply>,
    closed: Option<oneshot::Sender<()>>,
    tend: bool,
}

// === impl Batch ===

impl Batch {
    fn add(&mut self, message: Message) {
        match message {
            Message::Work(work, reply) => {
                self.work.push(work);
                self.replies.push(reply);
            }
            Message::Tend => self.tend = true,
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
/// Nothing is urgent.
const TEND_PAUSE: Duration = Duration::from_secs(1);
/// As often as metrics are usually read. A million messages take some tens of milliseconds, and the lock a millisecond at a time.
const MEASURE_PAUSE: Duration = Duration::from_secs(15);
/// While an old segment is emptied: see `carry` for the pace.
const TEND_PAUSE_BUSY: Duration = Duration::from_millis(50);
