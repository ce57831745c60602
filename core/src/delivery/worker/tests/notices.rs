//! What senders hear, from the attempt to the mailbox that the notification lies in.

use super::house::{ALICE, BOB, House, Mail, Running};
use super::*;
use crate::delivery::{Retries, Schedule};
use crate::intake::Body;
use crate::queue::{Backoff, Removal};
use crate::scan::Obstacle;

/// Each attempt follows the one before at once; the mail is late after one and given up after two.
pub(super) fn hasty() -> Schedule {
    let pause = Duration::from_millis(8);
    Schedule {
        retries: Retries::Exponential(Backoff { first: pause, longest: pause }),
        delay_notice: Some(Duration::from_millis(1)),
        expiry: Duration::from_secs(1),
    }
}

pub(super) async fn fetch(running: &Running, mailbox: &str, uid: u32) -> String {
    let message = running.store.inner.fetch(mailbox, uid).await.unwrap().expect("a mail");
    String::from_utf8(message.octets.to_vec()).unwrap()
}

#[tokio::test]
async fn a_recipient_who_is_gone_bounces_and_the_others_get_their_mail() {
    let house = House::new();
    let running = house.start().await;
    running.directory.remove_user(BOB).unwrap();
    let recipients = vec![(ALICE, ""), (BOB, " NOTIFY=FAILURE ORCPT=rfc822;robert@localhost")];
    let stamp = Some(house.engine.stamp());
    let mail =
        Mail { sender: "<alice@localhost>", stamp, recipients, params: " ENVID=E1", ..Mail::default() };
    let id = mail.accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 2);
    let mails = [fetch(&running, ALICE, 1).await, fetch(&running, ALICE, 2).await];
    let bounce = mails.iter().find(|mail| mail.contains("multipart/report")).expect("a notification");
    let lines = [
        "Return-Path: <>\r\nDelivered-To: alice@localhost\r\nReceived: by mx.localhost id ",
        "\r\nTo: <alice@localhost>\r\nSubject: Your mail could not be delivered\r\n",
        "\r\nAuto-Submitted: auto-replied\r\n",
        "\r\nOriginal-Envelope-Id: E1\r\nReporting-MTA: dns; mx.localhost\r\n",
        "\r\nOriginal-Recipient: rfc822; robert@localhost\r\nFinal-Recipient: rfc822; bob@localhost\r\n\
         Action: failed\r\nStatus: 5.1.1\r\n",
        "\r\nContent-Type: message/rfc822\r\n",
        &format!("\r\nIts name here is {id}.\r\n"),
    ];
    for line in lines {
        assert!(bounce.contains(line), "{line:?} is missing in {bounce}");
    }
    assert!(!bounce.contains("Final-Recipient: rfc822; alice"), "{bounce}");
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 1.0);
    assert_eq!(counters.of("gatepost_delivery_notified_total", "failed"), 1.0);
}

#[tokio::test]
async fn nobody_is_told_of_what_he_does_not_want_to_hear() {
    let house = House::new();
    let running = house.start().await;
    running.directory.remove_user(BOB).unwrap();
    for (sender, params) in
        [("<>", ""), ("<alice@localhost>", " NOTIFY=NEVER"), ("<alice@localhost>", " NOTIFY=DELAY")]
    {
        let stamp = Some(house.engine.stamp());
        let mail = Mail { sender, stamp, recipients: vec![(BOB, params)], ..Mail::default() };
        mail.accept(&running.queue).await;
    }
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 0);
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 3.0);
}

#[tokio::test]
async fn a_delivery_is_reported_to_who_asks_for_it() {
    let house = House::new();
    let running = house.start().await;
    let stamp = Some(house.engine.stamp());
    let recipients = vec![(BOB, " NOTIFY=SUCCESS")];
    Mail { sender: "<alice@localhost>", stamp, recipients, ..Mail::default() }.accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    let report = fetch(&running, ALICE, 1).await;
    assert!(report.contains("Action: delivered\r\nStatus: 2.0.0\r\n"), "{report}");
    assert!(report.contains("Content-Type: text/rfc822-headers\r\n"), "{report}");
    running.stop().await;
}

