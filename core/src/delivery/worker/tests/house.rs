//! All rooms around the workers, and what a crash does to them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use gatepost_smtp::server::{BodySink, Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

use super::super::*;
use super::faulty_store::FaultyStore;
use crate::badmail::{self, Badmail};
use crate::clock::now_ms;
use crate::delivery::testing::Teachable;
use crate::delivery::{Pace, Schedules, Treatment, Warnings, Watchdog};
use crate::directory::{Directory, Password, Scram};
use crate::disk::{Disk, SimulatedDisk};
use crate::events::Log;
use crate::intake::{Body, BodyBuffer, Origin, Submission};
use crate::memory::MemoryBudget;
use crate::quarantine::{self, Quarantine};
use crate::queue::{self, AppendError, Queue, QueueId, Summary};
use crate::scan::{self, Engine, InfectedAction, Overruled, Rewriter, Scanner};
use crate::store::{self, Databases, MailStore, SqliteStore};

pub(super) const ALICE: &str = "alice@localhost";
pub(super) const BOB: &str = "bob@localhost";
pub(super) const BODY: &str = "Subject: hello\r\n\r\nMARK\r\n";

/// What outlives a crash.
pub(super) struct House {
    pub(super) folder: tempfile::TempDir,
    pub(super) disk: SimulatedDisk,
    /// Of the quarantine alone, so that it can fail alone.
    pub(super) quarantine_disk: SimulatedDisk,
    pub(super) engine: Arc<Teachable>,
}

/// What does not.
pub(super) struct Running {
    pub(super) queue: Queue,
    pub(super) store: Arc<FaultyStore>,
    pub(super) directory: Directory,
    pub(super) workers: Workers,
    pub(super) quarantine: Quarantine,
    pub(super) scanner: Scanner,
    pub(super) registry: prometheus::Registry,
}

impl House {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("directory.sqlite")).unwrap();
        let password = Password::prepare(b"correct horse").unwrap();
        directory.add_domain("localhost").unwrap();
        for user in [ALICE, BOB] {
            directory.add_user(user, &password, Scram::Off).unwrap();
        }
        directory.add_alias("all@localhost", ALICE).unwrap();
        directory.add_alias("all@localhost", BOB).unwrap();
        let (disk, quarantine_disk) = (SimulatedDisk::new(), SimulatedDisk::new());
        Self { folder, disk, quarantine_disk, engine: Arc::new(Teachable::new()) }
    }

    pub(super) async fn start(&self) -> Running {
        self.start_idle().with_workers(&self.engine).await
    }

    pub(super) fn start_idle(&self) -> Idle {
        let settings =
            queue::Settings { segment_octets: 1024 * 1024, free_octets_min: 0, ..queue::Settings::default() };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (queue, _recovered) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let badmail = Badmail::open(disk, Path::new("/badmail"), badmail::Settings::default(), None).unwrap();
        let path = self.folder.path().join("default.sqlite");
        let inner = SqliteStore::open(&path, &store::Settings::default(), None).unwrap();
        let store = FaultyStore::new(inner);
        let directory = Directory::open(&self.folder.path().join("directory.sqlite")).unwrap();
        let overruled = Overruled::default();
        Idle {
            queue,
            store: Arc::new(store),
            directory,
            schedules: Schedules::default(),
            infected: InfectedAction::Delete,
            infected_in_database: None,
            open_listeners: HashSet::new(),
            warnings: Warnings::default(),
            warnings_per_hour: 0,
            beside: None,
            quarantine: self.quarantine(&overruled),
            overruled,
            remote: None,
            badmail,
        }
    }

    /// Opened like the queue, from what has survived.
    pub(super) fn quarantine(&self, overruled: &Overruled) -> Quarantine {
        let (disk, settings) = (Arc::new(self.quarantine_disk.clone()), quarantine::Settings::default());
        let root = Path::new("/quarantine");
        Quarantine::open(disk, root, settings, overruled.clone(), Log::discarding(), None).unwrap()
    }

    pub(super) fn dispositions(&self) -> i64 {
        let path = self.folder.path().join("default.sqlite");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM dispositions", [], |row| row.get(0)).unwrap()
    }
}

