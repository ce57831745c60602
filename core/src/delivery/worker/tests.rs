//! The queue on a simulated disk, a real store and directory in a temporary folder, a scanner that can be taught.
//!
//! KB883522: an SMTP server's scanner deleted an infected message, but the server did not learn of it, kept the message
//! in its queue and delivered or scanned it again after each restart. Here the disposition is the removal.

mod faulty_store;
mod forwarding;
mod house;
mod kb883522;
mod notices;
mod release;
mod simulation;
mod warnings;

use std::path::Path;
use std::sync::atomic::Ordering;

use self::house::{ALICE, BOB, BODY, House, accept_large};
use super::*;
use crate::access::{ScanGate, Withheld};
use crate::delivery::testing::message;
use crate::disk::Disk;
use crate::quarantine::Evidence;
use crate::queue::{Selection, Summary};
use crate::store::{MailStore as _, ScanMark};

fn infected() -> Verdict {
    Verdict::Infected { threat: "Late".into() }
}

#[tokio::test]
async fn a_stamped_mail_lies_in_its_mailboxes_without_another_scan() {
    let house = House::new();
    let running = house.start().await;
    running.accept(Some(house.engine.stamp()), &["Alice@LOCALHOST", BOB]).await;
    running.until_queue_empty().await;
    for mailbox in [ALICE, BOB] {
        let message = running.store.inner.fetch(mailbox, 1).await.unwrap().unwrap();
        let expected = format!(
            "Return-Path: <sender@example.org>\r\nDelivered-To: {mailbox}\r\n\
             Received: from client.example.org\r\n{BODY}"
        );
        assert_eq!(message.octets, expected);
        assert_eq!(message.mark, Some(ScanMark { stamp: house.engine.stamp(), threat: None }));
    }
    assert_eq!(house.engine.scans(), 0);
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "delivered"), 2.0);
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn a_large_mail_comes_out_of_its_file_whole() {
    let house = House::new();
    let running = house.start().await;
    let body: Vec<u8> = (0..=250_u8).cycle().take(3 * 1024 * 1024 + 7).collect();
    accept_large(&running.queue, &body, house.engine.stamp(), &[ALICE, BOB]).await;
    running.until_queue_empty().await;
    for mailbox in [ALICE, BOB] {
        assert!(running.store.inner.fetch(mailbox, 1).await.unwrap().unwrap().body() == body);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_large_mail_whose_file_is_damaged_is_kept_and_not_delivered() {
    let house = House::new();
    let idle = house.start_idle();
    accept_large(&idle.queue, &vec![b'x'; 1024 * 1024], house.engine.stamp(), &[ALICE]).await;
    let file = house.disk.list(Path::new("/queue/bodies")).unwrap().remove(0);
    house.disk.damage(&file, 4711, 0x20);

    let running = idle.with_workers(&house.engine).await;
    let waiting = running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts == 1)).await;
    let reason = waiting[0].last_reason.as_ref().unwrap();
    assert_eq!(reason, "4.3.0 the mail is damaged on the disk of this server");
    assert_eq!(running.count(ALICE).await, 0);
    running.stop().await;
}

/// A mail that had waited for another reason was once given up at the first reading that did not fit.
#[tokio::test]
async fn one_reading_that_does_not_fit_is_no_proof_of_damage_however_often_the_mail_was_tried() {
    let house = House::new();
    let idle = house.start_idle();
    accept_large(&idle.queue, &vec![b'x'; 1024 * 1024], house.engine.stamp(), &[ALICE]).await;
    let file = house.disk.list(Path::new("/queue/bodies")).unwrap().remove(0);
    idle.store.full.store(true, Ordering::SeqCst);
    let running = idle.with_workers(&house.engine).await;
    let tried = |count| move |waiting: &[Summary]| waiting.iter().all(|mail| mail.attempts == count);
    running.until_queue(tried(1)).await;

    house.disk.damage(&file, 4711, 0x20);
    running.store.full.store(false, Ordering::SeqCst);
    running.queue.retry_now(&Selection::default()).await;
    let waiting = running.until_queue(tried(2)).await;
    let reason = waiting[0].last_reason.as_deref();
    assert_eq!(reason, Some("4.3.0 the mail is damaged on the disk of this server"));

    house.disk.damage(&file, 4711, 0x20);
    running.queue.retry_now(&Selection::default()).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 1);
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_recipients_total", "bounced"), 0.0);
}