#[tokio::test]
async fn a_late_mail_is_told_of_once_and_returned_in_the_end() {
    let house = House::new();
    let mut idle = house.start_idle();
    idle.schedules.local = hasty();
    idle.store.full.store(true, Ordering::SeqCst);
    let running = idle.with_workers(&house.engine).await;
    let recipients = vec![(ALICE, ""), (BOB, " NOTIFY=FAILURE")];
    let sender = "<sender@example.org>";
    let mail = Mail { sender, stamp: Some(house.engine.stamp()), recipients, ..Mail::default() };
    mail.accept(&running.queue).await;
    running.until_queue_empty().await;
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_notified_total", "delayed"), 1.0, "of one of them, once");
    assert_eq!(counters.of("gatepost_delivery_notified_total", "failed"), 2.0);
    assert!(counters.of("gatepost_delivery_retries_total", "store") > 4.0);
}

/// The store's answer got lost, and it cannot be asked again until the mail has expired: it lies in the mailbox all the
/// same, and nobody is told that it does not.
#[tokio::test]
async fn what_the_store_remembers_is_never_returned() {
    let house = House::new();
    let running = house.start().await;
    running.store.mute.store(true, Ordering::SeqCst);
    let recipients = vec![(BOB, " NOTIFY=SUCCESS,FAILURE")];
    let stamp = Some(house.engine.stamp());
    Mail { sender: "<alice@localhost>", stamp, recipients, ..Mail::default() }.accept(&running.queue).await;
    running.store.committed.notified().await;
    running.directory.remove_user(BOB).unwrap();
    running.crash(&house, 3).await;

    let running = house.start().await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    let report = fetch(&running, ALICE, 1).await;
    assert!(report.contains("Action: delivered\r\n"), "{report}");
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 0.0);
}

#[tokio::test]
async fn of_an_infected_mail_only_a_user_hears_and_gets_its_headers_alone() {
    let house = House::new();
    house.engine.learn("2", Verdict::Infected { threat: "Late".into() });
    let running = house.start().await;
    for user in [None, Some(ALICE)] {
        let recipients = vec![(BOB, "")];
        let mail = Mail { sender: "<alice@localhost>", recipients, user, ..Mail::default() };
        mail.accept(&running.queue).await;
    }
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 0));
    let report = fetch(&running, ALICE, 1).await;
    assert!(report.contains("Status: 5.7.1\r\n") && report.contains("text/rfc822-headers"), "{report}");
    assert!(!report.contains("MARK"), "{report}");
    running.stop().await;
}

/// What an operator gives up before any attempt: nothing has looked at it since its session.
#[tokio::test]
async fn a_mail_without_a_current_stamp_comes_back_whole_where_a_scan_of_now_finds_nothing() {
    let clean = "Subject: hello\r\n\r\nnothing\r\n";
    let infected = Verdict::Infected { threat: "Late".into() };
    let cases = [
        (BODY, true, Verdict::Clean, true),
        (BODY, false, Verdict::Clean, true),
        (clean, true, infected.clone(), true),
        (BODY, true, infected.clone(), false),
        (BODY, false, infected, false),
        (BODY, true, Verdict::Unscannable { reason: Obstacle::Broken }, false),
        (BODY, true, Verdict::Failed, false),
        (BODY, false, Verdict::TimedOut, false),
    ];
    for (body, has_stamp, verdict, is_whole) in cases {
        let house = House::new();
        let stamp = has_stamp.then(|| house.engine.stamp());
        let idle = house.start_idle();
        let body = Body::Memory(body.into());
        let sender = "<alice@localhost>";
        let mail = Mail { sender, stamp, recipients: vec![(BOB, "")], body: body.clone(), ..Mail::default() };
        mail.accept(&idle.queue).await;
        let given_up = idle.queue.remove(&Selection::default(), Removal::Bounce, "test").await.unwrap();
        assert_eq!(given_up.messages, 1);
        house.engine.learn("2", verdict.clone());
        let running = idle.with_workers(&house.engine).await;
        running.until_queue_empty().await;
        assert_eq!(running.count(BOB).await, 0);
        let told = fetch(&running, ALICE, 1).await;
        let expected = if is_whole { "Content-Type: message/rfc822\r\n" } else { "text/rfc822-headers\r\n" };
        assert!(told.contains(expected) && told.contains("Subject: hello"), "{verdict:?}: {told}");
        let content = std::str::from_utf8(&body.read().unwrap()).unwrap().lines().last().unwrap().to_owned();
        assert_eq!(told.contains(&content), is_whole, "{verdict:?}: {told}");
        running.stop().await;
    }
}

