//! Addresses here that lead to other servers, or come to do so while their mail waits.

use super::house::{ALICE, BOB, BODY, House, Mail, Running, accept_large};
use super::notices::fetch;
use super::*;
use crate::delivery::remote::tests::{remote, taker};
use crate::directory::Directory;
use crate::queue::{Selection, Summary};

const ALL: &str = "all@localhost";

/// From mailboxes here to a server elsewhere.
fn lead_away(directory: &Directory) {
    directory.add_alias(ALL, "ann@other.example").unwrap();
    for mailbox in [ALICE, BOB] {
        directory.remove_alias(ALL, mailbox).unwrap();
    }
}

async fn nothing_came(running: &Running) {
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 0));
}

/// Such mail was once told to be for a mailbox that is gone.
#[tokio::test]
async fn a_mail_whose_alias_leads_elsewhere_by_now_goes_there() {
    let house = House::new();
    let (port, taken) = taker().await;
    let mut idle = house.start_idle();
    idle.remote = Some(remote(port));
    let stamp = || Some(house.engine.stamp());
    let asking =
        Mail { stamp: stamp(), recipients: vec![(ALL, " NOTIFY=SUCCESS,FAILURE")], ..Mail::default() };
    asking.accept(&idle.queue).await;
    accept_large(&idle.queue, &vec![b'x'; 1024 * 1024], house.engine.stamp(), &[ALL]).await;
    idle.accept(stamp(), &[ALL, "ann@other.example"]).await;
    lead_away(&idle.directory);
    let running = idle.with_workers(&house.engine).await;
    // What is told of success goes to a sender elsewhere as well.
    running.until_queue_empty().await;
    assert_eq!(taken.load(Ordering::SeqCst), 4, "three mails, each once, and one notification");
    nothing_came(&running).await;
    let counters = running.stop().await;
    // A file of a body goes with the last who reads it, behind the record that others can see already.
    assert_eq!(house.disk.list(Path::new("/queue/bodies")).unwrap().len(), 0);
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 0.0);
    assert_eq!(counters.of("gatepost_delivery_notified_total", "delivered"), 0.0, "it went on");
    assert_eq!(counters.of("gatepost_delivery_notified_total", "relayed"), 1.0);
}

#[tokio::test]
async fn an_alias_that_gains_somebody_elsewhere_keeps_its_mailboxes() {
    let house = House::new();
    let (port, taken) = taker().await;
    let mut idle = house.start_idle();
    idle.remote = Some(remote(port));
    idle.accept(Some(house.engine.stamp()), &[ALL]).await;
    idle.directory.add_alias(ALL, "ann@other.example").unwrap();
    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn where_no_mail_leaves_an_alias_serves_its_mailboxes_and_waits_where_it_has_none() {
    let house = House::new();
    let idle = house.start_idle();
    idle.directory.add_aliases("both@localhost", &[BOB, "ann@other.example"]).unwrap();
    idle.accept(Some(house.engine.stamp()), &[ALL, "both@localhost"]).await;
    lead_away(&idle.directory);
    let running = idle.with_workers(&house.engine).await;
    let tried = |waiting: &[Summary]| waiting.iter().all(|mail| mail.attempts == 1);
    let waiting = running.until_queue(tried).await;
    let reason = waiting[0].last_reason.as_deref().unwrap();
    assert!(reason.starts_with("4.4.4 the address leads to other servers"), "{reason}");
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 1));

    running.directory.add_alias(ALL, ALICE).unwrap();
    running.queue.retry_now(&Selection::default()).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    assert!(fetch(&running, ALICE, 1).await.ends_with(BODY));
    running.stop().await;
}
