//! The background scan: what lies in mailboxes is scanned again before anybody asks for it.
//!
//! ```text
//! new signatures, an order, the calendar -> task (one a database): walk -> filter -> scanner, low priority -> marks
//!                                                  \___ progress, in the same transaction as the marks ___/
//! ```
//! In: mailbox databases, the scanner, settings. Out: a mark on every body that was scanned, which the gate goes by, and
//! how far the scan has come. What only costs time (a reader's scan, delivery) goes first: the scanner takes high priority
//! before low, and a throttled scan has one message with it at a time.

mod filter;
mod metrics;
mod progress;
mod settings;
mod task;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use metrics::Metrics;
pub use progress::{Progress, Reason, State};
pub use settings::Settings;

use crate::events::Log;
use crate::memory::MemoryBudget;
use crate::remedy::Remedy;
use crate::scan::Scanner;
use crate::store::{SqliteStore, StoreError};
use task::Task;

/// A mailbox database, and how it is scanned.
#[derive(Debug, Clone)]
pub struct Database {
    /// What operators call it.
    pub name: String,
    /// Itself.
    pub store: Arc<SqliteStore>,
    /// Its own settings.
    pub settings: Settings,
    /// Acts on what is found in it.
    pub remedy: Option<Remedy>,
}

/// What the scan works with.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Gives the verdicts.
    pub scanner: Scanner,
    /// Bodies that are being scanned are drawn from it.
    pub memory: MemoryBudget,
    /// Told of beginnings and ends.
    pub events: Log,
    /// Counts.
    pub metrics: Option<Metrics>,
}

/// The background scans of all databases. Clones are the same scans.
#[derive(Debug, Clone, Default)]
pub struct Background {
    databases: Arc<[Running]>,
}

/// How the scan of one database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which database.
    pub database: String,
    /// The running scan, or the last one; `None` before the first.
    pub progress: Option<Progress>,
}

#[derive(Debug)]
struct Running {
    name: String,
    settings: watch::Sender<Settings>,
    orders: mpsc::Sender<Order>,
    shown: Shown,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the task shows of its progress.
type Shown = Arc<Mutex<Option<Progress>>>;

/// What a task is told. The answer comes when it holds.
#[derive(Debug)]
enum Order {
    Start(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
    Close,
}

// === impl Background ===

impl Background {
    /// Starts a task for each database. A scan that was under way when the process ended goes on where it stood. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// A database cannot be read.
    pub async fn start(databases: Vec<Database>, rooms: &Rooms) -> Result<Self, StoreError> {
        let mut running = Vec::with_capacity(databases.len());
        for Database { name, store, settings, remedy } in databases {
            let kept = store.progress().await?;
            // What another version has written there is as good as nothing: the scan begins anew.
            let progress = kept.and_then(|text| serde_json::from_str(&text).ok());
            let shown = Arc::new(Mutex::new(progress));
            let (settings, seen) = watch::channel(settings);
            let (orders, received) = mpsc::channel(ORDERS_WAITING_MAX);
            let task =
                Task::new(name.clone(), store, remedy, rooms.clone(), seen, received, Arc::clone(&shown));
            let task = Mutex::new(Some(tokio::spawn(task.run())));
            running.push(Running { name, settings, orders, shown, task });
        }
        Ok(Self { databases: running.into() })
    }

    /// Scans everything from the beginning, as far as the filters let it. A scan that runs goes on.
    pub async fn begin(&self) {
        self.order(Order::Start).await;
    }

    /// Ends the scans that run. New signatures start others.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// How they stand, one for each database.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let status = |running: &Running| Status {
            database: running.name.clone(),
            progress: running.shown.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        self.databases.iter().map(status).collect()
    }

    /// Takes new settings of a database on; they hold at once.
    pub fn reload(&self, database: &str, settings: &Settings) {
        for running in self.databases.iter().filter(|running| running.name == database) {
            running.settings.send_replace(settings.clone());
        }
    }

    /// Ends the tasks; what runs goes on at the next start. To be called before the databases are closed.
    pub async fn close(&self) {
        for running in self.databases.iter() {
            // An error means that the task has ended already.
            let _ended = running.orders.send(Order::Close).await;
            let task = running.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(database = running.name, %error, "the background scan had died");
            }
        }
    }

    async fn order(&self, order: impl Fn(oneshot::Sender<()>) -> Order) {
        for running in self.databases.iter() {
            let (done, holds) = oneshot::channel();
            if running.orders.send(order(done)).await.is_ok() {
                // An error means that the task has ended: then nothing runs.
                let _ended = holds.await;
            }
        }
    }
}

/// Operators are few, and each order is obeyed at once.
const ORDERS_WAITING_MAX: usize = 16;