#[tokio::test]
async fn of_a_large_mail_the_headers_come_back_out_of_its_file() {
    let house = House::new();
    let running = house.start().await;
    running.directory.remove_user(BOB).unwrap();
    let body = format!("Subject: large\r\nX-Long: {}\r\n\r\n{}", "x".repeat(900), "y".repeat(300_000));
    let body = running.queue.spool().store(body.as_bytes()).unwrap();
    let mail = Mail {
        sender: "<alice@localhost>",
        stamp: Some(house.engine.stamp()),
        recipients: vec![(BOB, "")],
        body: Body::File(Arc::new(body)),
        ..Mail::default()
    };
    mail.accept(&running.queue).await;
    running.until_queue_empty().await;
    let report = fetch(&running, ALICE, 1).await;
    assert!(
        report.contains("text/rfc822-headers") && report.contains("\r\nSubject: large\r\nX-Long: x"),
        "{report}"
    );
    assert!(report.len() < 10_000);
    running.stop().await;
}

#[tokio::test]
async fn a_mail_that_has_been_in_a_mailbox_does_not_come_into_it_again() {
    let house = House::new();
    let running = house.start().await;
    let stamp = Some(house.engine.stamp());
    let body = Body::Memory("Subject: round\r\nDelivered-To: Bob@localhost\r\n\r\nand round\r\n".into());
    let recipients = vec![(BOB, ""), ("all@localhost", "")];
    Mail { sender: "<sender@example.org>", stamp, recipients, body, ..Mail::default() }
        .accept(&running.queue)
        .await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 0));
    let counters = running.stop().await;
    // The notification has nowhere to go.
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 2.0);
    assert_eq!(counters.of("gatepost_delivery_notified_total", "failed"), 1.0);
}

#[tokio::test]
async fn what_cannot_go_back_to_anybody_is_kept_for_the_operator() {
    let house = House::new();
    let running = house.start().await;
    let stamp = Some(house.engine.stamp());
    let recipients = vec![(ALICE, ""), ("gone@localhost", "")];
    let mail = Mail { sender: "<>", stamp, recipients, ..Mail::default() };
    let id = mail.accept(&running.queue).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 1);
    running.stop().await;
    let files = house.disk.list(Path::new("/badmail")).unwrap();
    let read = |suffix: &str| {
        let path = files.iter().find(|path| path.to_string_lossy().ends_with(suffix)).unwrap();
        let file = house.disk.open(path, true).unwrap();
        let mut octets = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        assert_eq!(file.read_at(0, &mut octets).unwrap(), octets.len());
        String::from_utf8(octets).unwrap()
    };
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(read(".eml").ends_with("MARK\r\n"));
    let reason = read(".json");
    assert!(reason.contains(&id.to_string()) && reason.contains("<gone@localhost>"), "{reason}");
    assert!(!reason.contains(ALICE), "{reason}");
}
