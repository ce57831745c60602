//! The background scan: what lies somewhere is scanned again before anybody asks for it.
//!
//! ```text
//! new signatures, an order, the calendar -> task (one a place): walk over its ground -> filter -> scanner, low priority
//!     mailboxes:  -> marks, in one transaction with the progress; findings, remedy
//!     queue:      -> told, and due at once: a worker does what the policy says
//!     quarantine: -> told, and kept beside what was found there before
//! ```
//! In: mailbox databases, queue and quarantine, the scanner, settings. Out: a mark on every stored body that was scanned,
//! which the gate goes by; what was found, told and acted on; how far each scan has come. What only costs time (a reader's
//! scan, delivery) goes first: the scanner takes high priority before low, and a throttled scan has one message with it at a
//! time.

mod filter;
mod ground;
mod mailboxes;
mod metrics;
mod place;
mod progress;
mod quarantined;
mod queued;
mod settings;
mod task;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use metrics::Metrics;
pub use place::Place;
pub use progress::{Progress, Reason, State};
pub use settings::Settings;

use crate::events::Log;
use crate::memory::MemoryBudget;
use crate::quarantine::Quarantine;
use crate::queue::Queue;
use crate::remedy::Remedy;
use crate::scan::Scanner;
use crate::store::{SqliteStore, StoreError};
use ground::Ground;
use mailboxes::Mailboxes;
use quarantined::Quarantined;
use queued::Queued;
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

/// Where mail lies outside of mailboxes, and how it is scanned there.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// What waits in it.
    pub queue: Queue,
    /// What is kept in it.
    pub quarantine: Quarantine,
    /// Of both.
    pub settings: Settings,
}

/// What the scan works with.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Gives the verdicts.
    pub scanner: Scanner,
    /// Bodies that are being scanned are drawn from it.
    pub memory: MemoryBudget,
    /// Told of beginnings and ends, and of what is found.
    pub events: Log,
    /// Counts.
    pub metrics: Option<Metrics>,
}

/// The background scans of all places. Clones are the same scans.
#[derive(Debug, Clone, Default)]
pub struct Background {
    places: Arc<[Running]>,
}

/// How the scan of one place stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub place: Place,
    /// The running scan, or the last one; `None` before the first.
    pub progress: Option<Progress>,
}

#[derive(Debug)]
struct Running {
    place: Place,
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
    /// Starts a task for each place. A scan of a database that was under way when the process ended goes on where it stood;
    /// elsewhere it begins anew. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A database cannot be read.
    pub async fn start(
        databases: Vec<Database>,
        elsewhere: Option<Elsewhere>,
        rooms: &Rooms,
    ) -> Result<Self, StoreError> {
        let mut running = Vec::with_capacity(databases.len().saturating_add(2));
        for database in databases {
            let kept = database.store.progress().await?;
            // What another version has written there is as good as nothing: the scan begins anew.
            let progress = kept.and_then(|text| serde_json::from_str(&text).ok());
            let ground = Mailboxes::new(&database);
            let place = Place::Mailboxes(database.name);
            running.push(Running::start(place, ground, database.settings, progress, rooms));
        }
        if let Some(Elsewhere { queue, quarantine, settings }) = elsewhere {
            let queued = Queued::new(queue);
            running.push(Running::start(Place::Queue, queued, settings.clone(), None, rooms));
            let quarantined = Quarantined::new(quarantine);
            running.push(Running::start(Place::Quarantine, quarantined, settings, None, rooms));
        }
        Ok(Self { places: running.into() })
    }

    /// Scans everything from the beginning, as far as the filters let it. A scan that runs goes on.
    pub async fn begin(&self) {
        self.order(Order::Start).await;
    }

    /// Ends the scans that run. New signatures start others.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// How they stand, one for each place.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let status = |running: &Running| Status {
            place: running.place.clone(),
            progress: running.shown.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        self.places.iter().map(status).collect()
    }

    /// Takes new settings of a place on; they hold at once.
    pub fn reload(&self, place: &Place, settings: &Settings) {
        for running in self.places.iter().filter(|running| running.place == *place) {
            running.settings.send_replace(settings.clone());
        }
    }

    /// Ends the tasks; what runs in databases goes on at the next start. To be called before these are closed.
    pub async fn close(&self) {
        for running in self.places.iter() {
            // An error means that the task has ended already.
            let _ended = running.orders.send(Order::Close).await;
            let task = running.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(place = %running.place, %error, "the background scan had died");
            }
        }
    }

    async fn order(&self, order: impl Fn(oneshot::Sender<()>) -> Order) {
        for running in self.places.iter() {
            let (done, holds) = oneshot::channel();
            if running.orders.send(order(done)).await.is_ok() {
                // An error means that the task has ended: then nothing runs.
                let _ended = holds.await;
            }
        }
    }
}

// === impl Running ===

impl Running {
    fn start(
        place: Place,
        ground: impl Ground,
        settings: Settings,
        progress: Option<Progress>,
        rooms: &Rooms,
    ) -> Self {
        let shown = Arc::new(Mutex::new(progress));
        let (settings, seen) = watch::channel(settings);
        let (orders, received) = mpsc::channel(ORDERS_WAITING_MAX);
        let task = Task::new(place.clone(), ground, rooms.clone(), seen, received, Arc::clone(&shown));
        Self { place, settings, orders, shown, task: Mutex::new(Some(tokio::spawn(task.run()))) }
    }
}

/// Operators are few, and each order is obeyed at once.
const ORDERS_WAITING_MAX: usize = 16;
