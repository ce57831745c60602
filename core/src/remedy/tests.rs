//! Real store, queue, quarantine and scanner; what comes of infected messages in two mailboxes.

mod warnings;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::*;
use crate::access::{ScanGate, Way, Withheld};
use crate::delivery::testing::Teachable;
use crate::delivery::{Pace, Schedules, Treatment, Warnings, Watchdog};
use crate::directory::{Directory, Password, Scram};
use crate::disk::{Disk, SimulatedDisk};
use crate::events::Log;
use crate::memory::MemoryBudget;
use crate::quarantine::{self, Quarantine, Record, Selection};
use crate::queue::{self, Queue};
use crate::scan::{self, Engine, Overruled, Rewriter, Rewriting, Scanner};
use crate::store::{self, Delivery, MailStore, MailboxCopy};

const ALICE: &str = "alice@localhost";
const BOB: &str = "bob@localhost";
const PARTS: &str =
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\r\nMARK\r\n--b--\r\n";
const REWRITING: Rewriting =
    Rewriting { cleans: false, keeps_original: true, otherwise: Disposal::Quarantine };

struct House {
    _folder: tempfile::TempDir,
    quarantine_disk: SimulatedDisk,
    engine: Arc<Teachable>,
    remedy: Remedy,
    gate: ScanGate,
}

impl House {
    /// With this body in both mailboxes, which came as one mail, and once more in the first as another.
    async fn with(body: &str, action: Option<InfectedAction>) -> Self {
        Self::warning(body, "<a@b.example>", policy(action, Warnings::default(), 0)).await
    }

    /// The same from this sender.
    async fn warning(body: &str, sender: &str, policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.sqlite");
        let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
        let engine = Arc::new(Teachable::new());
        let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
        let scanner =
            Scanner::start(Arc::clone(&engine) as Arc<dyn Engine>, &scan::Settings::default(), metrics)
                .unwrap();
        for (number, mailboxes) in [(1, &[ALICE, BOB][..]), (2, &[ALICE][..])] {
            let copies = (0..).zip(mailboxes).map(|(recipient, mailbox)| MailboxCopy {
                recipient,
                mailbox: (*mailbox).to_owned(),
                head: format!("Return-Path: {sender}\r\nDelivered-To: {mailbox}\r\nReceived: x\r\n").into(),
            });
            let delivery = Delivery {
                queue_id: QueueId(number),
                body: Body::Memory(body.to_owned().into()),
                stamp: Some(engine.stamp()),
                received_at_ms: 7,
                copies: copies.collect(),
            };
            let _dispositions = store.deliver(delivery).await.unwrap();
        }
        let quarantine_disk = SimulatedDisk::new();
        let rooms = Rooms {
            database: "default".to_owned(),
            store: Arc::clone(&store),
            delivery: rooms(folder.path(), &store, &scanner, &quarantine_disk),
            metrics: None,
        };
        let remedy = Remedy::new(rooms, policy);
        let way = Way { remedy: Some(remedy.clone()), ..Way::default() };
        let ways = HashMap::from([(store::DATABASE.to_owned(), way)]);
        let gate = ScanGate::new(store, scanner, None).going(ways);
        engine.learn("2", Verdict::Infected { threat: "Late".into() });
        Self { _folder: folder, quarantine_disk, engine, remedy, gate }
    }

    async fn uids(&self, mailbox: &str) -> Vec<u32> {
        let listing = self.remedy.rooms.store.list(mailbox).await.unwrap();
        listing.messages.iter().map(|message| message.uid).collect()
    }

    async fn kept(&self) -> Vec<Record> {
        self.remedy.rooms.delivery.quarantine.list(Selection::default(), "test").await.unwrap()
    }
}

/// Those in which Alice and Bob live.
fn rooms(
    folder: &Path,
    store: &Arc<SqliteStore>,
    scanner: &Scanner,
    quarantine_disk: &SimulatedDisk,
) -> delivery::Rooms {
    let directory = Directory::open(&folder.join("directory.sqlite")).unwrap();
    let password = Password::prepare(b"correct horse").unwrap();
    directory.add_domain("localhost").unwrap();
    for user in [ALICE, BOB] {
        directory.add_user(user, &password, Scram::Off).unwrap();
    }
    let of_queue: Arc<dyn Disk> = Arc::new(SimulatedDisk::new());
    let (queue, _) = Queue::open(of_queue, Path::new("/queue"), queue::Settings::default(), None).unwrap();
    let of_quarantine: Arc<dyn Disk> = Arc::new(quarantine_disk.clone());
    let (root, settings) = (Path::new("/quarantine"), quarantine::Settings::default());
    let quarantine =
        Quarantine::open(of_quarantine, root, settings, Overruled::default(), Log::discarding(), None)
            .unwrap();
    delivery::Rooms {
        queue,
        scanner: scanner.clone(),
        directory,
        store: Arc::<SqliteStore>::clone(store),
        remote: None,
        watchdog: Watchdog::start(Log::discarding(), None).unwrap(),
        badmail: None,
        quarantine,
        rewriter: Rewriter::start(scanner.clone(), MemoryBudget::default()).unwrap(),
        proactive: HashMap::new(),
        events: Log::discarding(),
        warned: Pace::default(),
    }
}

