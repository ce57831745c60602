//! The cases of KB883522: a mail that the scanner wants deleted is deleted once, or lies in quarantine once, and never comes
//! back.

mod databases;
mod rewriting;

use super::house::{ALICE, BOB, House, Mail, Running};
use super::notices::{fetch, hasty};
use super::*;
use crate::delivery::Schedule;
use crate::quarantine::{Quarantine, Record, Selection};
use crate::scan::InfectedAction;
use crate::store::MailStore as _;

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

/// One of them had his mail before the signatures changed, and a crash kept the queue from knowing. How many have their mail
/// in the end, and for how many it was deleted.
async fn of_two_recipients_one_had_his_mail(house: &House, forgets: bool) -> (f64, f64) {
    let idle = house.start_idle();
    idle.store.forgets.store(forgets, Ordering::SeqCst);
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
    let _remembered = idle.store.inner.record(id, vec![(0, Disposition::Delivered)]).await.unwrap();
    house.engine.learn("2", infected());
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    let counters = running.stop().await;
    let of = |disposition| counters.of("gatepost_delivery_recipients_total", disposition);
    (of("delivered"), of("deleted_by_policy"))
}

/// It was deleted for both, a crash kept the queue from knowing, and what is asked next calls it clean. How many mails come
/// back to life.
async fn what_was_deleted_is_asked_for_again(house: &House, forgets: bool) -> (usize, usize) {
    let idle = house.start_idle();
    idle.store.forgets.store(forgets, Ordering::SeqCst);
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
    let deleted = |recipient| (recipient, Disposition::DeletedByPolicy { threat: "Late".into() });
    let _remembered = idle.store.inner.record(id, vec![deleted(0), deleted(1)]).await.unwrap();
    house.engine.learn("2", Verdict::Clean);
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    let back = (running.count(ALICE).await, running.count(BOB).await);
    running.stop().await;
    back
}

#[tokio::test]
async fn of_two_recipients_one_keeps_his_mail_and_the_others_is_deleted() {
    let house = House::new();
    assert_eq!(of_two_recipients_one_had_his_mail(&house, false).await, (1.0, 1.0));
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_whatever_the_next_scan_says() {
    let house = House::new();
    assert_eq!(what_was_deleted_is_asked_for_again(&house, false).await, (0, 0));
    assert_eq!(house.dispositions(), 0);
}

/// Or these cases would not be worth much.
#[tokio::test]
async fn the_old_behaviour_is_caught() {
    assert_eq!(of_two_recipients_one_had_his_mail(&House::new(), true).await, (0.0, 2.0));
    assert_eq!(what_was_deleted_is_asked_for_again(&House::new(), true).await, (1, 1));
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

async fn kept(quarantine: &Quarantine) -> Vec<Record> {
    quarantine.list(Selection::default(), "test").await.unwrap()
}

async fn start_with_quarantine(house: &House) -> Running {
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Delete.allowed(false);
    idle.with_workers(&house.engine).await
}

#[tokio::test]
async fn deletion_without_its_switch_is_quarantine_with_and_without_a_stamp_of_the_session() {
    let house = House::new();
    for (life, has_stamp) in [(1_u64, true), (2, false)] {
        let stamp = has_stamp.then(|| house.engine.stamp());
        house.engine.learn(&format!("infected-{life}"), infected());
        let running = start_with_quarantine(&house).await;
        let id = running.accept(stamp, &[ALICE, BOB]).await;
        running.until_queue_empty().await;
        running.crash(&house, life).await;
        house.engine.learn(&format!("clean-{life}"), Verdict::Clean);
        let running = start_with_quarantine(&house).await;
        running.until_queue_empty().await;
        assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 0));
        let records = kept(&running.quarantine).await;
        let record = records.iter().find(|record| record.id == id.to_string()).unwrap();
        assert_eq!(record.recipients.len(), 2);
        assert_eq!((record.threat.as_str(), record.item.as_deref()), ("Late", Some("message")));
        assert!(record.stamp.as_ref().unwrap().starts_with(&format!("teachable/infected-{life}/")));
        running.stop().await;
    }
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn of_two_recipients_one_keeps_his_mail_and_the_others_lies_in_quarantine() {
    let house = House::new();
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Quarantine;
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
    let _remembered = idle.store.inner.record(id, vec![(0, Disposition::Delivered)]).await.unwrap();
    house.engine.learn("2", infected());
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    let records = kept(&running.quarantine).await;
    let copies: Vec<_> = records[0].recipients.iter().map(|copy| copy.address.as_str()).collect();
    assert_eq!(copies, ["<bob@localhost>"]);
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "delivered"), 1.0);
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "quarantined"), 1.0);
}

/// The crash came behind the store's record and before the quarantine's, and the new signatures find nothing.
#[tokio::test]
async fn what_only_the_store_remembers_gets_into_the_quarantine_and_nowhere_else() {
    let house = House::new();
    let idle = house.start_idle();
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
    let quarantined = Disposition::Quarantined { threat: "Late".into() };
    let _remembered = idle.store.inner.record(id, vec![(1, quarantined)]).await.unwrap();
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 0));
    let records = kept(&running.quarantine).await;
    assert_eq!((records.len(), records[0].recipients[0].address.as_str()), (1, "<bob@localhost>"));
    running.stop().await;
}

/// As above, but he lives elsewhere, so that no delivery asks the store on its way.
#[tokio::test]
async fn what_the_store_remembers_of_a_foreign_recipient_does_not_go_out() {
    let house = House::new();
    let idle = house.start_idle();
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE, "carol@example.net"]).await;
    let quarantined = Disposition::Quarantined { threat: "Late".into() };
    let _remembered = idle.store.inner.record(id, vec![(1, quarantined)]).await.unwrap();
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 1);
    let records = kept(&running.quarantine).await;
    assert_eq!((records.len(), records[0].recipients[0].address.as_str()), (1, "<carol@example.net>"));
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "quarantined"), 1.0);
}

#[tokio::test]
async fn a_mail_that_the_quarantine_cannot_take_stays_in_the_queue_until_it_can() {
    let house = House::new();
    house.engine.learn("2", infected());
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Quarantine;
    idle.schedules.local = Schedule { delay_notice: None, expiry: Duration::from_secs(60), ..hasty() };
    let id = idle.accept(None, &[ALICE]).await;
    let quarantined = Disposition::Quarantined { threat: "Late".into() };
    let _remembered = idle.store.inner.record(id, vec![(0, quarantined)]).await.unwrap();
    house.quarantine_disk.set_capacity(Some(0));
    let running = idle.with_workers(&house.engine).await;
    let waiting = running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts > 1)).await;
    assert_eq!(waiting[0].last_reason.as_deref(), Some("4.3.0 the quarantine cannot take this message"));
    house.quarantine_disk.set_capacity(None);
    running.until_queue_empty().await;
    assert_eq!(kept(&running.quarantine).await.len(), 1);
    running.stop().await;
}
