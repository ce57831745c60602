//! The cases of KB883522: a mail that the scanner wants deleted is deleted once, and never comes back. Where the deletion
//! switch and the quarantine belong, there is nothing to test yet: what is infected is always deleted.

use super::house::{ALICE, BOB, House, Mail};
use super::notices::{fetch, hasty};
use super::*;
use crate::delivery::Schedule;

fn infected() -> Verdict {
    Verdict::Infected { threat: "Late".into() }
}

/// The filter of the story stamped what it had seen. A stamp of the session does not save a mail that newer signatures
/// know.
#[tokio::test]
async fn deletion_is_the_end_with_and_without_a_stamp_of_the_session() {
    let house = House::new();
    for (life, has_stamp) in [(1_u64, true), (2, false)] {
        let stamp = has_stamp.then(|| house.engine.stamp());
        house.engine.learn(&format!("infected-{life}"), infected());
        let running = house.start().await;
        running.accept(stamp, &[ALICE, BOB]).await;
        running.until_queue_empty().await;
        running.crash(&house, life).await;
        house.engine.learn(&format!("clean-{life}"), Verdict::Clean);
        let running = house.start().await;
        running.until_queue_empty().await;
        assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 0));
        running.stop().await;
    }
}

/// One of them had his mail before the signatures changed, and a crash kept the queue from knowing.
#[tokio::test]
async fn of_two_recipients_one_keeps_his_mail_and_the_others_is_deleted() {
    let house = House::new();
    let idle = house.start_idle();
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
    let _remembered = idle.store.inner.record(id, vec![(0, Disposition::Delivered)]).await.unwrap();
    house.engine.learn("2", infected());
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "delivered"), 1.0);
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "deleted_by_policy"), 1.0);
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn a_scanner_that_fails_or_is_too_slow_deletes_once_it_works() {
    let house = House::new();
    for verdict in [Verdict::Failed, Verdict::TimedOut] {
        house.engine.learn(&format!("{verdict:?}"), verdict);
        let mut idle = house.start_idle();
        idle.schedules.local = Schedule { delay_notice: None, expiry: Duration::from_secs(60), ..hasty() };
        let running = idle.with_workers(&house.engine).await;
        running.accept(None, &[ALICE]).await;
        running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts > 1)).await;
        house.engine.learn("works", infected());
        running.until_queue_empty().await;
        assert_eq!(running.count(ALICE).await, 0);
        let counters = running.stop().await;
        assert_eq!(counters.of("gatepost_delivery_recipients_total", "deleted_by_policy"), 1.0);
    }
}

/// "Until they time out": what nobody could scan is given up in the end, and its content goes to nobody.
#[tokio::test]
async fn a_mail_that_is_never_scanned_expires_and_its_headers_alone_come_back() {
    let house = House::new();
    house.engine.learn("2", Verdict::Failed);
    let mut idle = house.start_idle();
    idle.schedules.local = Schedule { delay_notice: None, ..hasty() };
    let running = idle.with_workers(&house.engine).await;
    let mail = Mail { sender: "<alice@localhost>", recipients: vec![(BOB, "")], ..Mail::default() };
    mail.accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 0));
    let report = fetch(&running, ALICE, 1).await;
    assert!(report.contains("Status: 5.4.7\r\n") && !report.contains("MARK"), "{report}");
    running.stop().await;
}
