//! Real stores and a real scanner, whose engine and signatures the test sets.

mod elsewhere;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::delivery::testing::Teachable;
use crate::intake::Body;
use crate::queue::QueueId;
use crate::scan::{self, Engine, Obstacle, Stamp, Verdict};
use crate::store::{self, ContentHash, Delivery, MailStore, MailboxCopy};

const ALICE: &str = "alice@localhost";
const BOB: &str = "bob@localhost";
const NOW_AND_THEN: u64 = 1_700_000_000_000;

struct House {
    folder: tempfile::TempDir,
    engine: Arc<Teachable>,
    scanner: Scanner,
}

/// What runs until it is closed.
struct Inhabited {
    store: Arc<SqliteStore>,
    background: Background,
}

// === impl House ===

impl House {
    fn new() -> Self {
        let engine = Arc::new(Teachable::new());
        let metrics = scan::Metrics::register(&prometheus::Registry::new()).unwrap();
        let scanner =
            Scanner::start(Arc::clone(&engine) as Arc<dyn Engine>, &scan::Settings::default(), metrics)
                .unwrap();
        Self { folder: tempfile::tempdir().unwrap(), engine, scanner }
    }

    async fn open(&self, settings: Settings) -> Inhabited {
        let path: PathBuf = self.folder.path().join("default.sqlite");
        let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
        let database = Database { name: "default".into(), store: Arc::clone(&store), settings, remedy: None };
        let rooms = Rooms {
            scanner: self.scanner.clone(),
            memory: MemoryBudget::default(),
            events: Log::discarding(),
            metrics: None,
        };
        let background = Background::start(vec![database], None, &rooms).await.unwrap();
        Inhabited { store, background }
    }

    /// With mails that are stamped by the signatures of the moment, in two mailboxes; every tenth has the mark.
    async fn filled(&self, mails: u64) {
        let house = self.open(Settings { enabled: false, ..Settings::default() }).await;
        for number in 0..mails {
            let mark = if number % 10 == 0 { "MARK" } else { "" };
            let body = format!("Subject: {number}\r\n\r\n{mark}\r\n");
            let mailbox = if number % 2 == 0 { ALICE } else { BOB };
            house.deliver(number, &body, self.engine.stamp(), &[mailbox]).await;
        }
        house.close().await;
    }

    fn learn(&self, signatures: &str) {
        self.engine.learn(signatures, Verdict::Infected { threat: "Late".into() });
    }
}

// === impl Inhabited ===

impl Inhabited {
    async fn deliver(&self, number: u64, body: &str, stamp: Stamp, mailboxes: &[&str]) {
        let copies = (0..).zip(mailboxes).map(|(recipient, mailbox)| MailboxCopy {
            recipient,
            mailbox: (*mailbox).to_owned(),
            head: "Return-Path: <a@b>\r\n".into(),
        });
        let body = Body::Memory(body.to_owned().into());
        let delivery = Delivery {
            queue_id: QueueId(number),
            stamp: Some(Teachable::sealed(&stamp, &body)),
            body,
            received_at_ms: NOW_AND_THEN,
            copies: copies.collect(),
        };
        let _dispositions = self.store.deliver(delivery).await.unwrap();
    }

    fn progress(&self) -> Option<Progress> {
        self.background.status().remove(0).progress
    }

