//! A database in a temporary folder, closed and opened again where a crash would have done so.

mod model;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::intake::Body;
use crate::scan::{EngineIdentity, Stamp};
use crate::store::{BodyMark, ContentHash, MailboxCopy, Position};

const ALICE: &str = "alice@localhost";
const BOB: &str = "bob@localhost";
const BODY: &[u8] = b"Subject: x\r\n\r\n\0\xff\r\n";
const MAIL: QueueId = QueueId(7 << 20);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> SqliteStore {
        self.open_up_to(None)
    }

    fn open_up_to(&self, octets_max: Option<u64>) -> SqliteStore {
        let settings = Settings { readers: 2, octets_max };
        SqliteStore::open(&self.path(), &settings, None).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store/default.sqlite")
    }

    fn count(&self, table: &str) -> usize {
        let connection = Connection::open(self.path()).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn stamp(signatures: &str) -> Stamp {
    Stamp { engine: EngineIdentity::new("test", signatures).unwrap(), policy: 1 }
}

fn copy(recipient: u32, mailbox: &str) -> MailboxCopy {
    let head = format!("Delivered-To: {mailbox}\r\n");
    MailboxCopy { recipient, mailbox: mailbox.to_owned(), head: head.into() }
}

fn delivery(queue_id: QueueId, body: impl Into<Bytes>, copies: Vec<MailboxCopy>) -> Delivery {
    Delivery {
        queue_id,
        body: Body::Memory(body.into()),
        stamp: Some(stamp("1")),
        received_at_ms: 1_700_000_000_000,
        copies,
    }
}

fn threat(name: &str) -> Disposition {
    Disposition::DeletedByPolicy { threat: name.to_owned() }
}

#[tokio::test]
async fn what_is_remembered_can_be_asked_for() {
    let place = Place::new();
    let store = place.open();
    let _holds = store.record(MAIL, vec![(1, threat("T")), (3, threat("U"))]).await.unwrap();
    let known = store.remembered(MAIL, vec![0, 1, 2, 3]).await.unwrap();
    assert_eq!(known, [(1, threat("T")), (3, threat("U"))]);
    assert_eq!(store.remembered(QueueId(1), vec![1]).await.unwrap(), []);
}

#[tokio::test]
async fn a_delivered_mail_is_read_back_octet_for_octet() {
    let place = Place::new();
    let store = place.open();
    let done = store.deliver(delivery(MAIL, BODY, vec![copy(0, ALICE)])).await.unwrap();
    assert_eq!(done, [(0, Disposition::Delivered)]);

    let listing = store.list("Alice@LocalHost").await.unwrap();
    assert_ne!(listing.uid_validity, 0);
    let summary = &listing.messages[0];
    let message = store.fetch(ALICE, summary.uid).await.unwrap().unwrap();
    assert_eq!(message.octets, [b"Delivered-To: alice@localhost\r\n", BODY].concat());
    assert_eq!(message.body(), BODY);
    assert_eq!(summary.octets, message.octets.len() as u64);
    assert_eq!(store.summary(ALICE, summary.uid).await.unwrap().as_ref(), Some(summary));
    assert_eq!(message.received_at_ms, 1_700_000_000_000);
    assert_eq!(message.mark, Some(ScanMark { stamp: stamp("1"), threat: None }));
    assert!(store.fetch(BOB, summary.uid).await.unwrap().is_none());
}

#[tokio::test]
async fn bodies_of_every_length_around_a_chunk_are_whole() {
    let place = Place::new();
    let store = place.open();
    let chunk = bodies::CHUNK_OCTETS;
    for (uid, octets) in (1_u32..).zip([0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk]) {
        let body: Vec<u8> = (0..=250_u8).cycle().take(octets).collect();
        let id = QueueId(MAIL.0 + u64::from(uid));
        store.deliver(delivery(id, body.clone(), vec![copy(0, ALICE)])).await.unwrap();
        let stored = store.fetch(ALICE, uid).await.unwrap().unwrap();
        assert!(stored.body() == body, "{octets} octets");
    }
}

#[tokio::test]
async fn a_replay_after_a_crash_does_nothing_twice() {
    let place = Place::new();
    let mail = || delivery(MAIL, "body", vec![copy(0, ALICE), copy(1, BOB)]);
    let store = place.open();
    let first = store.deliver(mail()).await.unwrap();
    store.close().await;

    let store = place.open();
    assert_eq!(store.deliver(mail()).await.unwrap(), first);
    let verdict_of_the_replay = vec![(0, threat("Late"))];
    assert_eq!(store.record(MAIL, verdict_of_the_replay).await.unwrap(), [(0, Disposition::Delivered)]);
    assert_eq!(store.list(ALICE).await.unwrap().messages.len(), 1);
    assert_eq!(store.list(BOB).await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_before_the_database_is_closed() {
    let (place, image) = (Place::new(), Place::new());
    let store = place.open();
    store.deliver(delivery(MAIL, "body", vec![copy(0, ALICE)])).await.unwrap();
    fs::create_dir(image.path().parent().unwrap()).unwrap();
    for suffix in ["", "-wal"] {
        let name = |place: &Place| format!("{}{suffix}", place.path().display());
        fs::copy(name(&place), name(&image)).unwrap();
    }
    assert_eq!(image.open().fetch(ALICE, 1).await.unwrap().unwrap().body(), "body");
}

#[tokio::test]
async fn a_mail_deleted_by_policy_is_not_delivered_by_a_later_attempt() {
    let place = Place::new();
    let store = place.open();
    let recorded = store.record(MAIL, vec![(0, threat("Eicar-Test"))]).await.unwrap();
    assert_eq!(recorded, [(0, threat("Eicar-Test"))]);
    store.close().await;

    let store = place.open();
    let answer = store.deliver(delivery(MAIL, "body", vec![copy(0, ALICE), copy(1, BOB)])).await.unwrap();
    assert_eq!(answer, [(0, threat("Eicar-Test")), (1, Disposition::Delivered)]);
    assert!(store.list(ALICE).await.unwrap().messages.is_empty());
    assert_eq!(store.list(BOB).await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn every_kind_of_disposition_is_remembered_as_it_was() {
    let place = Place::new();
    let store = place.open();
    let all = vec![
        (0, Disposition::Delivered),
        (1, threat("T.1")),
        (2, Disposition::Quarantined { threat: "T.2".into() }),
        (3, Disposition::Bounced { reason: "5.1.1 no such user".into() }),
    ];
    assert_eq!(store.record(MAIL, all.clone()).await.unwrap(), all);
    let others = (0..4).map(|recipient| (recipient, threat("Other"))).collect();
    assert_eq!(store.record(MAIL, others).await.unwrap(), all);
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_what_the_queue_holds_is_kept() {
    let place = Place::new();
    let store = place.open();
    let (older, younger, forgotten) = (QueueId(MAIL.0 - 1), QueueId(MAIL.0 + 1), QueueId(MAIL.0 + 2));
    for id in [older, MAIL, younger, forgotten] {
        store.deliver(delivery(id, "body", vec![copy(0, ALICE)])).await.unwrap();
    }
    store.forget(forgotten, vec![0]).await.unwrap();
    store.forget_all_but([MAIL, forgotten].into()).await.unwrap();
    assert_eq!(place.count("dispositions"), 1);
    let kept = store.record(MAIL, vec![(0, threat("T"))]).await.unwrap();
    assert_eq!(kept, [(0, Disposition::Delivered)]);
}

#[tokio::test]
async fn forgetting_needs_no_other_change_to_survive_an_orderly_end() {
    let place = Place::new();
    let store = place.open();
    store.deliver(delivery(MAIL, "body", vec![copy(0, ALICE)])).await.unwrap();
    store.forget(MAIL, vec![0]).await.unwrap();
    store.close().await;
    assert_eq!(place.count("dispositions"), 0);
}

#[tokio::test]
async fn a_hundred_mailboxes_share_one_large_body_until_the_last_deletes_it() {
    let place = Place::new();
    let store = place.open();
    let body: Vec<u8> = (0..=250_u8).cycle().take(20 * 1024 * 1024).collect();
    let body = Bytes::from(body);
    let name = |n: u32| format!("user{n}@localhost");
    let copies = (0..100).map(|n| copy(n, &name(n))).collect();
    store.deliver(delivery(MAIL, body.clone(), copies)).await.unwrap();
    let octets = std::fs::metadata(place.path()).unwrap().len();
    assert!(octets < 48 * 1024 * 1024, "{octets}");

    let second = QueueId(MAIL.0 + 1);
    store.deliver(delivery(second, body.clone(), vec![copy(0, ALICE)])).await.unwrap();
    assert_eq!(place.count("bodies"), 1);
    assert!(store.fetch(&name(99), 1).await.unwrap().unwrap().body() == body);

    for n in 0..100 {
        assert_eq!(store.delete(&name(n), vec![1, 1, 2]).await.unwrap(), 1);
    }
    assert!(store.fetch(ALICE, 1).await.unwrap().unwrap().body() == body);
    assert!(store.remove_mailbox(ALICE).await.unwrap());
    assert_eq!((place.count("bodies"), place.count("body_chunks"), place.count("messages")), (0, 0, 0));
}

#[tokio::test]
async fn a_mailbox_named_by_two_recipients_gets_one_copy() {
    let place = Place::new();
    let store = place.open();
    let both = vec![copy(0, ALICE), copy(1, "ALICE@localhost"), copy(1, BOB)];
    let done = store.deliver(delivery(MAIL, "body", both)).await.unwrap();
    assert_eq!(done, [(0, Disposition::Delivered), (1, Disposition::Delivered)]);
    assert_eq!(store.list(ALICE).await.unwrap().messages.len(), 1);
    assert_eq!(store.list(BOB).await.unwrap().messages.len(), 1);
}

#[tokio::test]
async fn a_uid_is_never_used_again_and_a_new_mailbox_has_another_validity() {
    let place = Place::new();
    let store = place.open();
    let mut id = MAIL.0;
    let mut next = || {
        id += 1;
        delivery(QueueId(id), "body", vec![copy(0, ALICE)])
    };
    store.deliver(next()).await.unwrap();
    store.deliver(next()).await.unwrap();
    store.delete(ALICE, vec![2]).await.unwrap();
    store.deliver(next()).await.unwrap();
    let listing = store.list(ALICE).await.unwrap();
    assert_eq!(listing.messages.iter().map(|message| message.uid).collect::<Vec<_>>(), [1, 3]);

    assert!(store.remove_mailbox(ALICE).await.unwrap());
    assert!(!store.remove_mailbox(ALICE).await.unwrap());
    assert_eq!(store.list(ALICE).await.unwrap(), Listing::default());
    store.deliver(next()).await.unwrap();
    assert!(store.list(ALICE).await.unwrap().uid_validity > listing.uid_validity);
}

#[tokio::test]
async fn a_full_database_refuses_the_large_mail_takes_the_small_ones_and_recovers() {
    let place = Place::new();
    let store = Arc::new(place.open_up_to(Some(2 * 1024 * 1024)));
    let large: Vec<u8> = vec![b'x'; 1024 * 1024];
    store.deliver(delivery(MAIL, large, vec![copy(0, ALICE)])).await.unwrap();

    // Handed in together, they may share a transaction: the one that does not fit must not cost the others.
    let mut tasks = Vec::new();
    for n in 1..=20_u64 {
        let body = if n == 10 { vec![b'y'; 1536 * 1024] } else { format!("small {n}").into_bytes() };
        let mail = delivery(QueueId(MAIL.0 + n), body, vec![copy(0, BOB)]);
        let store = Arc::clone(&store);
        tasks.push((n, tokio::spawn(async move { store.deliver(mail).await })));
    }
    for (n, task) in tasks {
        let expected = if n == 10 { Err(StoreError::Full) } else { Ok(vec![(0, Disposition::Delivered)]) };
        assert_eq!(task.await.unwrap(), expected, "mail {n}");
    }
    assert_eq!(store.list(BOB).await.unwrap().messages.len(), 19);

    store.delete(ALICE, vec![1]).await.unwrap();
    let retried = delivery(QueueId(MAIL.0 + 10), vec![b'y'; 1536 * 1024], vec![copy(0, BOB)]);
    store.deliver(retried).await.unwrap();
    assert_eq!(store.list(BOB).await.unwrap().messages.len(), 20);
}

#[tokio::test]
async fn a_mark_holds_for_all_who_share_the_body_and_survives_another_delivery_of_it() {
    let place = Place::new();
    let store = place.open();
    store.deliver(delivery(MAIL, "body", vec![copy(0, ALICE), copy(1, BOB)])).await.unwrap();
    let mark = ScanMark { stamp: stamp("2"), threat: Some("Late".into()) };
    store.mark(ALICE, 1, mark.clone()).await.unwrap();
    store.deliver(delivery(QueueId(MAIL.0 + 1), "body", vec![copy(0, BOB)])).await.unwrap();
    let marks: Vec<_> =
        store.list(BOB).await.unwrap().messages.into_iter().map(|message| message.mark).collect();
    assert_eq!(marks, [Some(mark.clone()), Some(mark)]);
}

#[tokio::test]
async fn mailboxes_are_counted_with_their_octets() {
    let place = Place::new();
    let store = place.open();
    store.deliver(delivery(MAIL, "12345", vec![copy(0, BOB), copy(1, ALICE)])).await.unwrap();
    store.delete(BOB, vec![1]).await.unwrap();
    let octets = (copy(1, ALICE).head.len() + 5) as u64;
    let expected = [
        MailboxTotals { name: ALICE.into(), messages: 1, octets },
        MailboxTotals { name: BOB.into(), messages: 0, octets: 0 },
    ];
    assert_eq!(store.mailboxes().await.unwrap(), expected);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let place = Place::new();
    let store = place.open();
    store.close().await;
    assert_eq!(store.list(ALICE).await.unwrap_err(), StoreError::Closed);
    let late = store.deliver(delivery(MAIL, "body", vec![copy(0, ALICE)])).await;
    assert_eq!(late.unwrap_err(), StoreError::Closed);
    store.close().await;
}

#[tokio::test]
async fn a_store_whose_writer_died_of_a_panic_says_that_it_is_closed() {
    let place = Place::new();
    let store = place.open();
    assert!(!store.is_closed());
    let change = store.writer.change(0, |_| -> Result<(), Fault> { panic!("a bug in a change") });
    assert_eq!(change.await.unwrap_err(), StoreError::Closed);
    // The answer is dropped while the thread still unwinds.
    while !store.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.list(ALICE).await.unwrap(), Listing::default(), "readers go on");
}

#[tokio::test]
async fn another_process_may_have_the_database_open() {
    let place = Place::new();
    let (server, tool) = (place.open(), place.open());
    server.deliver(delivery(MAIL, "body", vec![copy(0, ALICE)])).await.unwrap();
    assert_eq!(tool.delete(ALICE, vec![1]).await.unwrap(), 1);
    assert!(server.list(ALICE).await.unwrap().messages.is_empty());
}

#[test]
fn the_files_are_private() {
    let place = Place::new();
    let _store = place.open();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path().parent().unwrap()), 0o700);
    for file in fs::read_dir(place.path().parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    drop(place.open());
    let connection = Connection::open(place.path()).unwrap();
    connection.execute("INSERT INTO migrations (version, applied_at) VALUES (999, 0)", []).unwrap();
    let error = SqliteStore::open(&place.path(), &Settings::default(), None).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 999, known: 2 }), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path().parent().unwrap()).unwrap();
    fs::write(place.path(), "x".repeat(8192)).unwrap();
    let error = SqliteStore::open(&place.path(), &Settings::default(), None).unwrap_err();
    assert!(matches!(error, OpenError::Sqlite(_)), "{error}");
}

#[tokio::test]
async fn a_walk_meets_every_message_once_whatever_the_size_of_its_steps() {
    let place = Place::new();
    let store = place.open();
    for number in 0..7 {
        let mailboxes =
            [copy(0, ALICE), copy(1, BOB)].into_iter().take(if number % 2 == 0 { 1 } else { 2 }).collect();
        store.deliver(delivery(QueueId(MAIL.0 + number), number.to_string(), mailboxes)).await.unwrap();
    }
    store.delete(ALICE, vec![3]).await.unwrap();
    for step in [1, 2, 100] {
        let (mut behind, mut met) = (Position::default(), Vec::new());
        loop {
            let page = store.walk(behind, step).await.unwrap();
            let Some(last) = page.last() else { break };
            behind = last.position;
            met.extend(page.into_iter().map(|message| (message.position.folder, message.position.uid)));
        }
        assert_eq!(met, [(1, 1), (1, 2), (1, 4), (1, 5), (1, 6), (1, 7), (2, 1), (2, 2), (2, 3)], "{step}");
    }
    assert_eq!(store.count().await.unwrap(), 9);
}

#[tokio::test]
async fn a_verdict_reaches_its_body_alone_even_where_another_body_has_taken_its_row() {
    let place = Place::new();
    let store = place.open();
    store.deliver(delivery(MAIL, "old", vec![copy(0, ALICE)])).await.unwrap();
    let old = store.walk(Position::default(), 1).await.unwrap()[0].content;
    assert_eq!(old, ContentHash::of(b"old"));
    store.delete(ALICE, vec![1]).await.unwrap();
    store.deliver(delivery(QueueId(MAIL.0 + 1), "new", vec![copy(0, ALICE)])).await.unwrap();
    let mark = ScanMark { stamp: stamp("2"), threat: None };
    let note = BodyMark { content: old, mark };
    store.note(vec![note], "{}".into()).await.unwrap();
    let new = &store.list(ALICE).await.unwrap().messages[0];
    assert_eq!(new.mark, Some(ScanMark { stamp: stamp("1"), threat: None }));
    assert_eq!(store.bodies(vec![old, ContentHash::of(b"new")]).await.unwrap(), [None, Some("new".into())]);
    assert_eq!(store.progress().await.unwrap().as_deref(), Some("{}"));
}
