//! The one thread that changes the database: it takes all that is waiting into one transaction, and one flush.

use std::{io, mem};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::{Fault, changes};
use crate::queue::QueueId;
use crate::store::{Metrics, StoreError};
use crate::threads;

/// The door to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
}

enum Request {
    Change(Box<dyn Change>),
    /// Nobody waits for it, so it costs no flush: it goes with the next change.
    Forget(QueueId, Vec<u32>),
    Close(oneshot::Sender<()>),
}

/// One change and whoever waits for it. Applied again by itself when the transaction that it was first part of failed.
trait Change: Send {
    fn octets(&self) -> u64;
    fn apply(&mut self, db: &Transaction<'_>) -> Result<(), Fault>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<T, F> {
    octets: u64,
    apply: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

struct Thread {
    connection: Connection,
    requests: mpsc::Receiver<Request>,
    metrics: Option<Metrics>,
    forgets: Vec<(QueueId, u32)>,
}

/// What one look at the channel gave.
#[derive(Default)]
struct Batch {
    changes: Vec<Box<dyn Change>>,
    octets: u64,
    closing: Vec<oneshot::Sender<()>>,
}

/// A transaction that did not happen.
enum Failure {
    /// One of its changes is at fault; the others may do better without it.
    Change(Fault),
    /// The database is.
    Database(rusqlite::Error),
}

// === impl Writer ===

impl Writer {
    pub(super) fn start(connection: Connection, metrics: Option<Metrics>) -> io::Result<Self> {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let thread = Thread { connection, requests, metrics, forgets: Vec::new() };
        threads::spawn("store-writer", move || thread.run())?;
        Ok(Self { requests: sender })
    }

    /// Has a change made and waits until it is durable. `octets` is about what it will write.
    pub(super) async fn change<T, F>(&self, octets: u64, apply: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { octets, apply, result: None, reply };
        self.requests.send(Request::Change(Box::new(pending))).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn forget(&self, queue_id: QueueId, recipients: Vec<u32>) -> Result<(), StoreError> {
        self.requests.send(Request::Forget(queue_id, recipients)).await.map_err(|_| StoreError::Closed)
    }

    /// Whether the thread takes nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            // An error means that the thread has ended, which is what is waited for.
            let _ended = closed.await;
        }
    }
}

// === impl Thread ===

impl Thread {
    fn run(mut self) {
        let mut closing = Vec::new();
        while let Some(first) = self.requests.blocking_recv() {
            let batch = self.gather(first);
            if !batch.closing.is_empty() {
                self.requests.close();
                closing.extend(batch.closing);
            }
            self.write(batch.changes);
        }
        self.write_forgets();
        drop(self.connection);
        for waiting in closing {
            // Whoever asked may have gone.
            let _gone = waiting.send(());
        }
    }

    fn gather(&mut self, first: Request) -> Batch {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Change(change) => {
                    batch.octets = batch.octets.saturating_add(change.octets());
                    batch.changes.push(change);
                }
                Request::Forget(id, recipients) => {
                    self.forgets.extend(recipients.into_iter().map(|recipient| (id, recipient)));
                }
                Request::Close(done) => batch.closing.push(done),
            }
            let full = batch.changes.len() >= BATCH_CHANGES_MAX || batch.octets >= BATCH_OCTETS_MAX;
            next = if full { None } else { self.requests.try_recv().ok() };
        }
        batch
    }

    fn write(&mut self, mut changes: Vec<Box<dyn Change>>) {
        if changes.is_empty() {
            if self.forgets.len() >= FORGETS_WAITING_MAX {
                self.write_forgets();
            }
            return;
        }
        match self.commit(&mut changes) {
            Ok(()) => answer_all(changes, Ok(())),
            Err(Failure::Change(_)) if changes.len() > 1 => {
                for change in changes {
                    let mut alone = vec![change];
                    let committed = self.commit(&mut alone).map_err(|failure| failure.report());
                    answer_all(alone, committed);
                }
            }
            Err(failure) => answer_all(changes, Err(failure.report())),
        }
    }

    fn write_forgets(&mut self) {
        if !self.forgets.is_empty()
            && let Err(failure) = self.commit(&mut [])
        {
            let _reported = failure.report();
            // The sweep at the next start takes care of them; memory does not grow while the disk is out of order.
            self.forgets.clear();
        }
    }

    fn commit(&mut self, changes: &mut [Box<dyn Change>]) -> Result<(), Failure> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::Database)?;
        changes::forget(&transaction, &self.forgets).map_err(Failure::Database)?;
        for change in &mut *changes {
            change.apply(&transaction).map_err(Failure::Change)?;
        }
        transaction.commit().map_err(Failure::Database)?;
        drop(mem::take(&mut self.forgets));
        if let Some(metrics) = &self.metrics {
            metrics.commit_changes.observe(u32::try_from(changes.len()).unwrap_or(u32::MAX).into());
        }
        Ok(())
    }
}

