//! The cases of KB883522 where one mail is treated differently for who lives in a mailbox database and who lives elsewhere: each
//! recipient has the one end that the policy of his place gives him.

use super::rewriting::{DELETING, KEEPING, PARTS};
use super::*;
use crate::delivery::worker::tests::house::{Beside, Counters, treated};
use crate::delivery::{Template, Treatment, Warnings};
use crate::intake::Body;
use crate::queue::QueueId;
use crate::store::{self, SqliteStore};

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

/// Lives here, in the other database.
const DORA: &str = "dora@example.com";
/// Both of them.
const BOTH: &str = "both@localhost";

async fn start_beside(house: &House, here: InfectedAction, beside: Treatment) -> (Running, Arc<SqliteStore>) {
    let mut idle = house.start_idle();
    if !idle.directory.has_domain("example.com") {
        let password = crate::directory::Password::prepare(b"correct horse").unwrap();
        idle.directory.add_domain("example.com").unwrap();
        idle.directory.add_user(DORA, &password, crate::directory::Scram::Off).unwrap();
        idle.directory.add_alias(BOTH, ALICE).unwrap();
        idle.directory.add_alias(BOTH, DORA).unwrap();
    }
    let path = house.folder.path().join("beside.sqlite");
    let store = Arc::new(SqliteStore::open(&path, &store::Settings::default(), None).unwrap());
    (idle.infected_in_database, idle.infected) = (Some(here), InfectedAction::Quarantine);
    idle.beside = Some((Beside { domain: "example.com", store: store.clone() }, beside));
    let template = Template::new("of here", "{threat}").ok();
    (idle.warnings, idle.warnings_per_hour) = (Warnings { recipient: template, sender: None }, 10);
    (idle.with_workers(&house.engine).await, store)
}

async fn in_both(running: &Running, beside: &SqliteStore) -> (usize, usize) {
    (running.count(ALICE).await, beside.list(DORA).await.unwrap().messages.len())
}

#[tokio::test]
async fn of_two_who_live_here_each_is_treated_as_his_database_has_it() {
    let house = House::new();
    house.engine.learn("2", infected());
    let (running, beside) = start_beside(&house, REWRITES, treated(InfectedAction::Delete)).await;
    let id = accept(&running.queue, &[DORA, ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!(in_both(&running, &beside).await, (1, 0));
    assert_eq!(kept_for(&running, id).await, [format!("<{ALICE}>")], "the mail as it was");
    running.crash(&house, 1).await;

    house.engine.learn("3", Verdict::Clean);
    let (running, beside) = start_beside(&house, InfectedAction::Delete, treated(REWRITES)).await;
    accept(&running.queue, &[DORA, ALICE, BOTH]).await;
    running.until_queue_empty().await;
    assert_eq!(in_both(&running, &beside).await, (2, 1), "a clean one lies in both, and nothing comes back");

    house.engine.learn("4", infected());
    accept(&running.queue, &[DORA, ALICE]).await;
    running.until_queue_empty().await;
    assert_eq!(in_both(&running, &beside).await, (2, 2));
    assert_eq!(ends(&running.stop().await), [1.0, 0.0, 1.0]);
    assert_eq!(house.dispositions(), 0);
}

/// What is said of one of his databases is not said of him.
#[tokio::test]
async fn an_alias_of_mailboxes_in_two_databases_goes_by_what_is_usual() {
    let house = House::new();
    house.engine.learn("2", infected());
    let (running, beside) = start_beside(&house, InfectedAction::Delete, treated(REWRITES)).await;
    let id = accept(&running.queue, &[BOTH]).await;
    running.until_queue_empty().await;
    assert_eq!(in_both(&running, &beside).await, (0, 0));
    assert_eq!(kept_for(&running, id).await, [format!("<{BOTH}>")]);
    running.stop().await;
}

/// It had reached one of the two when the power went, and newer signatures know it then: who has it keeps it, once, and the other
/// one's copy is treated as it would have been.
#[tokio::test]
async fn what_had_reached_one_database_before_a_crash_is_nowhere_twice() {
    let house = House::new();
    let (running, beside) = start_beside(&house, REWRITES, treated(InfectedAction::Quarantine)).await;
    running.store.mute.store(true, Ordering::SeqCst);
    let id = Mail {
        stamp: Some(house.engine.stamp()),
        recipients: vec![(ALICE, ""), (DORA, "")],
        body: Body::Memory(PARTS.to_owned().into()),
        ..Mail::default()
    }
    .accept(&running.queue)
    .await;
    running.store.committed.notified().await;
    assert_eq!(in_both(&running, &beside).await, (1, 0));
    running.crash(&house, 2).await;
    drop(beside);

    house.engine.learn("2", infected());
    let (running, beside) = start_beside(&house, REWRITES, treated(InfectedAction::Quarantine)).await;
    running.until_queue_empty().await;
    assert_eq!(in_both(&running, &beside).await, (1, 0));
    assert_eq!(kept_for(&running, id).await, [format!("<{DORA}>")]);
    assert_eq!(ends(&running.stop().await), [0.0, 1.0, 0.0]);
    assert_eq!(house.dispositions(), 0);
}

#[tokio::test]
async fn each_database_warns_its_own_people_in_its_own_words() {
    let house = House::new();
    house.engine.learn("2", infected());
    let own = Template::new("of there", "{threat}").ok();
    for (life, recipient) in [(1_usize, None), (2, own)] {
        let warnings = Warnings { recipient, sender: None };
        let beside = Treatment { infected: InfectedAction::Quarantine, warnings };
        let (running, beside) = start_beside(&house, InfectedAction::Delete, beside).await;
        let recipients = vec![(ALICE, ""), (DORA, "")];
        let body = Body::Memory(PARTS.to_owned().into());
        Mail { recipients, body, ..Mail::default() }.accept(&running.queue).await;
        running.until_queue_empty().await;
        assert_eq!(in_both(&running, &beside).await, (life, life - 1));
        let uid = u32::try_from(life).unwrap();
        assert!(fetch(&running, ALICE, uid).await.contains("\r\nSubject: of here\r\n"));
        if life == 2 {
            let message = beside.fetch(DORA, 1).await.unwrap().unwrap();
            assert!(String::from_utf8_lossy(&message.octets).contains("\r\nSubject: of there\r\n"));
        }
        running.stop().await;
        beside.close().await;
    }
}
