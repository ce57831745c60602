//! A real store and a real scanner whose engine the test teaches.

use super::*;
use crate::delivery::testing::Teachable;
use crate::queue::QueueId;
use crate::scan::{self, Engine};
use crate::store::{self, Delivery, MailStore, MailboxCopy};

const ALICE: &str = "alice@localhost";

struct House {
    _folder: tempfile::TempDir,
    engine: Arc<Teachable>,
    scanner: Scanner,
    store: Arc<SqliteStore>,
    running: Running,
    registry: prometheus::Registry,
}

impl House {
    fn open() -> Self {
        let (folder, registry) = (tempfile::tempdir().unwrap(), prometheus::Registry::new());
        let engine = Arc::new(Teachable::new());
        let metrics = scan::Metrics::register(&registry).unwrap();
        let scanner =
            Scanner::start(Arc::clone(&engine) as Arc<dyn Engine>, &scan::Settings::default(), metrics)
                .unwrap();
        let path = folder.path().join("default.sqlite");
        let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
        let rooms = Rooms {
            scanner: scanner.clone(),
            database: "default".to_owned(),
            store: Arc::clone(&store),
            memory: MemoryBudget::default(),
            events: Log::discarding(),
            remedy: None,
            metrics: Some(Metrics::register(&registry).unwrap()),
        };
        let running = Running::start_pausing(rooms, true, Duration::from_millis(5));
        Self { _folder: folder, engine, scanner, store, running, registry }
    }

    /// Delivers as the workers do; answers with the uid.
    async fn deliver(&self, number: u32, text: &str, stamp: Option<Stamp>) -> u32 {
        let body = Body::Memory(format!("Subject: {number}\r\n\r\n{text}\r\n").into());
        let copies =
            vec![MailboxCopy { recipient: 0, mailbox: ALICE.into(), head: "Received: x\r\n".into() }];
        let delivery = Delivery {
            queue_id: QueueId(number.into()),
            body: body.clone(),
            stamp: stamp.clone(),
            received_at_ms: 7,
            copies,
        };
        let _dispositions = self.store.deliver(delivery).await.unwrap();
        self.running.handle().offer(&self.scanner, &body, stamp.as_ref());
        number
    }

    async fn mark(&self, uid: u32) -> Option<ScanMark> {
        self.store.summary(ALICE, uid).await.unwrap().unwrap().mark
    }

    async fn until(&self, what: impl AsyncFn(&Self) -> bool) {
        for _ in 0..2_000 {
            if what(self).await {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not come to pass");
    }

    fn count(&self, name: &str) -> f64 {
        let name = format!("gatepost_virus_scan_proactive_{name}");
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let metric = &family.get_metric()[0];
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }
}

fn infected() -> Verdict {
    Verdict::Infected { threat: "Late".into() }
}

#[tokio::test]
async fn what_is_delivered_unscanned_or_with_a_stale_stamp_is_scanned_behind_its_delivery() {
    let house = House::open();
    let old = house.engine.stamp();
    house.engine.learn("2", infected());
    house.deliver(1, "harmless", None).await;
    house.deliver(2, "MARK", Some(old)).await;
    house.deliver(3, "also harmless", Some(house.engine.stamp())).await;
    house.until(async |house| house.count("messages_total") == 2.0).await;
    let stamp = house.engine.stamp();
    house.until(async |house| house.mark(2).await.is_some_and(|mark| mark.stamp == stamp)).await;
    assert_eq!(house.mark(1).await, Some(ScanMark { stamp: stamp.clone(), threat: None }));
    assert_eq!(house.mark(2).await.unwrap().threat.as_deref(), Some("Late"));
    assert_eq!((house.count("infected_total"), house.count("waiting")), (1.0, 0.0));
    house.running.close().await;
}

#[tokio::test]
async fn an_engine_that_fails_is_asked_again_and_then_left_to_the_reader() {
    let house = House::open();
    house.engine.learn("2", Verdict::Failed);
    house.deliver(1, "MARK", None).await;
    house.until(async |house| house.count("unfinished_total") == 1.0).await;
    assert_eq!(house.mark(1).await, None);
    house.deliver(2, "harmless", None).await;
    house.until(async |house| house.mark(2).await.is_some()).await;
    house.running.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_what_somebody_has_read_is_passed_over() {
    // A runtime of one thread: the task does not run before the test waits.
    let house = House::open();
    let body = |number: usize| Body::Memory(format!("Subject: {number}\r\n\r\nx\r\n").into());
    for number in 0..WAITING_MAX + 5 {
        house.running.handle().offer(&house.scanner, &body(number), None);
    }
    assert_eq!((house.count("overflow_total"), house.count("waiting")), (5.0, WAITING_MAX as f64));
    // None of them lies in the store, so nothing is scanned.
    house.until(async |house| house.count("waiting") == 0.0).await;
    // Delivered under the signatures of now, as if a reader had been here between delivery and scan.
    let read = Body::Memory("Subject: 1\r\n\r\nread at once\r\n".into());
    let sealed = Teachable::sealed(&house.engine.stamp(), &read);
    house.deliver(1, "read at once", Some(sealed)).await;
    house.running.handle().offer(&house.scanner, &read, None);
    house.deliver(2, "not read", None).await;
    house.until(async |house| house.mark(2).await.is_some()).await;
    assert_eq!(house.count("messages_total"), 1.0);
    house.running.close().await;
}

#[tokio::test]
async fn switched_off_it_scans_nothing() {
    let house = House::open();
    let handle = house.running.handle();
    handle.switch(false);
    house.deliver(1, "harmless", None).await;
    assert_eq!((house.count("waiting"), house.count("overflow_total")), (0.0, 0.0));
    handle.switch(true);
    house.deliver(2, "harmless as well", None).await;
    house.until(async |house| house.mark(2).await.is_some()).await;
    assert_eq!(house.mark(1).await, None);
    house.running.close().await;
}
