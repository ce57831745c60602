//! The cases of KB883522 where infected parts are taken out: each mail has one end and another one behind it, which is delivered
//! once, whatever the signatures say afterwards.

use super::*;
use crate::intake::Body;
use crate::queue::QueueId;
use crate::scan::{Disposal, InfectedAction, Rewriting};

pub(super) const PARTS: &str = "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n\
    Content-Type: application/x; name=x.exe\r\n\r\nMARK\r\n--b--\r\n";
pub(super) const KEEPING: Rewriting =
    Rewriting { cleans: false, keeps_original: true, otherwise: Disposal::Quarantine };
pub(super) const DELETING: Rewriting =
    Rewriting { cleans: true, keeps_original: false, otherwise: Disposal::Delete };

async fn start(house: &House, rewriting: Rewriting) -> Running {
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Rewrite(rewriting);
    idle.schedules.local = Schedule { delay_notice: None, expiry: Duration::from_secs(60), ..hasty() };
    idle.with_workers(&house.engine).await
}

async fn accept(running: &Running, stamp: Option<Stamp>, body: &str) -> QueueId {
    let recipients = vec![(ALICE, " NOTIFY=SUCCESS,FAILURE"), (BOB, "")];
    let body = Body::Memory(body.to_owned().into());
    let mail =
        Mail { recipients, body, stamp, user: Some(ALICE), sender: "<alice@localhost>", ..Mail::default() };
    mail.accept(&running.queue).await
}

#[tokio::test]
async fn the_rest_of_a_mail_is_delivered_once_with_and_without_a_stamp_of_the_session() {
    let house = House::new();
    for (life, has_stamp, rewriting) in
        [(1, true, KEEPING), (2, false, KEEPING), (3, true, DELETING), (4, false, DELETING)]
    {
        let stamp = has_stamp.then(|| house.engine.stamp());
        house.engine.learn(&format!("infected-{life}"), infected());
        let running = start(&house, rewriting).await;
        let id = accept(&running, stamp, PARTS).await;
        running.until_queue_empty().await;
        assert_eq!(running.count(BOB).await, usize::try_from(life).unwrap());
        let records = kept(&running.quarantine).await;
        let of_this = records.iter().filter(|record| record.id == id.to_string()).count();
        assert_eq!(of_this, usize::from(rewriting.keeps_original));
        running.crash(&house, life).await;
        house.engine.learn(&format!("clean-{life}"), Verdict::Clean);
        let running = start(&house, rewriting).await;
        running.until_queue_empty().await;
        let uid = u32::try_from(life).unwrap();
        assert_eq!(running.count(BOB).await, usize::try_from(life).unwrap());
        let mail = fetch(&running, BOB, uid).await;
        assert!(
            mail.contains(&format!("X-Gatepost-Rewritten: by mx.localhost; was={id}; removed=1; cleaned=0;"))
        );
        assert!(mail.contains("\r\nhello\r\n--b\r\n") && mail.contains("File:      x.exe"), "{mail}");
        assert!(mail.ends_with("\r\n--b--\r\n") && !mail.contains("MARK"), "{mail}");
        running.stop().await;
    }
    assert_eq!(house.dispositions(), 0);
}

/// He asked for it, and hears of the mail that arrived.
#[tokio::test]
async fn a_sender_is_told_of_the_delivery_and_of_nothing_else() {
    let house = House::new();
    house.engine.learn("2", infected());
    let running = start(&house, KEEPING).await;
    accept(&running, None, PARTS).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 2);
    let mails = [fetch(&running, ALICE, 1).await, fetch(&running, ALICE, 2).await];
    let report = mails.iter().find(|mail| mail.contains("multipart/report")).expect("a notification");
    assert!(report.contains("Action: delivered\r\n") && !report.contains("MARK"), "{report}");
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "replaced"), 2.0);
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "delivered"), 3.0);
}

#[tokio::test]
async fn what_cannot_be_rewritten_ends_as_the_policy_has_it() {
    let house = House::new();
    house.engine.learn("2", infected());
    for (rewriting, end) in [(KEEPING, "quarantined"), (DELETING, "deleted_by_policy")] {
        let running = start(&house, rewriting).await;
        accept(&running, None, "Subject: a\r\n\r\nMARK\r\n").await;
        running.until_queue_empty().await;
        assert_eq!(running.count(BOB).await, 0);
        let counters = running.stop().await;
        assert_eq!(counters.of("gatepost_delivery_recipients_total", end), 2.0);
    }
}

/// The crash came behind the store's record of an earlier attempt: what that decided holds.
#[tokio::test]
async fn of_two_recipients_one_has_his_mail_and_the_other_gets_what_is_left() {
    let house = House::new();
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Rewrite(KEEPING);
    let body = Body::Memory(PARTS.to_owned().into());
    let id =
        Mail { recipients: vec![(ALICE, ""), (BOB, "")], body, ..Mail::default() }.accept(&idle.queue).await;
    let _remembered = idle.store.inner.record(id, vec![(0, Disposition::Delivered)]).await.unwrap();
    house.engine.learn("2", infected());
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 1));
    let records = kept(&running.quarantine).await;
    let copies: Vec<_> = records[0].recipients.iter().map(|copy| copy.address.as_str()).collect();
    assert_eq!(copies, ["<bob@localhost>"]);
    running.stop().await;
}

#[tokio::test]
async fn a_mail_stays_whole_in_the_queue_while_the_quarantine_cannot_take_it() {
    let house = House::new();
    house.engine.learn("2", infected());
    house.quarantine_disk.set_capacity(Some(0));
    let running = start(&house, KEEPING).await;
    accept(&running, None, PARTS).await;
    let waiting = running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts > 1)).await;
    assert_eq!((waiting.len(), running.count(BOB).await), (1, 0));
    house.quarantine_disk.set_capacity(None);
    running.until_queue_empty().await;
    assert_eq!((running.count(BOB).await, kept(&running.quarantine).await.len()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_scanner_that_fails_or_is_too_slow_rewrites_once_it_works() {
    let house = House::new();
    for (life, verdict) in [(1_usize, Verdict::Failed), (2, Verdict::TimedOut)] {
        house.engine.learn(&format!("{verdict:?}"), verdict);
        let running = start(&house, KEEPING).await;
        accept(&running, None, PARTS).await;
        running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts > 1)).await;
        assert_eq!(running.count(BOB).await, life - 1);
        house.engine.learn("works", infected());
        running.until_queue_empty().await;
        assert_eq!(running.count(BOB).await, life);
        running.stop().await;
    }
}
