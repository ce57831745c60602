//! A real store and a real scanner whose engine and signatures the test sets.

use super::*;
use crate::delivery::testing::Teachable;
use crate::queue::QueueId;
use crate::scan::{self, Engine};
use crate::store::{self, Delivery, MailboxCopy, SqliteStore};

const ALICE: &str = "alice@localhost";
const BODY: &str = "Subject: hello\r\n\r\nMARK\r\n";

struct House {
    _folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    engine: Arc<Teachable>,
    gate: ScanGate,
    overruled: scan::Overruled,
    registry: prometheus::Registry,
}

impl House {
    async fn with_a_mail() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.sqlite");
        let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
        let engine = Arc::new(Teachable::new());
        let registry = prometheus::Registry::new();
        let overruled = scan::Overruled::default();
        let scanner = Scanner::start(
            Arc::clone(&engine) as Arc<dyn Engine>,
            &scan::Settings { overruled: overruled.clone(), ..scan::Settings::default() },
            scan::Metrics::register(&registry).unwrap(),
        )
        .unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let gate = ScanGate::new(Arc::clone(&store) as Arc<dyn MailStore>, scanner, Some(metrics));
        let copies =
            vec![MailboxCopy { recipient: 0, mailbox: ALICE.into(), head: "Received: x\r\n".into() }];
        let delivery = Delivery {
            queue_id: QueueId(1),
            body: Body::Memory(BODY.into()),
            stamp: Some(Teachable::sealed(&engine.stamp(), &Body::Memory(BODY.into()))),
            received_at_ms: 7,
            copies,
        };
        let _dispositions = store.deliver(delivery).await.unwrap();
        Self { _folder: folder, store, engine, gate, overruled, registry }
    }

    fn infected() -> Verdict {
        Verdict::Infected { threat: "Late".into() }
    }

    fn sparing(&self, database: &str, age_max: AgeMax) -> ScanGate {
        let way = Way { age_max, ..Way::default() };
        self.gate.clone().going(HashMap::from([(database.to_owned(), way)]))
    }
}

#[tokio::test]
async fn a_message_with_a_current_stamp_is_shown_without_a_scan() {
    let house = House::with_a_mail().await;
    let released = house.gate.release(ALICE, 1).await.unwrap();
    assert_eq!(released.octets, format!("Received: x\r\n{BODY}"));
    assert_eq!(released.octets.slice(released.body_at..), BODY);
    assert_eq!((released.uid, released.received_at_ms), (1, 7));
    assert_eq!(house.engine.scans(), 0);
}

#[tokio::test]
async fn a_reader_is_let_wait_longer_than_for_his_scan_alone() {
    let wait = Duration::from_secs(600);
    let gate = House::with_a_mail().await.gate.waiting(wait);
    assert!(gate.patience() > wait + MEMORY_WAIT_MAX, "{:?}", gate.patience());
}

/// As by somebody who can write to the database and has no key.
#[tokio::test]
async fn a_mark_that_is_not_ours_is_none() {
    let house = House::with_a_mail().await;
    let foreign = scan::SealKey::new(&[7; 32]).seal(
        blake3::hash(BODY.as_bytes()).as_bytes(),
        None,
        &house.engine.stamp(),
    );
    let other = Teachable::sealed(&house.engine.stamp(), &Body::Memory("Subject: other\r\n\r\n".into()));
    for (scanned, stamp) in [(1, house.engine.stamp()), (2, foreign), (3, other)] {
        let before = house.engine.scans();
        house.store.mark(ALICE, 1, ScanMark { stamp, threat: None }).await.unwrap();
        house.engine.learn("1", House::infected());
        house.gate.scanner.forget();
        let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
        assert_eq!(withheld, Withheld::Infected { threat: "Late".into() });
        assert!(house.engine.scans() > before, "{scanned}");
    }
    let refused = house.registry.gather().into_iter().find(|it| it.name().ends_with("stamps_refused_total"));
    assert_eq!(refused.unwrap().get_metric()[0].get_counter().get_value(), 3.0);
}