    async fn until(&self, holds: impl Fn(&Progress) -> bool) -> Progress {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(progress) = self.progress().filter(|progress| holds(progress)) {
                return progress;
            }
            assert!(Instant::now() < patience, "waited in vain: {:?}", self.progress());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn finished(&self) -> Progress {
        self.until(|progress| progress.state == State::Finished).await
    }

    /// The stamps' signatures and the threats of a mailbox.
    async fn marks(&self, mailbox: &str) -> Vec<(String, Option<String>)> {
        let messages = self.store.list(mailbox).await.unwrap().messages;
        let marks = messages.into_iter().filter_map(|message| message.mark);
        marks.map(|mark| (mark.stamp.engine.signatures().to_owned(), mark.threat)).collect()
    }

    async fn close(self) {
        self.background.close().await;
        self.store.close().await;
    }
}

fn unthrottled() -> Settings {
    Settings { messages_per_second: None, ..Settings::default() }
}

fn slow() -> Settings {
    Settings { messages_per_second: NonZeroU32::new(20), ..Settings::default() }
}

#[tokio::test]
async fn new_signatures_find_what_lies_in_mailboxes() {
    let house = House::new();
    house.filled(40).await;
    house.learn("2");
    let inhabited = house.open(unthrottled()).await;
    let progress = inhabited.finished().await;
    assert_eq!((progress.reason, progress.total, progress.folders), (Reason::NewSignatures, 40, 2));
    assert_eq!((progress.messages, progress.scanned, progress.infected), (40, 40, 4));
    let marks = inhabited.marks(ALICE).await;
    assert_eq!(marks.iter().filter(|mark| **mark == ("2".into(), Some("Late".into()))).count(), 4);
    assert!(marks.iter().all(|(signatures, _)| signatures == "2"));

    let scans = house.engine.scans();
    inhabited.background.begin().await;
    let again = inhabited.until(|it| it.reason == Reason::Command && it.state == State::Finished).await;
    assert_eq!((again.messages, again.scanned), (40, 0), "the stamps are current");
    assert_eq!(house.engine.scans(), scans);
    inhabited.close().await;
}

#[tokio::test]
async fn a_scan_goes_on_after_a_restart_where_it_stood() {
    let house = House::new();
    house.filled(30).await;
    house.learn("2");
    let first = house.open(slow()).await;
    let before = first.until(|progress| progress.scanned >= 3).await;
    first.close().await;

    let second = house.open(unthrottled()).await;
    let kept = second.progress().unwrap();
    assert!(kept.position >= before.position && kept.messages < 30, "{kept:?}");
    let progress = second.finished().await;
    assert_eq!(progress.started_at_ms, before.started_at_ms);
    assert_eq!((progress.messages, progress.scanned, progress.infected), (30, 30, 3));
    second.close().await;
}

#[tokio::test]
async fn a_throttled_scan_keeps_to_its_rate() {
    let house = House::new();
    house.filled(21).await;
    house.learn("2");
    let inhabited = house.open(slow()).await;
    let first = inhabited.until(|progress| progress.scanned > 0).await;
    let begun = Instant::now();
    let progress = inhabited.finished().await;
    let rate = (progress.scanned - first.scanned) as f64 / begun.elapsed().as_secs_f64();
    assert!(rate < 22.0, "{rate} a second");
    inhabited.close().await;
}

#[tokio::test]
async fn it_is_stopped_and_begun_by_orders_and_does_not_begin_by_itself_where_it_is_switched_off() {
    let house = House::new();
    house.filled(30).await;
    house.learn("2");
    let inhabited = house.open(Settings { enabled: false, ..slow() }).await;
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(inhabited.progress(), None);
    inhabited.background.begin().await;
    assert_eq!(inhabited.progress().unwrap().state, State::Running);
    inhabited.until(|progress| progress.scanned > 0).await;
    inhabited.background.stop().await;
    let stopped = inhabited.progress().unwrap();
    assert!(stopped.state == State::Stopped && stopped.ended_at_ms.is_some() && stopped.messages < 30);
    inhabited.close().await;

    let reopened = house.open(Settings { enabled: false, ..unthrottled() }).await;
    assert_eq!(reopened.progress(), Some(stopped), "an order outlives a restart");
    reopened.background.begin().await;
    assert_eq!(reopened.finished().await.messages, 30);
    reopened.close().await;
}

#[tokio::test]
async fn newer_signatures_begin_it_anew() {
    let house = House::new();
    house.filled(30).await;
    house.learn("2");
    let inhabited = house.open(slow()).await;
    inhabited.until(|progress| progress.scanned > 0).await;
    house.learn("3");
    inhabited.background.reload(&Place::Mailboxes("default".into()), &unthrottled());
    let is_third = |progress: &Progress| progress.stamp == house.engine.stamp().to_string();
    let progress = inhabited.until(|it| is_third(it) && it.state == State::Finished).await;
    assert_eq!(progress.scanned, 30);
    assert!(inhabited.marks(BOB).await.iter().all(|(signatures, _)| signatures == "3"));
    inhabited.close().await;
}

#[tokio::test]
async fn the_calendar_begins_it_again() {
    let house = House::new();
    house.filled(2).await;
    let settings = Settings { every: Some(Duration::from_secs(1)), ..unthrottled() };
    let inhabited = house.open(settings).await;
    inhabited.until(|it| it.reason == Reason::Schedule && it.state == State::Finished).await;
    inhabited.close().await;
}

#[tokio::test]
async fn what_gets_no_verdict_is_counted_and_keeps_its_old_mark() {
    let house = House::new();
    house.filled(10).await;
    house.engine.learn("2", Verdict::Unscannable { reason: Obstacle::TooDeep });
    let inhabited = house.open(unthrottled()).await;
    let progress = inhabited.finished().await;
    assert_eq!((progress.scanned, progress.unfinished), (10, 1));
    assert_eq!(inhabited.marks(ALICE).await[0].0, "1");
    inhabited.close().await;
}

#[tokio::test]
async fn a_scanner_that_is_down_is_waited_for() {
    let house = House::new();
    let inhabited = house.open(Settings { enabled: false, ..unthrottled() }).await;
    inhabited.deliver(0, "Subject: x\r\n\r\nMARK\r\n", house.engine.stamp(), &[ALICE]).await;
    house.engine.learn("2", Verdict::Failed);
    inhabited.background.begin().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let progress = inhabited.progress().unwrap();
    assert_eq!((progress.state, progress.messages), (State::Running, 0));
    inhabited.background.stop().await;
    assert_eq!(inhabited.progress().unwrap().state, State::Stopped);
    inhabited.close().await;
}

#[tokio::test]
async fn copies_of_one_body_are_scanned_once_and_marked_together() {
    let house = House::new();
    let inhabited = house.open(Settings { enabled: false, ..unthrottled() }).await;
    inhabited.deliver(0, "Subject: x\r\n\r\nMARK\r\n", house.engine.stamp(), &[ALICE, BOB]).await;
    house.learn("2");
    inhabited.background.begin().await;
    let progress = inhabited.finished().await;
    assert_eq!((progress.messages, progress.scanned, progress.infected), (2, 1, 1));
    for mailbox in [ALICE, BOB] {
        assert_eq!(inhabited.marks(mailbox).await, [("2".to_owned(), Some("Late".to_owned()))]);
    }
    inhabited.close().await;
}

#[tokio::test]
async fn a_message_without_attachments_is_left_out_where_only_attachments_are_scanned() {
    let house = House::new();
    let settings = Settings { enabled: false, only_attachments: true, ..unthrottled() };
    let inhabited = house.open(settings).await;
    let with = "Content-Type: application/zip\r\n\r\nMARK\r\n";
    inhabited.deliver(0, "Subject: x\r\n\r\nMARK\r\n", house.engine.stamp(), &[ALICE]).await;
    inhabited.deliver(1, with, house.engine.stamp(), &[ALICE]).await;
    house.learn("2");
    inhabited.background.begin().await;
    let progress = inhabited.finished().await;
    assert_eq!((progress.messages, progress.scanned), (2, 1));
    let threats: Vec<_> = inhabited.marks(ALICE).await.into_iter().map(|mark| mark.1).collect();
    assert_eq!(threats, [None, Some("Late".to_owned())]);
    inhabited.close().await;
}
