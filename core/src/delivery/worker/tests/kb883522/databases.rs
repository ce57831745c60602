//! The cases of KB883522 where one mail is treated differently for who lives in a mailbox database and who lives elsewhere: each
//! recipient has the one end that the policy of his place gives him.

use super::rewriting::{DELETING, KEEPING, PARTS};
use super::*;
use crate::delivery::worker::tests::house::Counters;
use crate::intake::Body;
use crate::queue::QueueId;

/// Lives elsewhere, where no mail goes.
const CAROL: &str = "carol@example.net";
const REWRITES: InfectedAction = InfectedAction::Rewrite(KEEPING);

/// Everybody lives in one place or the other; nobody is there to be told of an end.
async fn accept(queue: &crate::queue::Queue, recipients: &[&'static str]) -> QueueId {
    let recipients = recipients.iter().map(|address| (*address, "")).collect();
    let body = Body::Memory(PARTS.to_owned().into());
    Mail { sender: "<>", recipients, body, ..Mail::default() }.accept(queue).await
}

async fn start(house: &House, here: InfectedAction, elsewhere: InfectedAction) -> Running {
    let mut idle = house.start_idle();
    (idle.infected_in_database, idle.infected) = (Some(here), elsewhere);
    idle.schedules.local = Schedule { delay_notice: None, expiry: Duration::from_secs(60), ..hasty() };
    idle.with_workers(&house.engine).await
}

/// Those whose copies of a mail are kept.
async fn kept_for(running: &Running, id: QueueId) -> Vec<String> {
    let records = kept(&running.quarantine).await;
    let of_this = records.into_iter().filter(|record| record.id == id.to_string());
    of_this.flat_map(|record| record.recipients).map(|copy| copy.address).collect()
}

fn ends(counters: &Counters) -> [f64; 3] {
    ["deleted_by_policy", "quarantined", "replaced"]
        .map(|end| counters.of("gatepost_delivery_recipients_total", end))
}

#[tokio::test]
async fn each_recipient_ends_once_and_as_it_is_said_where_he_lives() {
    let actions =
        [InfectedAction::Delete, InfectedAction::Quarantine, REWRITES, InfectedAction::Rewrite(DELETING)];
    let house = House::new();
    let mut delivered = 0;
    for (life, (here, elsewhere)) in
        (1..).zip(actions.iter().flat_map(|here| actions.map(|elsewhere| (*here, elsewhere))))
    {
        house.engine.learn(&format!("infected-{life}"), infected());
        let running = start(&house, here, elsewhere).await;
        let id = accept(&running.queue, &[ALICE, CAROL, BOB]).await;
        running.until_queue_empty().await;

        let is_kept = |action| action == InfectedAction::Quarantine || action == REWRITES;
        let expected = [(ALICE, here), (BOB, here), (CAROL, elsewhere)];
        let expected = expected.into_iter().filter(|(_, action)| is_kept(*action));
        let mut expected: Vec<_> = expected.map(|(address, _)| format!("<{address}>")).collect();
        let mut kept = kept_for(&running, id).await;
        expected.sort_unstable();
        kept.sort_unstable();
        assert_eq!(kept, expected, "{here:?}, {elsewhere:?}");
        delivered += usize::from(matches!(here, InfectedAction::Rewrite(_)));
        for mailbox in [ALICE, BOB] {
            assert_eq!(running.count(mailbox).await, delivered, "{here:?}, {elsewhere:?}");
        }

        running.crash(&house, life).await;
        house.engine.learn(&format!("clean-{life}"), Verdict::Clean);
        let running = start(&house, here, elsewhere).await;
        running.until_queue_empty().await;
        for mailbox in [ALICE, BOB] {
            assert_eq!(running.count(mailbox).await, delivered, "it stays so behind a crash");
        }
        running.stop().await;
    }
    assert_eq!(house.dispositions(), 0);
}

/// Two mails take the place of one: with what could be cleaned for the one side, and without it for the other.
#[tokio::test]
async fn each_place_gets_the_rest_of_a_mail_in_its_own_way() {
    let house = House::new();
    house.engine.learn("2", infected());
    let running = start(&house, InfectedAction::Rewrite(DELETING), REWRITES).await;
    let id = accept(&running.queue, &[ALICE, CAROL]).await;
    running.until_queue_empty().await;
    let mail = fetch(&running, ALICE, 1).await;
    assert!(mail.contains(&format!("was={id}; removed=1;")) && !mail.contains("MARK"), "{mail}");
    assert_eq!(kept_for(&running, id).await, [format!("<{CAROL}>")]);
    let counters = running.stop().await;
    assert_eq!(ends(&counters), [0.0, 0.0, 2.0]);
    assert_eq!(
        counters.of("gatepost_delivery_recipients_total", "bounced"),
        1.0,
        "carol's, as no mail leaves"
    );
}

/// The crash came behind the store's record of what was decided for one side; for the other nothing had been.
#[tokio::test]
async fn what_was_decided_for_one_side_holds_and_the_other_is_asked_about_anew() {
    for verdict in [infected(), Verdict::Clean] {
        let house = House::new();
        let mut idle = house.start_idle();
        (idle.infected_in_database, idle.infected) = (Some(REWRITES), InfectedAction::Quarantine);
        let id = accept(&idle.queue, &[ALICE, CAROL]).await;
        let quarantined = Disposition::Quarantined { threat: "Late".into() };
        let _remembered = idle.store.inner.record(id, vec![(1, quarantined)]).await.unwrap();
        house.engine.learn("2", verdict.clone());
        let running = idle.with_workers(&house.engine).await;
        running.until_queue_empty().await;
        let is_whole = fetch(&running, ALICE, 1).await.contains("MARK");
        assert_eq!((running.count(ALICE).await, is_whole), (1, verdict == Verdict::Clean));
        assert!(kept_for(&running, id).await.contains(&format!("<{CAROL}>")));
        let counters = running.stop().await;
        assert_eq!(counters.of("gatepost_delivery_recipients_total", "quarantined"), 1.0);
        assert_eq!(house.dispositions(), 0);
    }
}

#[tokio::test]
async fn one_side_ends_while_the_quarantine_cannot_take_the_others_and_stays_so() {
    let house = House::new();
    house.engine.learn("2", infected());
    house.quarantine_disk.set_capacity(Some(0));
    let running = start(&house, InfectedAction::Quarantine, InfectedAction::Delete).await;
    let id = accept(&running.queue, &[CAROL, ALICE]).await;
    running.until_queue(|waiting| waiting.iter().any(|mail| mail.attempts > 1)).await;
    house.quarantine_disk.set_capacity(None);
    running.until_queue_empty().await;
    assert_eq!(kept_for(&running, id).await, [format!("<{ALICE}>")]);
    assert_eq!(ends(&running.stop().await), [1.0, 1.0, 0.0]);
    assert_eq!(house.dispositions(), 0);
}

/// What nobody can look into is never lost, whatever is done about viruses there.
#[tokio::test]
async fn what_cannot_be_looked_into_goes_into_the_quarantine_for_both() {
    let house = House::new();
    house.engine.learn("2", Verdict::Unscannable { reason: crate::scan::Obstacle::Broken });
    let running = start(&house, InfectedAction::Delete, REWRITES).await;
    let id = accept(&running.queue, &[ALICE, CAROL]).await;
    running.until_queue_empty().await;
    assert_eq!(kept_for(&running, id).await, [format!("<{ALICE}>"), format!("<{CAROL}>")]);
    assert_eq!(ends(&running.stop().await), [0.0, 2.0, 0.0]);
}