/// Opened, but nobody works yet.
pub(super) struct Idle {
    pub(super) queue: Queue,
    pub(super) store: Arc<FaultyStore>,
    pub(super) directory: Directory,
    pub(super) schedules: Schedules,
    pub(super) infected: InfectedAction,
    /// Where it is another one.
    pub(super) infected_in_database: Option<InfectedAction>,
    pub(super) open_listeners: HashSet<String>,
    pub(super) warnings: Warnings,
    pub(super) warnings_per_hour: u32,
    /// Another database, and what is done in it.
    pub(super) beside: Option<(Beside, Treatment)>,
    pub(super) quarantine: Quarantine,
    pub(super) overruled: Overruled,
    pub(super) remote: Option<Remote>,
    badmail: Badmail,
}

impl Idle {
    pub(super) async fn with_workers(self, engine: &Arc<Teachable>) -> Running {
        let Self { queue, store, directory, quarantine, overruled, remote, badmail, .. } = self;
        let (schedules, infected, open_listeners) = (self.schedules, self.infected, self.open_listeners);
        let in_database = self.infected_in_database.unwrap_or(infected);
        let mut databases = in_database_with(in_database, self.warnings.clone());
        let mut stores = Databases::new(store::Database {
            name: store::DATABASE.to_owned(),
            store: Arc::clone(&store) as Arc<dyn MailStore>,
        });
        if let Some((Beside { domain, store }, treatment)) = self.beside {
            let name = "beside".to_owned();
            databases.insert(name.clone(), treatment);
            stores = stores.and(store::Database { name, store }, [domain.to_owned()]);
        }
        let registry = prometheus::Registry::new();
        let scanner = Scanner::start(
            Arc::clone(engine) as Arc<dyn Engine>,
            &scan::Settings { overruled, ..scan::Settings::default() },
            scan::Metrics::register(&registry).unwrap(),
        )
        .unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let rooms = Rooms {
            queue: queue.clone(),
            scanner: scanner.clone(),
            directory: directory.clone(),
            store: Arc::new(stores),
            remote,
            watchdog: Watchdog::start(Log::discarding(), None).unwrap(),
            badmail: Some(badmail),
            quarantine: quarantine.clone(),
            rewriter: Rewriter::start(scanner.clone(), MemoryBudget::default()).unwrap(),
            proactive: HashMap::new(),
            events: Log::discarding(),
            warned: Pace::new(Some(metrics.warnings())),
        };
        let hostname = "mx.localhost".to_owned();
        let policy = Policy {
            hostname,
            schedules,
            usual: Treatment { infected, warnings: self.warnings },
            databases,
            open_listeners,
            warnings_per_hour: self.warnings_per_hour,
        };
        let workers = Workers::start(rooms, &Settings::default(), policy, Some(metrics)).await.unwrap();
        Running { queue, store, directory, workers, quarantine, scanner, registry }
    }

    pub(super) async fn accept(&self, stamp: Option<Stamp>, recipients: &[&str]) -> QueueId {
        accept(&self.queue, stamp, recipients).await
    }
}

impl Running {
    pub(super) async fn accept(&self, stamp: Option<Stamp>, recipients: &[&str]) -> QueueId {
        accept(&self.queue, stamp, recipients).await
    }