fn answer_all(changes: Vec<Box<dyn Change>>, committed: Result<(), StoreError>) {
    for change in changes {
        change.answer(committed);
    }
}

// === impl Failure ===

impl Failure {
    fn report(self) -> StoreError {
        let fault = match self {
            Self::Change(fault) => fault,
            Self::Database(error) => Fault::Sqlite(error),
        };
        let told = StoreError::from(&fault);
        error!(error = %fault, "a transaction of the mailbox database failed");
        told
    }
}

// === impl Pending ===

impl<T, F> Change for Pending<T, F>
where
    T: Send,
    F: Fn(&Connection) -> Result<T, Fault> + Send,
{
    fn octets(&self) -> u64 {
        self.octets
    }

    fn apply(&mut self, db: &Transaction<'_>) -> Result<(), Fault> {
        self.result = Some((self.apply)(db)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        // Whoever asked may have gone; the change holds all the same.
        let _gone = reply.send(committed.and_then(|()| result.ok_or(StoreError::Failed)));
    }
}

/// Requests that may wait for the thread; whoever comes then waits outside. They hold no bodies larger than what the
/// queue keeps in memory for them anyway.
const WAITING_MAX: usize = 512;

/// Beyond this many changes a flush costs each of them next to nothing, and the first would wait for the last.
pub(super) const BATCH_CHANGES_MAX: usize = 256;

/// The write-ahead log grows by what a transaction writes: one large mail, or many small ones.
const BATCH_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// When so many wait without a change that would take them along, they get a transaction of their own.
const FORGETS_WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::{make_private_file, schema};
    use super::*;

    #[test]
    fn all_that_waits_shares_one_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.sqlite");
        make_private_file(&path).unwrap();
        let mut connection = schema::connect(&path, None).unwrap();
        schema::migrate(&mut connection).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let mut thread = Thread { connection, requests, metrics: Some(metrics.clone()), forgets: Vec::new() };

        let mut answers = Vec::new();
        for n in 0..(BATCH_CHANGES_MAX + 10) {
            let (reply, answer) = oneshot::channel();
            let apply = move |db: &Connection| {
                db.execute("INSERT INTO mailboxes (name) VALUES (?1)", [n])?;
                Ok(n)
            };
            let change: Box<dyn Change> = Box::new(Pending { octets: 1, apply, result: None, reply });
            sender.try_send(Request::Change(change)).ok().unwrap();
            answers.push(answer);
        }
        for _ in 0..2 {
            let first = thread.requests.try_recv().unwrap();
            let batch = thread.gather(first);
            thread.write(batch.changes);
        }
        assert_eq!(metrics.commit_changes.get_sample_count(), 2);
        assert_eq!(metrics.commit_changes.get_sample_sum(), (BATCH_CHANGES_MAX + 10) as f64);
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.blocking_recv().unwrap(), Ok(n));
        }
    }

    #[test]
    fn a_large_change_ends_its_batch() {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let connection = Connection::open_in_memory().unwrap();
        let mut thread = Thread { connection, requests, metrics: None, forgets: Vec::new() };
        for octets in [1, BATCH_OCTETS_MAX, 1] {
            let (reply, _answer) = oneshot::channel();
            let apply = |_: &Connection| Ok(());
            let change: Box<dyn Change> = Box::new(Pending { octets, apply, result: None, reply });
            sender.try_send(Request::Change(change)).ok().unwrap();
        }
        let first = thread.requests.try_recv().unwrap();
        assert_eq!(thread.gather(first).changes.len(), 2);
    }
}
