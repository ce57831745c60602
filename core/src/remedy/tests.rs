//! Real store, queue, quarantine and scanner; what comes of infected messages in two mailboxes.

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::access::{ScanGate, Way, Withheld};
use crate::delivery::testing::Teachable;
use crate::disk::{Disk, SimulatedDisk};
use crate::memory::MemoryBudget;
use crate::quarantine::{self, Record, Selection};
use crate::queue;
use crate::scan::{self, Engine, Overruled, Rewriting, Scanner, Verdict};
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
                head: format!("Return-Path: <a@b.example>\r\nDelivered-To: {mailbox}\r\nReceived: x\r\n")
                    .into(),
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
        let (disk, quarantine_disk) = (SimulatedDisk::new(), SimulatedDisk::new());
        let of_queue: Arc<dyn Disk> = Arc::new(disk);
        let (queue, _) =
            Queue::open(of_queue, Path::new("/queue"), queue::Settings::default(), None).unwrap();
        let of_quarantine: Arc<dyn Disk> = Arc::new(quarantine_disk.clone());
        let (root, settings) = (Path::new("/quarantine"), quarantine::Settings::default());
        let quarantine =
            Quarantine::open(of_quarantine, root, settings, Overruled::default(), Log::discarding(), None)
                .unwrap();
        let rewriter = Rewriter::start(scanner.clone(), MemoryBudget::default()).unwrap();
        let rooms = Rooms {
            database: "default".to_owned(),
            store: store.clone(),
            rewriter,
            quarantine,
            queue,
            events: Log::discarding(),
            metrics: None,
        };
        let remedy = Remedy::new(rooms, Policy { hostname: "mx.example".into(), action });
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
        self.remedy.rooms.quarantine.list(Selection::default(), "test").await.unwrap()
    }
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
    house.remedy.reload(Policy { hostname: "mx.example".into(), action });
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