    pub(super) async fn until_queue(&self, state: impl Fn(&[Summary]) -> bool) -> Vec<Summary> {
        for _ in 0..2_000 {
            let waiting = self.queue.list().await;
            if state(&waiting) {
                return waiting;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the queue stays as {:?}", self.queue.list().await);
    }

    /// By the index alone: a list reads one record after the other, so it leaves out what ends meanwhile and lacks what took
    /// its place, a successor or a notification.
    pub(super) async fn until_queue_empty(&self) {
        for _ in 0..2_000 {
            if self.queue.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the queue stays as {:?}", self.queue.list().await);
    }

    pub(super) async fn count(&self, mailbox: &str) -> usize {
        self.store.inner.list(mailbox).await.unwrap().messages.len()
    }

    /// What was counted is whole now: a worker counts behind the record that others can see already.
    pub(super) async fn stop(self) -> Counters {
        self.workers.stop().await;
        self.queue.close().await;
        self.store.inner.close().await;
        Counters(self.registry)
    }

    /// The power fails: nothing that is running comes to an end.
    pub(super) async fn crash(self, house: &House, seed: u64) {
        for task in self.workers.tasks {
            task.abort();
            let _aborted = task.await;
        }
        house.disk.crash(seed);
        house.quarantine_disk.crash(seed);
        self.queue.close().await;
        self.store.inner.close().await;
    }
}

async fn accept(queue: &Queue, stamp: Option<Stamp>, recipients: &[&str]) -> QueueId {
    let mail = Mail {
        stamp,
        recipients: recipients.iter().map(|address| (*address, "")).collect(),
        ..Mail::default()
    };
    mail.accept(queue).await
}

/// With a body that is too large for the queue's records.
pub(super) async fn accept_large(queue: &Queue, body: &[u8], stamp: Stamp, recipients: &[&str]) {
    let mut buffer = BodyBuffer::new(queue.spool(), MemoryBudget::default());
    for octets in body.chunks(64 * 1024) {
        buffer.put(octets);
        buffer.settle().await.unwrap();
    }
    let body = buffer.finish().await.unwrap();
    assert!(matches!(body, Body::File(_)));
    let recipients = recipients.iter().map(|address| (*address, "")).collect();
    Mail { stamp: Some(stamp), recipients, body, ..Mail::default() }.accept(queue).await;
}

/// A mail as it comes in.
pub(super) struct Mail<'a> {
    /// With angle brackets.
    pub(super) sender: &'a str,
    /// Of MAIL, as on the wire.
    pub(super) params: &'a str,
    /// Addresses, and the parameters of RCPT.
    pub(super) recipients: Vec<(&'a str, &'a str)>,
    pub(super) stamp: Option<Stamp>,
    pub(super) body: Body,
    pub(super) user: Option<&'a str>,
    pub(super) received_at_ms: u64,
}

// === impl Mail ===

impl Default for Mail<'_> {
    fn default() -> Self {
        Self {
            sender: "<sender@example.org>",
            params: "",
            recipients: Vec::new(),
            stamp: None,
            body: Body::Memory(BODY.into()),
            user: None,
            received_at_ms: now_ms(),
        }
    }
}

impl Mail<'_> {
    pub(super) async fn accept(self, queue: &Queue) -> QueueId {
        self.try_accept(queue).await.unwrap()
    }

    pub(super) async fn try_accept(self, queue: &Queue) -> Result<QueueId, AppendError> {
        let recipient = |(address, params): &(&str, &str)| Recipient {
            path: format!("<{address}>").parse().unwrap(),
            params: RcptParams::parse(params).unwrap(),
        };
        let message = NewMessage {
            id: queue.allocate_id(),
            submission: Submission::new(
                Envelope {
                    reverse_path: self.sender.parse().unwrap(),
                    params: MailParams::parse(self.params).unwrap(),
                    recipients: self.recipients.iter().map(recipient).collect(),
                },
                Origin {
                    session: "S1".into(),
                    listener: "smtp".into(),
                    peer: "127.0.0.1:25".parse().unwrap(),
                    helo: "client.example.org".into(),
                    esmtp: true,
                    tls: None,
                    user: self.user.map(str::to_owned),
                    received_at_ms: self.received_at_ms,
                },
            ),
            trace: b"Received: from client.example.org\r\n".to_vec(),
            stamp: self.stamp.map(|stamp| Teachable::sealed(&stamp, &self.body)),
            body: self.body,
        };
        queue.append(message).await
    }
}

/// Another database, for the mailboxes of a domain.
pub(super) struct Beside {
    pub(super) domain: &'static str,
    pub(super) store: Arc<dyn MailStore>,
}

pub(super) fn treated(infected: InfectedAction) -> Treatment {
    Treatment { infected, ..Treatment::default() }
}

/// In the database that has everybody who lives here.
pub(super) fn in_database(infected: InfectedAction) -> HashMap<String, Treatment> {
    in_database_with(infected, Warnings::default())
}

fn in_database_with(infected: InfectedAction, warnings: Warnings) -> HashMap<String, Treatment> {
    HashMap::from([(store::DATABASE.to_owned(), Treatment { infected, warnings })])
}

/// The counters of workers that have stopped.
pub(super) struct Counters(prometheus::Registry);

// === impl Counters ===

impl Counters {
    /// A counter with one label.
    pub(super) fn of(&self, name: &str, label: &str) -> f64 {
        let families = self.0.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let mut metrics = family.get_metric().iter();
        metrics.find(|metric| metric.get_label()[0].value() == label).unwrap().get_counter().get_value()
    }
}