fn policy(action: Option<InfectedAction>, warnings: Warnings, warnings_per_hour: u32) -> Policy {
    let delivery = delivery::Policy {
        hostname: "mx.example".into(),
        schedules: Schedules::default(),
        usual: Treatment { infected: InfectedAction::Quarantine, warnings },
        databases: HashMap::new(),
        warnings_per_hour,
        open_listeners: HashSet::new(),
    };
    Policy { action, delivery: Arc::new(delivery) }
}

#[tokio::test]
async fn what_is_found_on_reading_is_rewritten_for_all_under_new_uids() {
    let house = House::with(PARTS, Some(InfectedAction::Rewrite(REWRITING))).await;
    let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!(withheld, Withheld::Replaced { threat: "Late".into(), by: 3 });
    assert_eq!((house.uids(ALICE).await, house.uids(BOB).await), (vec![3, 4], vec![2]));
    assert_eq!(house.gate.release(ALICE, 1).await.unwrap_err(), Withheld::Gone);
    for (mailbox, uid) in [(ALICE, 3), (ALICE, 4), (BOB, 2)] {
        let scans = house.engine.scans();
        let released = house.gate.release(mailbox, uid).await.unwrap();
        assert_eq!(house.engine.scans(), scans, "it was scanned before it came here");
        let text = std::str::from_utf8(&released.octets).unwrap();
        let head = format!(
            "Return-Path: <a@b.example>\r\nDelivered-To: {mailbox}\r\nX-Gatepost-Rewritten: by mx.example; was="
        );
        assert!(text.starts_with(&head) && text.contains("\r\nReceived: x\r\nContent-Type"), "{text}");
        assert!(text.contains("\r\nhello\r\n--b\r\n") && !text.contains("MARK"), "{text}");
        assert_eq!(released.received_at_ms, 7);
    }
    let kept = house.kept().await;
    let copies: Vec<Vec<_>> = kept
        .iter()
        .map(|record| record.recipients.iter().map(|copy| copy.address.as_str()).collect())
        .collect();
    assert_eq!(copies, [vec!["<alice@localhost>", "<bob@localhost>"], vec!["<alice@localhost>"]]);
    assert_eq!((kept[0].sender.as_str(), kept[0].threat.as_str()), ("<a@b.example>", "Late"));
    assert_eq!(kept[0].item.as_deref(), Some("message"));
    assert!(house.remedy.rooms.delivery.queue.is_empty(), "nobody is to be warned");
}

#[tokio::test]
async fn what_cannot_be_rewritten_leaves_the_mailboxes_for_the_quarantine() {
    let house = House::with("Subject: x\r\n\r\nMARK\r\n", Some(InfectedAction::Rewrite(REWRITING))).await;
    let withheld = house.gate.release(BOB, 1).await.unwrap_err();
    assert_eq!(withheld, Withheld::Infected { threat: "Late".into() });
    assert_eq!((house.uids(ALICE).await, house.uids(BOB).await), (vec![], vec![]));
    assert_eq!(house.kept().await.len(), 2);
}

#[tokio::test]
async fn deletion_keeps_nothing_and_no_action_keeps_everything() {
    let house = House::with(PARTS, Some(InfectedAction::Delete)).await;
    let _withheld = house.gate.release(ALICE, 2).await.unwrap_err();
    assert_eq!((house.uids(ALICE).await, house.uids(BOB).await), (vec![], vec![]));
    assert!(house.kept().await.is_empty());

    let house = House::with(PARTS, None).await;
    for _ in 0..2 {
        let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
        assert_eq!(withheld, Withheld::Infected { threat: "Late".into() });
    }
    assert_eq!((house.uids(ALICE).await, house.kept().await.len()), (vec![1, 2], 0));
    // A policy that comes later acts on what was marked before.
    let action = Some(InfectedAction::Quarantine);
    house.remedy.reload(policy(action, Warnings::default(), 0));
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!((house.uids(ALICE).await, house.kept().await.len()), (vec![], 2));
}

#[tokio::test]
async fn a_message_stays_where_it_is_and_unread_while_the_quarantine_cannot_take_it() {
    let house = House::with(PARTS, Some(InfectedAction::Rewrite(REWRITING))).await;
    house.quarantine_disk.set_capacity(Some(0));
    let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!(withheld, Withheld::Infected { threat: "Late".into() });
    assert_eq!(house.uids(ALICE).await, [1, 2]);
    house.quarantine_disk.set_capacity(None);
    let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    assert_eq!(withheld, Withheld::Replaced { threat: "Late".into(), by: 3 });
}