#[tokio::test]
async fn damage_that_two_attempts_in_a_row_have_met_is_told() {
    let house = House::new();
    let idle = house.start_idle();
    accept_large(&idle.queue, &vec![b'x'; 1024 * 1024], house.engine.stamp(), &[ALICE]).await;
    let file = house.disk.list(Path::new("/queue/bodies")).unwrap().remove(0);
    house.disk.damage(&file, 4711, 0x20);
    let running = idle.with_workers(&house.engine).await;
    running.until_queue(|waiting| waiting.iter().all(|mail| mail.attempts == 1)).await;
    running.queue.retry_now(&Selection::default()).await;
    running.until_queue(|waiting| waiting.iter().all(|mail| mail.sender == "<>")).await;
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_delivery_notified_total", "failed"), 1.0);
}

#[tokio::test]
async fn a_worker_that_panics_puts_its_mail_off_and_goes_on_with_the_next() {
    let house = House::new();
    let running = house.start().await;
    running.store.panics.store(true, Ordering::SeqCst);
    for _ in 0..=Settings::default().workers.get() {
        running.accept(Some(house.engine.stamp()), &[ALICE]).await;
    }
    let waiting = running.until_queue(|waiting| waiting.iter().all(|mail| mail.attempts == 1)).await;
    let reason = waiting[0].last_reason.as_ref().unwrap();
    assert_eq!(reason, "4.3.0 internal error during delivery");

    running.store.panics.store(false, Ordering::SeqCst);
    running.accept(Some(house.engine.stamp()), &[BOB]).await;
    running.until_queue(|left| left.len() == waiting.len()).await;
    assert_eq!(running.count(BOB).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_alias_reaches_all_its_mailboxes_once() {
    let house = House::new();
    let running = house.start().await;
    running.accept(Some(house.engine.stamp()), &["all@localhost", ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_mail_without_a_current_stamp_is_scanned_before_it_is_delivered() {
    let house = House::new();
    let old = house.engine.stamp();
    house.engine.learn("2", Verdict::Clean);
    let running = house.start().await;
    running.accept(Some(old), &[ALICE]).await;
    running.until_queue_empty().await;
    assert!(house.engine.scans() > 0);
    let mark = running.store.inner.summary(ALICE, 1).await.unwrap().unwrap().mark;
    assert_eq!(mark, Some(ScanMark { stamp: house.engine.stamp(), threat: None }));
    running.stop().await;
}

#[tokio::test]
async fn kb883522_a_mail_that_the_scanner_deletes_is_gone_for_good() {
    let house = House::new();
    house.engine.learn("2", infected());
    let running = house.start().await;
    running.accept(None, &[ALICE, BOB]).await;
    running.until_queue_empty().await;
    running.crash(&house, 1).await;

    // Signatures that no longer know the threat must not bring it back.
    house.engine.learn("3", Verdict::Clean);
    let running = house.start().await;
    assert!(running.queue.list().await.is_empty());
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, 0));
    running.stop().await;
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn kb883522_a_crash_between_the_deletion_and_its_record_does_not_revive_the_mail() {
    let house = House::new();
    house.engine.learn("2", infected());
    let running = house.start().await;
    running.store.mute.store(true, Ordering::SeqCst);
    running.accept(None, &[ALICE]).await;
    running.store.committed.notified().await;
    running.crash(&house, 2).await;
    assert_eq!(house.dispositions(), 1);

    house.engine.learn("3", Verdict::Clean);
    let running = house.start().await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 0);
    running.stop().await;
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn a_crash_between_the_store_and_the_queue_delivers_once() {
    let house = House::new();
    for seed in 1..=8_usize {
        let running = house.start().await;
        running.store.mute.store(true, Ordering::SeqCst);
        running.accept(Some(house.engine.stamp()), &[ALICE, BOB]).await;
        running.store.committed.notified().await;
        running.crash(&house, seed as u64).await;

        let running = house.start().await;
        running.until_queue_empty().await;
        assert_eq!((running.count(ALICE).await, running.count(BOB).await), (seed, seed));
        running.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_delivered_without_a_verdict() {
    let verdicts = [Verdict::Failed, Verdict::TimedOut];
    let house = House::new();
    let running = house.start().await;
    for (signatures, verdict) in ["2", "3"].into_iter().zip(verdicts) {
        house.engine.learn(signatures, verdict);
        let id = running.accept(None, &[ALICE]).await;
        let tried = |waiting: &[Summary]| waiting.iter().any(|mail| mail.id == id && mail.attempts == 1);
        running.until_queue(tried).await;
    }
    assert_eq!(running.count(ALICE).await, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_listener_that_fails_open_has_its_mail_in_mailboxes_unscanned_and_nowhere_else() {
    let house = House::new();
    house.engine.learn("2", Verdict::Failed);
    let mut idle = house.start_idle();
    idle.open_listeners.insert("smtp".to_owned());
    let running = idle.with_workers(&house.engine).await;
    let id = running.accept(None, &[ALICE, "someone@example.org"]).await;
    let waiting = running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts == 1)).await;
    let message = running.store.inner.fetch(ALICE, 1).await.unwrap().unwrap();
    assert_eq!(message.mark, None, "whoever reads it has it scanned first");
    let reason = waiting[0].last_reason.as_ref().unwrap();
    assert!(reason.starts_with("4.7.1 waiting for a virus scan"), "{reason}");
    let details = running.queue.show(id).await.unwrap();
    assert_eq!((waiting[0].id, details.submission.envelope.recipients.len()), (id, 2));
    assert_eq!(running.count(ALICE).await, 1);
    let counters = running.stop().await;
    assert_eq!(counters.of("gatepost_virus_scan_unscanned_total", "delivered"), 1.0);
}

#[tokio::test]
async fn what_fails_open_is_not_given_out_when_it_turns_out_to_be_infected() {
    let house = House::new();
    house.engine.learn("2", Verdict::Failed);
    let mut idle = house.start_idle();
    idle.open_listeners.insert("smtp".to_owned());
    let running = idle.with_workers(&house.engine).await;
    running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    let gate = ScanGate::new(running.store.clone(), running.scanner.clone(), None);
    assert_eq!(gate.release(ALICE, 1).await.unwrap_err(), Withheld::Unavailable);
    house.engine.learn("3", infected());
    assert_eq!(gate.release(ALICE, 1).await.unwrap_err(), Withheld::Infected { threat: "Late".into() });
    running.stop().await;
}

#[tokio::test]
async fn a_suspect_of_a_session_lies_in_quarantine_and_who_has_logged_in_is_told() {
    let house = House::new();
    let running = house.start().await;
    for (number, user) in [None, Some(BOB)].into_iter().enumerate() {
        let mut message = message(running.queue.allocate_id().0, &[ALICE, BOB]);
        message.submission.origin.user = user.map(str::to_owned);
        message.submission.envelope.reverse_path = format!("<{BOB}>").parse().unwrap();
        let evidence = Evidence { threat: "Found".into(), item: None, stamp: Some(house.engine.stamp()) };
        let id = message.id;
        running.workers.suspects().keep(message, evidence).await.unwrap();
        let details = running.quarantine.show(id, "test").await.unwrap().unwrap();
        assert_eq!((details.record.recipients.len(), details.record.threat.as_str()), (2, "Found"));
        running.until_queue_empty().await;
        assert_eq!((running.count(ALICE).await, running.count(BOB).await), (0, number));
        // Nothing will tell of it again, so nothing of it stays once it is deleted.
        assert_eq!(
            running.quarantine.delete(crate::quarantine::Selection::one(id), "test").await.unwrap(),
            1
        );
    }
    let files = house.quarantine_disk.list(Path::new("/quarantine")).unwrap();
    assert_eq!(files, Vec::<std::path::PathBuf>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_full_store_puts_the_mail_off_and_loses_nothing() {
    let house = House::new();
    let running = house.start().await;
    running.store.full.store(true, Ordering::SeqCst);
    running.accept(Some(house.engine.stamp()), &[ALICE]).await;
    let waiting = running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts == 1)).await;
    let reason = waiting[0].last_reason.as_ref().unwrap();
    assert_eq!(reason, "4.2.0 mailbox not ready: no space left for the mailboxes");
    running.stop().await;

    let idle = house.start_idle();
    assert_eq!(idle.queue.list().await.len(), 1);
    idle.queue.close().await;
}

#[tokio::test]
async fn a_start_sweeps_up_what_was_not_forgotten_and_keeps_what_the_queue_still_holds() {
    let house = House::new();
    let idle = house.start_idle();
    let finished = idle.queue.allocate_id();
    let delivered = vec![(0, Disposition::Delivered)];
    let _first = idle.store.inner.record(finished, delivered.clone()).await.unwrap();
    let waiting = idle.accept(Some(house.engine.stamp()), &[ALICE]).await;
    let _second = idle.store.inner.record(waiting, delivered).await.unwrap();
    assert_eq!(house.dispositions(), 2);

    let running = idle.with_workers(&house.engine).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 0, "its disposition was remembered");
    running.stop().await;
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn a_start_keeps_the_dispositions_of_a_mail_whose_record_cannot_be_read() {
    let house = House::new();
    let idle = house.start_idle();
    let id = idle.accept(Some(house.engine.stamp()), &[ALICE]).await;
    let _remembered = idle.store.inner.record(id, vec![(0, Disposition::Delivered)]).await.unwrap();
    let segments = house.disk.list(Path::new("/queue")).unwrap();
    for segment in segments.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "seg")) {
        (600..4096).for_each(|offset| house.disk.damage(segment, offset, 0xff));
    }
    assert!(idle.queue.list().await.is_empty());

    let running = idle.with_workers(&house.engine).await;
    for _ in 0..2_000 {
        if running.queue.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.count(ALICE).await, 0, "delivered once already");
    running.stop().await;
}
