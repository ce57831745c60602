//! Two databases in a folder, of which one may be closed, as if its disk had gone.

use super::*;
use crate::disk::Dice;
use crate::intake::Body;
use crate::store::{Settings, SqliteStore};

const ANN: &str = "ann@localhost";
const BOB: &str = "bob@Example.ORG";
const ID: QueueId = QueueId(7);

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn one(&self, name: &str) -> Database {
        let path = self.0.path().join(format!("{name}.sqlite"));
        let store = SqliteStore::open(&path, &Settings::default(), None).unwrap();
        Database { name: name.to_owned(), store: Arc::new(store) }
    }

    fn open(&self) -> Databases {
        Databases::new(self.one("default")).and(self.one("other"), ["example.org".to_owned()])
    }

    /// How many dispositions both remember.
    fn remembered(&self) -> i64 {
        let of = |name: &str| {
            let path = self.0.path().join(format!("{name}.sqlite"));
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.query_row("SELECT count(*) FROM dispositions", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        of("default") + of("other")
    }
}

/// To these mailboxes of recipients.
fn mail(copies: &[(u32, &str)]) -> Delivery {
    let copy = |(recipient, mailbox): &(u32, &str)| MailboxCopy {
        recipient: *recipient,
        mailbox: (*mailbox).to_owned(),
        head: bytes::Bytes::new(),
    };
    Delivery {
        queue_id: ID,
        body: Body::Memory("Subject: a\r\n\r\nb\r\n".into()),
        stamp: None,
        received_at_ms: 0,
        copies: copies.iter().map(copy).collect(),
    }
}

fn delivered(recipients: &[u32]) -> Ends {
    recipients.iter().map(|recipient| (*recipient, Disposition::Delivered)).collect()
}

fn quarantined(recipient: u32) -> Ends {
    vec![(recipient, Disposition::Quarantined { threat: "Late".into() })]
}

async fn counts(databases: &Databases) -> [usize; 2] {
    let count = async |mailbox| databases.list(mailbox).await.unwrap().messages.len();
    [count(ANN).await, count(BOB).await]
}

#[tokio::test]
async fn each_mailbox_lies_in_the_database_of_its_domain_and_a_replay_does_nothing() {
    let site = Site::new();
    let databases = site.open();
    assert_eq!((databases.database_of(ANN), databases.database_of(BOB)), ("default", "other"));
    assert_eq!(databases.database_of("postmaster"), "default");
    for _ in 0..2 {
        let ends = databases.deliver(mail(&[(0, ANN), (1, BOB)])).await.unwrap();
        assert_eq!((ends, counts(&databases).await), (delivered(&[0, 1]), [1, 1]));
    }
    let in_other = databases.iter().nth(1).unwrap().store.mailboxes().await.unwrap();
    assert_eq!((in_other.len(), in_other[0].name.as_str()), (1, BOB));
    assert_eq!(databases.mailboxes().await.unwrap().len(), 2);
    let message = databases.fetch(BOB, 1).await.unwrap().unwrap();
    assert!(message.octets.ends_with(b"\r\n\r\nb\r\n"));
    assert_eq!(databases.delete(BOB, vec![1]).await.unwrap(), 1);
    databases.forget(ID, vec![0, 1]).await.unwrap();
    databases.close().await;
    assert_eq!(site.remembered(), 0);
}

/// An alias with mailboxes in both: what one has taken is not taken again, and he ends when both have.
#[tokio::test]
async fn after_a_failure_a_replay_delivers_what_is_missing_and_nothing_twice() {
    for (broken, served) in [(0, Err(StoreError::Closed)), (1, Ok(delivered(&[0])))] {
        let site = Site::new();
        let everybody = mail(&[(0, ANN), (1, ANN), (1, BOB), (2, BOB)]);
        let databases = site.open();
        databases.iter().nth(broken).unwrap().store.close().await;
        assert_eq!(databases.deliver(everybody.clone()).await, served);
        databases.close().await;

        let databases = site.open();
        assert_eq!(databases.deliver(everybody.clone()).await.unwrap(), delivered(&[0, 1, 2]));
        assert_eq!(counts(&databases).await, [1, 1], "broken: {broken}");
        assert_eq!(databases.deliver(everybody).await.unwrap(), delivered(&[0, 1, 2]));
        assert_eq!(counts(&databases).await, [1, 1]);
        databases.forget(ID, vec![0, 1, 2]).await.unwrap();
        databases.close().await;
        assert_eq!(site.remembered(), 0, "parts are forgotten as well");
    }
}

#[tokio::test]
async fn a_database_that_fails_keeps_nobody_waiting_but_its_own_people() {
    let site = Site::new();
    let databases = site.open();
    databases.iter().nth(1).unwrap().store.close().await;
    assert_eq!(databases.deliver(mail(&[(0, BOB), (1, ANN)])).await.unwrap(), delivered(&[1]));
    assert_eq!(databases.deliver(mail(&[(0, BOB)])).await, Err(StoreError::Closed));
    assert_eq!(databases.record(ID, quarantined(0)).await, Err(StoreError::Closed), "he may have his mail");
    databases.close().await;
}

#[tokio::test]
async fn what_was_delivered_in_any_database_is_no_other_end_and_what_has_ended_is_not_delivered() {
    let site = Site::new();
    let databases = site.open();
    assert_eq!(databases.deliver(mail(&[(1, BOB)])).await.unwrap(), delivered(&[1]));
    assert_eq!(databases.record(ID, quarantined(1)).await.unwrap(), delivered(&[1]));
    assert_eq!(databases.record(ID, quarantined(2)).await.unwrap(), quarantined(2));
    let ends = databases.deliver(mail(&[(1, BOB), (2, ANN), (2, BOB)])).await.unwrap();
    assert_eq!(ends, [delivered(&[1]), quarantined(2)].concat());
    assert_eq!(counts(&databases).await, [0, 1]);
    let known = databases.remembered(ID, vec![2, 3, 1]).await.unwrap();
    assert_eq!(known, [quarantined(2), delivered(&[1])].concat());
    databases.forget_all_but(HashSet::new()).await.unwrap();
    databases.close().await;
    assert_eq!(site.remembered(), 0);
}

/// One of his mailboxes had the mail when newer signatures found something: the rest of it is not lost, and not delivered.
#[tokio::test]
async fn who_has_a_part_of_his_copies_has_not_ended() {
    let site = Site::new();
    let databases = site.open();
    databases.iter().nth(1).unwrap().store.close().await;
    assert_eq!(databases.deliver(mail(&[(0, ANN), (0, BOB)])).await, Err(StoreError::Closed));
    databases.close().await;
    let databases = site.open();
    assert_eq!(databases.remembered(ID, vec![0]).await.unwrap(), []);
    assert_eq!(databases.record(ID, quarantined(0)).await.unwrap(), quarantined(0));
    assert_eq!(databases.deliver(mail(&[(0, ANN), (0, BOB)])).await.unwrap(), quarantined(0));
    assert_eq!(counts(&databases).await, [1, 0]);
    databases.close().await;
}

#[tokio::test]
async fn a_mailbox_is_removed_wherever_it_lies() {
    let site = Site::new();
    let databases = site.open();
    let _ends = databases.deliver(mail(&[(0, BOB)])).await.unwrap();
    databases.close().await;
    // Its domain has come to belong to the first.
    let moved = Databases::new(site.one("default")).and(site.one("other"), []);
    assert_eq!(counts(&moved).await, [0, 0]);
    assert!(moved.remove_mailbox(BOB).await.unwrap() && !moved.remove_mailbox(BOB).await.unwrap());
    assert!(!moved.is_closed());
    moved.close().await;
    assert!(moved.is_closed());
}

/// Attempts in any order, of which some meet a database that does not answer: an end that was told once holds, who was delivered to
/// has one copy in each of his mailboxes, and who ended otherwise has none, unless a part of his had come before.
#[tokio::test]
async fn each_has_one_end_and_each_mailbox_one_copy_whatever_fails() {
    let mailboxes = [(0, ANN), (1, BOB), (2, "carl@localhost"), (2, "dora@example.org")];
    for seed in 0..SEEDS {
        let (site, mut dice) = (Site::new(), Dice::new(seed));
        let mut told: BTreeMap<u32, Disposition> = BTreeMap::new();
        let steps = dice.below(6);
        for step in 0..=steps {
            let databases = site.open();
            // The last one is whole.
            let broken = usize::try_from(dice.below(3)).unwrap();
            if let (true, Some(database)) = (step < steps, databases.iter().nth(broken)) {
                database.store.close().await;
            }
            let answer = if step == steps || dice.chance(2, 3) {
                databases.deliver(mail(&mailboxes)).await
            } else {
                databases.record(ID, quarantined(u32::try_from(dice.below(3)).unwrap())).await
            };
            for (recipient, end) in answer.unwrap_or_default() {
                let first = told.entry(recipient).or_insert_with(|| end.clone());
                assert_eq!(*first, end, "seed {seed}, recipient {recipient}");
            }
            databases.close().await;
        }
        assert_eq!(told.len(), 3, "seed {seed}");
        let databases = site.open();
        for (recipient, mailbox) in mailboxes {
            let copies = databases.list(mailbox).await.unwrap().messages.len();
            match told[&recipient] {
                Disposition::Delivered => assert_eq!(copies, 1, "seed {seed}, {mailbox}"),
                _ if recipient < 2 => assert_eq!(copies, 0, "seed {seed}, {mailbox}"),
                _ => assert!(copies <= 1, "seed {seed}, {mailbox}"),
            }
        }
        databases.close().await;
    }
}

const SEEDS: u64 = 40;
