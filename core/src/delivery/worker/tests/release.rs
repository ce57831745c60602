//! Out of the quarantine: only what a fresh scan lets go, or what the operator has overruled, and never lost on the way.

use super::house::{ALICE, BOB, House, Running};
use super::*;
use crate::disk::{Disk as _, Fault};
use crate::memory::MemoryBudget;
use crate::quarantine::{ReleaseError, Released, Releaser, Selection};
use crate::queue::QueueId;
use crate::scan::InfectedAction;
use crate::scan::Obstacle;

fn found(threat: &str) -> Verdict {
    Verdict::Infected { threat: threat.into() }
}

async fn start(house: &House) -> Running {
    let mut idle = house.start_idle();
    idle.infected = InfectedAction::Quarantine;
    idle.with_workers(&house.engine).await
}

/// A mail for both that is in quarantine.
async fn quarantined(house: &House, running: &Running) -> QueueId {
    house.engine.learn("infected", found("Late"));
    let id = running.accept(None, &[ALICE, BOB]).await;
    running.until_queue_empty().await;
    assert_eq!(running.quarantine.list(Selection::one(id), "test").await.unwrap().len(), 1);
    id
}

async fn release(running: &Running, id: QueueId, overrule: bool) -> Result<Released, ReleaseError> {
    let releaser = Releaser {
        quarantine: running.quarantine.clone(),
        queue: running.queue.clone(),
        scanner: running.scanner.clone(),
        memory: MemoryBudget::default(),
    };
    releaser.release(id, overrule, "uid 0").await
}

async fn is_kept(running: &Running, id: QueueId) -> bool {
    !running.quarantine.list(Selection::one(id), "test").await.unwrap().is_empty()
}

fn has_rulings(house: &House) -> bool {
    house.quarantine_disk.open(Path::new("/quarantine/overruled.json"), true).is_ok()
}

#[tokio::test]
async fn a_mail_that_is_clean_by_newer_signatures_goes_to_its_recipients_as_it_was() {
    let house = House::new();
    let running = start(&house).await;
    let id = quarantined(&house, &running).await;
    assert!(matches!(
        release(&running, id, false).await,
        Err(ReleaseError::Infected { threat, .. }) if threat == "Late"
    ));
    house.engine.learn("corrected", Verdict::Clean);
    let released = release(&running, id, false).await.unwrap();
    assert_eq!(released.overruled, [""; 0]);
    running.until_queue_empty().await;
    for mailbox in [ALICE, BOB] {
        let message = running.store.inner.fetch(mailbox, 1).await.unwrap().unwrap();
        let expected = format!(
            "Return-Path: <sender@example.org>\r\nDelivered-To: {mailbox}\r\n\
             Received: from client.example.org\r\n{BODY}"
        );
        assert_eq!(message.octets, expected);
    }
    assert!(!is_kept(&running, id).await);
    assert!(
        matches!(release(&running, id, false).await, Err(ReleaseError::Unknown(unknown)) if unknown == id)
    );
    assert_eq!(running.count(ALICE).await, 1);
    running.stop().await;
}

#[tokio::test]
async fn what_was_overruled_stays_overruled_in_this_content_and_by_this_name_alone() {
    let house = House::new();
    let running = start(&house).await;
    let id = quarantined(&house, &running).await;
    let released = release(&running, id, true).await.unwrap();
    assert_eq!(released.overruled, ["Late"]);
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    running.stop().await;

    // Other signatures say the same, after a restart; then they say something else.
    let running = start(&house).await;
    house.engine.learn("same", found("Late"));
    running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 2);
    house.engine.learn("other", found("Other"));
    let id = running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 2);
    assert!(is_kept(&running, id).await);
    running.stop().await;
}