#[tokio::test]
async fn new_signatures_cost_one_scan_and_then_none() {
    let house = House::with_a_mail().await;
    house.engine.learn("2", Verdict::Clean);
    house.gate.release(ALICE, 1).await.unwrap();
    let scans = house.engine.scans();
    assert!(scans > 0);
    house.gate.release(ALICE, 1).await.unwrap();
    assert_eq!(house.engine.scans(), scans);
    let mark = house.store.summary(ALICE, 1).await.unwrap().unwrap().mark;
    assert_eq!(mark, Some(ScanMark { stamp: house.engine.stamp(), threat: None }));
}

#[tokio::test]
async fn what_is_old_and_was_found_clean_once_is_not_scanned_again_where_that_is_wanted() {
    let house = House::with_a_mail().await;
    let age_max = AgeMax::default();
    let gate = house.sparing(store::DATABASE, age_max.clone());
    house.engine.learn("2", House::infected());
    age_max.set(Some(Duration::from_secs(3600)));
    gate.release(ALICE, 1).await.unwrap();
    assert_eq!(house.engine.scans(), 0);
    // What is younger is.
    age_max.set(Some(Duration::MAX));
    assert_eq!(gate.release(ALICE, 1).await.unwrap_err(), Withheld::Infected { threat: "Late".into() });
    // What was found infected stays so, whatever its age, until a scan says otherwise.
    age_max.set(Some(Duration::from_secs(3600)));
    house.engine.learn("3", House::infected());
    assert_eq!(gate.release(ALICE, 1).await.unwrap_err(), Withheld::Infected { threat: "Late".into() });
    house.engine.learn("4", Verdict::Clean);
    gate.release(ALICE, 1).await.unwrap();
}

#[tokio::test]
async fn what_is_said_of_another_database_is_not_done_in_this_one() {
    let house = House::with_a_mail().await;
    let gate = house.sparing("other", AgeMax::new(Some(Duration::from_secs(3600))));
    house.engine.learn("2", House::infected());
    assert_eq!(gate.release(ALICE, 1).await.unwrap_err(), Withheld::Infected { threat: "Late".into() });
}

#[tokio::test]
async fn what_was_never_scanned_is_scanned_whatever_its_age() {
    let house = House::with_a_mail().await;
    let delivery = Delivery {
        queue_id: QueueId(2),
        body: Body::Memory("Subject: MARK\r\n\r\n".into()),
        stamp: None,
        received_at_ms: 7,
        copies: vec![MailboxCopy { recipient: 0, mailbox: ALICE.into(), head: "Received: x\r\n".into() }],
    };
    let _dispositions = house.store.deliver(delivery).await.unwrap();
    house.engine.learn("1", House::infected());
    let gate = house.sparing(store::DATABASE, AgeMax::new(Some(Duration::from_secs(60))));
    assert_eq!(gate.release(ALICE, 2).await.unwrap_err(), Withheld::Infected { threat: "Late".into() });
}

#[tokio::test]
async fn a_virus_that_is_only_known_later_is_never_shown() {
    let house = House::with_a_mail().await;
    house.engine.learn("2", House::infected());
    for _ in 0..2 {
        let withheld = house.gate.release(ALICE, 1).await.unwrap_err();
        assert_eq!(withheld, Withheld::Infected { threat: "Late".into() });
    }
    let mark = house.store.summary(ALICE, 1).await.unwrap().unwrap().mark;
    assert_eq!(mark, Some(ScanMark { stamp: house.engine.stamp(), threat: Some("Late".into()) }));
}

#[tokio::test]
async fn a_false_alarm_is_shown_again_under_repaired_signatures() {
    let house = House::with_a_mail().await;
    house.engine.learn("2", House::infected());
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    house.engine.learn("3", Verdict::Clean);
    house.gate.release(ALICE, 1).await.unwrap();
}

#[tokio::test]
async fn what_was_marked_before_it_was_overruled_is_shown() {
    let house = House::with_a_mail().await;
    house.engine.learn("2", House::infected());
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    let content = *blake3::hash(BODY.as_bytes()).as_bytes();
    house.overruled.insert(scan::Ruling { content, threat: "Late".into() });
    house.gate.release(ALICE, 1).await.unwrap();
    let mark = house.store.summary(ALICE, 1).await.unwrap().unwrap().mark;
    assert_eq!(mark, Some(ScanMark { stamp: house.engine.stamp(), threat: None }));
}

