//! The threads that read: a connection each, a snapshot for each query.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::schema;
use crate::store::{OpenError, StoreError};
use crate::threads;

/// The door to the threads.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Query(Query),
    Close(oneshot::Sender<()>),
}

type Query = Box<dyn FnOnce(&mut Connection) + Send>;

// === impl Readers ===

impl Readers {
    pub(super) fn start(path: &Path, threads: usize) -> Result<Self, OpenError> {
        let (sender, jobs) = mpsc::channel(WAITING_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 1..=threads {
            let connection = schema::connect(path, None)?;
            connection.pragma_update(None, "query_only", true)?;
            let jobs = Arc::clone(&jobs);
            spawn(number, connection, jobs)?;
        }
        Ok(Self { jobs: sender })
    }

    /// Runs a query on a snapshot of the database.
    pub(super) async fn query<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let result = connection.transaction().and_then(|db: Transaction<'_>| query(&db));
            // Whoever asked may have gone.
            let _gone = reply.send(result.map_err(|error| {
                error!(%error, "a query of the mailbox database failed");
                StoreError::from(&error)
            }));
        };
        self.jobs.send(Job::Query(Box::new(job))).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that the threads have ended, which is what is waited for.
            let _ended = closed.await;
        }
    }
}

fn spawn(number: usize, mut connection: Connection, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) -> io::Result<()> {
    let run = move || {
        while let Some(query) = next(&jobs) {
            query(&mut connection);
        }
    };
    threads::spawn(format!("store-reader-{number}"), run)
}

/// One thread waits in the channel, the others for the lock. The channel is closed under the same lock: a thread that
/// came back for it could wait for ever behind one that waits in the channel.
fn next(jobs: &Mutex<mpsc::Receiver<Job>>) -> Option<Query> {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match jobs.blocking_recv()? {
            Job::Query(query) => return Some(query),
            Job::Close(done) => {
                jobs.close();
                // Whoever asked may have gone.
                let _gone = done.send(());
            }
        }
    }
}

/// Queries that may wait for a thread; whoever comes then waits outside.
const WAITING_MAX: usize = 256;