#[tokio::test]
async fn all_that_is_found_is_overruled_by_one_order() {
    let house = House::new();
    let running = start(&house).await;
    house.engine.learn_behind(found("Second"));
    let id = quarantined(&house, &running).await;
    assert!(release(&running, id, false).await.is_err());
    let released = release(&running, id, true).await.unwrap();
    assert_eq!(released.overruled, ["Late", "Second"]);
    assert!(has_rulings(&house));
    running.until_queue_empty().await;
    assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1));
    running.stop().await;

    let running = start(&house).await;
    house.engine.learn("same", found("Late"));
    running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 2);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_overruled_for_a_mail_that_stays() {
    let house = House::new();
    let running = start(&house).await;
    let id = quarantined(&house, &running).await;
    house.engine.learn_behind(Verdict::Failed);
    assert!(matches!(release(&running, id, true).await, Err(ReleaseError::NotScanned { .. })));
    assert!(!has_rulings(&house));

    let other = running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    assert!(is_kept(&running, other).await, "the same content still counts");

    // Now all that is found is known, but the queue does not take the mail.
    house.engine.learn_behind(Verdict::Clean);
    running.queue.close().await;
    assert!(matches!(release(&running, id, true).await, Err(ReleaseError::Queue(_))));
    assert!(is_kept(&running, id).await && !has_rulings(&house));
    running.stop().await;
}

#[tokio::test]
async fn without_a_verdict_nothing_goes_not_even_by_order() {
    let house = House::new();
    let running = start(&house).await;
    let id = quarantined(&house, &running).await;
    house.engine.learn("broken", Verdict::Failed);
    assert!(matches!(release(&running, id, true).await, Err(ReleaseError::NotScanned { .. })));
    house.engine.learn("corrected", Verdict::Clean);
    house.quarantine_disk.damage(Path::new(&format!("/quarantine/{id}.eml")), 40, 0x01);
    assert!(
        matches!(release(&running, id, true).await, Err(ReleaseError::Damaged(damaged)) if damaged == id)
    );
    assert!(is_kept(&running, id).await);
    running.stop().await;
}

/// What cannot be looked into today cannot be tomorrow: it does not wait in the queue.
#[tokio::test]
async fn what_cannot_be_looked_into_is_quarantined_and_the_operator_may_overrule_that_too() {
    let house = House::new();
    let running = house.start().await;
    house.engine.learn("2", Verdict::Unscannable { reason: Obstacle::Broken });
    let id = running.accept(None, &[ALICE]).await;
    running.until_queue_empty().await;
    let kept = running.quarantine.list(Selection::one(id), "test").await.unwrap();
    assert!(kept[0].threat.starts_with("unscannable."), "never deleted: {kept:?}");
    let stays = release(&running, id, false).await.unwrap_err();
    assert!(matches!(stays, ReleaseError::NotScanned { .. }) && stays.can_be_overruled());
    release(&running, id, true).await.unwrap();
    running.until_queue_empty().await;
    assert_eq!(running.count(ALICE).await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_out_behind_its_release_does_not_go_twice() {
    let mut left = 0;
    for nth in 0..RELEASE_CALLS {
        let house = House::new();
        let running = start(&house).await;
        let id = quarantined(&house, &running).await;
        house.engine.learn("corrected", Verdict::Clean);
        house.quarantine_disk.fail_nth(house.quarantine_disk.calls() + nth, Fault::Io);
        let is_released = release(&running, id, false).await.is_ok();
        if is_released && is_kept(&running, id).await {
            left += 1;
            assert!(matches!(release(&running, id, false).await, Err(ReleaseError::Unknown(_))), "{nth}");
            running.until_queue_empty().await;
            assert_eq!((running.count(ALICE).await, running.count(BOB).await), (1, 1), "{nth}");
        }
        running.stop().await;
    }
    assert!(left > 0, "no call failed behind the queue's flush");
}

/// At every call of either disk: the mail lies here or is on its way, and is never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_in_a_release_loses_nothing() {
    for of_queue in [false, true] {
        for nth in 0..RELEASE_CALLS {
            let house = House::new();
            let running = start(&house).await;
            let id = quarantined(&house, &running).await;
            house.engine.learn("corrected", Verdict::Clean);
            let disk = if of_queue { &house.disk } else { &house.quarantine_disk };
            disk.fail_nth(disk.calls() + nth, Fault::PowerOff);
            let _cut = release(&running, id, false).await;
            running.crash(&house, nth).await;

            let running = start(&house).await;
            running.until_queue_empty().await;
            let (is_kept, copies) = (is_kept(&running, id).await, running.count(ALICE).await);
            assert!(is_kept || copies == 1, "call {nth}: kept {is_kept}, {copies} copies");
            running.stop().await;
        }
    }
}

/// More than a release needs: two records, each made, written, flushed, renamed and flushed again, two removals, a few pieces.
const RELEASE_CALLS: u64 = 24;