#[tokio::test]
async fn nothing_is_shown_without_a_verdict() {
    let house = House::with_a_mail().await;
    let verdicts =
        [Verdict::Failed, Verdict::TimedOut, Verdict::Unscannable { reason: scan::Obstacle::TooDeep }];
    for (signatures, verdict) in ["2", "3", "4"].into_iter().zip(verdicts) {
        house.engine.learn(signatures, verdict.clone());
        assert_eq!(house.gate.release(ALICE, 1).await.unwrap_err(), Withheld::Unavailable, "{verdict}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_gone_and_a_closed_store_is_not_there_for_now() {
    let house = House::with_a_mail().await;
    assert_eq!(house.gate.release(ALICE, 2).await.unwrap_err(), Withheld::Gone);
    assert_eq!(house.gate.release("bob@localhost", 1).await.unwrap_err(), Withheld::Gone);
    house.store.close().await;
    assert_eq!(house.gate.release(ALICE, 1).await.unwrap_err(), Withheld::Unavailable);
}

#[tokio::test]
async fn octets_count_against_the_budget_until_they_are_dropped() {
    let house = House::with_a_mail().await;
    let all = house.gate.memory.available_permits();
    let released = house.gate.release(ALICE, 1).await.unwrap();
    let kept = released.octets.slice(3..);
    drop(released);
    assert_eq!(house.gate.memory.available_permits(), all - 1);
    drop(kept);
    assert_eq!(house.gate.memory.available_permits(), all);
}

#[tokio::test]
async fn octets_count_against_the_budget_of_the_process_as_well() {
    let mut house = House::with_a_mail().await;
    let budget = MemoryBudget::new(200);
    house.gate = house.gate.clone().drawing_on(budget.clone());
    let released = house.gate.release(ALICE, 1).await.unwrap();
    assert!(budget.used() >= released.octets.len() as u64);
    drop(released);
    assert_eq!(budget.used(), 0);
    budget.resize(1);
    assert_eq!(house.gate.release(ALICE, 1).await.unwrap_err(), Withheld::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_memory_only_so_long() {
    let house = House::with_a_mail().await;
    let _all = Arc::clone(&house.gate.memory).acquire_many_owned(BUDGET_UNITS).await.unwrap();
    assert_eq!(house.gate.share(ALICE, 1).await.unwrap_err(), Withheld::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn the_readers_of_one_account_leave_memory_to_the_others() {
    let house = House::with_a_mail().await;
    let large = 50 * 1024 * 1024;
    let held = house.gate.share(ALICE, large).await.unwrap();
    // Case does not make another account of it.
    for name in [ALICE, "Alice@LOCALHOST"] {
        assert_eq!(house.gate.share(name, large).await.unwrap_err(), Withheld::Unavailable);
    }
    for other in ["bob@localhost", "carol@localhost", "dave@localhost"] {
        drop(house.gate.share(other, large).await.unwrap());
    }
    drop(held);
    // A message beyond the share is shown all the same, alone.
    let _largest = house.gate.share(ALICE, 200 * 1024 * 1024).await.unwrap();
    assert_eq!(house.gate.accounts.0.lock().unwrap().len(), 1, "accounts that hold nothing are forgotten");
}

#[tokio::test]
async fn what_readers_got_is_counted() {
    let house = House::with_a_mail().await;
    house.gate.release(ALICE, 1).await.unwrap();
    let _gone = house.gate.release(ALICE, 2).await.unwrap_err();
    house.engine.learn("2", House::infected());
    let _withheld = house.gate.release(ALICE, 1).await.unwrap_err();
    let families = house.registry.gather();
    let family = families.iter().find(|family| family.name() == "gatepost_access_requests_total").unwrap();
    let mut counts: Vec<_> = family
        .get_metric()
        .iter()
        .map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_counter().get_value()))
        .collect();
    counts.sort_by(|a, b| a.0.cmp(&b.0));
    let expected =
        [("gone", 1.0), ("infected", 1.0), ("released", 1.0), ("replaced", 0.0), ("unavailable", 0.0)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
}
