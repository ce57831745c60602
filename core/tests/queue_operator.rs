//! The queue in the hands of its operator: holds, retries, removals, figures, quotas, and what can be got out of damage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_core::delivery::Disposition;
use gatepost_core::disk::{Disk, SimulatedDisk};
use gatepost_core::events::{History, Log, What};
use gatepost_core::intake::{Body, Origin, Submission};
use gatepost_core::queue::{
    Affected, AppendError, Claim, Flaw, HoldRule, NewMessage, Outcome, Queue, QueueId, Quota, Quotas,
    Removal, Salvaged, Selection, Settings, State,
};
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

fn settings(quotas: Quotas) -> Settings {
    Settings { segment_octets: 64 * 1024, free_octets_min: 0, free_files_min: 0, quotas, clock_back_ms: 0 }
}

fn open(disk: &SimulatedDisk) -> Queue {
    let settings = settings(Quotas::default());
    Queue::open(Arc::new(disk.clone()), Path::new("/queue"), settings, None).unwrap().0
}

fn mail(queue: &Queue, sender: &str, recipients: &[&str]) -> NewMessage {
    let recipient = |address: &&str| Recipient {
        path: format!("<{address}>").parse().unwrap(),
        params: RcptParams::default(),
    };
    let envelope = Envelope {
        reverse_path: format!("<{sender}>").parse().unwrap(),
        params: MailParams::default(),
        recipients: recipients.iter().map(recipient).collect(),
    };
    let origin = Origin {
        session: "S1".to_owned(),
        listener: "mx".to_owned(),
        peer: "192.0.2.1:25".parse().unwrap(),
        helo: "example.com".to_owned(),
        esmtp: true,
        tls: None,
        user: Some(sender.to_owned()),
        received_at_ms: 1_000_000,
    };
    let body = Body::Memory(Bytes::from_static(b"Subject: x\r\n\r\nhello\r\n"));
    let submission = Submission::new(envelope, origin);
    NewMessage { id: queue.allocate_id(), submission, trace: b"Received: x\r\n".to_vec(), body, stamp: None }
}

async fn append(queue: &Queue, sender: &str, recipients: &[&str]) -> QueueId {
    queue.append(mail(queue, sender, recipients)).await.unwrap()
}

async fn claim_now(queue: &Queue) -> Option<Claim> {
    tokio::time::timeout(Duration::from_millis(50), queue.claim()).await.ok().flatten()
}

async fn deliver(queue: &Queue, claim: Claim) {
    let delivered = |recipient: &usize| (*recipient, Outcome::Done(Disposition::Delivered));
    let outcomes = claim.pending.iter().map(delivered).collect();
    queue.settle(claim, outcomes).await.unwrap();
}

fn domain(domain: &str) -> Selection {
    Selection { domain: Some(domain.to_owned()), ..Selection::default() }
}

fn messages(messages: usize) -> Affected {
    Affected { messages, ..Affected::default() }
}

#[tokio::test]
async fn an_order_says_how_many_recipients_it_reaches_besides_those_it_names() {
    let queue = open(&SimulatedDisk::new());
    append(&queue, "a@example.com", &["x@one.example", "y@two.example", "z@three.example"]).await;
    append(&queue, "a@example.com", &["x@one.example", "y@ONE.example"]).await;
    append(&queue, "a@example.com", &["x@two.example"]).await;
    let reached = |messages, others| Ok(Affected { messages, others, ..Affected::default() });
    let one = domain("One.example");
    assert_eq!(queue.hold(&one).await, reached(2, 2));
    assert_eq!(queue.thaw(&one).await, reached(2, 0));
    let to = Selection { recipient: Some("y@one.example".to_owned()), ..Selection::default() };
    assert_eq!(queue.remove(&to, Removal::Silent, "test").await, reached(1, 1));
    assert_eq!(queue.remove(&one, Removal::Bounce, "test").await, reached(1, 2));
    assert_eq!(queue.remove(&Selection::default(), Removal::Silent, "test").await, reached(2, 0));
}

#[tokio::test]
async fn a_hold_of_a_domain_covers_what_comes_later_and_survives_a_restart() {
    let disk = SimulatedDisk::new();
    let queue = open(&disk);
    let before = append(&queue, "a@example.com", &["x@held.example"]).await;
    let other = append(&queue, "a@example.com", &["x@example.org"]).await;
    assert_eq!(queue.hold(&domain("HELD.example")).await, Ok(messages(1)));
    let later = append(&queue, "a@example.com", &["y@example.org", "x@Held.Example"]).await;
    queue.close().await;
    disk.crash(1);

    let queue = open(&disk);
    let claim = claim_now(&queue).await.unwrap();
    assert_eq!(claim.id, other);
    deliver(&queue, claim).await;
    assert!(claim_now(&queue).await.is_none());
    let held = Selection { held: Some(true), ..Selection::default() };
    assert_eq!(queue.select(&held).await, [before, later]);
    assert_eq!(queue.stats().await.rules, [HoldRule::Domain("held.example".to_owned())]);
    assert!(queue.show(before).await.unwrap().summary.held);

    assert_eq!(queue.thaw(&domain("held.example")).await, Ok(messages(2)));
    for id in [before, later] {
        let claim = claim_now(&queue).await.unwrap();
        assert_eq!(claim.id, id);
        deliver(&queue, claim).await;
    }
    assert!(queue.stats().await.rules.is_empty());
    append(&queue, "a@example.com", &["x@held.example"]).await;
    assert!(claim_now(&queue).await.is_some());
}

#[tokio::test]
async fn one_mail_is_freed_from_a_standing_hold_while_the_others_stay() {
    let disk = SimulatedDisk::new();
    let queue = open(&disk);
    queue.hold(&Selection::default()).await.unwrap();
    let first = append(&queue, "a@example.com", &["x@example.org"]).await;
    append(&queue, "a@example.com", &["x@example.org"]).await;
    let one = Selection { ids: vec![first], ..Selection::default() };
    assert_eq!(queue.thaw(&one).await, Ok(messages(1)));
    queue.close().await;
    let queue = open(&disk);
    assert_eq!(claim_now(&queue).await.unwrap().id, first);
    assert_eq!(queue.stats().await.held, 1);
    assert_eq!(queue.thaw(&Selection::default()).await, Ok(messages(1)));
}

#[tokio::test]
async fn a_mail_in_delivery_is_held_once_its_attempt_was_in_vain() {
    let queue = open(&SimulatedDisk::new());
    append(&queue, "a@example.com", &["x@example.org"]).await;
    let claim = claim_now(&queue).await.unwrap();
    let sender = Selection { sender: Some("A@example.com".to_owned()), ..Selection::default() };
    assert_eq!(queue.hold(&sender).await, Ok(Affected { in_delivery: 1, ..Affected::default() }));
    let retry = Outcome::Retry { reason: "4.2.0 later".to_owned(), not_before_ms: 1 };
    queue.settle(claim, vec![(0, retry)]).await.unwrap();
    assert!(claim_now(&queue).await.is_none());
    assert_eq!(queue.retry_now(&sender).await, messages(1));
    assert!(claim_now(&queue).await.is_none(), "what is held stays held");
    queue.thaw(&sender).await.unwrap();
    assert!(claim_now(&queue).await.is_some());
}

#[tokio::test]
async fn a_retry_comes_before_its_time_and_only_once() {
    let queue = open(&SimulatedDisk::new());
    append(&queue, "a@example.com", &["x@example.org"]).await;
    let claim = claim_now(&queue).await.unwrap();
    let retry = Outcome::Retry { reason: "4.2.0 later".to_owned(), not_before_ms: u64::MAX };
    queue.settle(claim, vec![(0, retry)]).await.unwrap();
    assert!(claim_now(&queue).await.is_none());
    assert_eq!(queue.retry_now(&Selection::default()).await, messages(1));
    assert_eq!(queue.retry_now(&Selection::default()).await, messages(1));
    let claim = claim_now(&queue).await.unwrap();
    assert_eq!(
        queue.retry_now(&Selection::default()).await,
        Affected { in_delivery: 1, ..Affected::default() }
    );
    assert!(claim_now(&queue).await.is_none(), "one worker has it");
    deliver(&queue, claim).await;
    assert!(claim_now(&queue).await.is_none());
}

#[tokio::test]
async fn what_is_removed_in_silence_is_gone_with_its_body_file() {
    let disk = SimulatedDisk::new();
    let queue = open(&disk);
    let mut large = mail(&queue, "a@example.com", &["x@example.org"]);
    large.body = Body::File(Arc::new(queue.spool().store(b"a large body").unwrap()));
    let large = queue.append(large).await.unwrap();
    drop(claim_now(&queue).await.unwrap());
    let kept = append(&queue, "b@example.com", &["x@example.org"]).await;
    let selection = Selection { sender: Some("a@example.com".to_owned()), ..Selection::default() };
    assert_eq!(queue.select(&selection).await, [large]);
    assert_eq!(queue.remove(&selection, Removal::Silent, "test").await, Ok(messages(1)));
    assert_eq!(queue.ids(), [kept]);
    queue.close().await;
    disk.crash(2);
    let queue = open(&disk);
    assert_eq!(queue.ids(), [kept]);
    assert!(disk.list(Path::new("/queue/bodies")).unwrap().is_empty());
}

/// Nobody else will ever tell what became of it.
#[tokio::test]
async fn what_is_removed_in_silence_is_in_the_event_log_with_recipient_and_operator() {
    let (disk, folder) = (SimulatedDisk::new(), tempfile::tempdir().unwrap());
    let queue = open(&disk);
    let events = Log::start(folder.path(), None).unwrap();
    queue.report_to(events.clone());
    let id = append(&queue, "a@example.com", &["x@example.org", "y@example.net"]).await;
    let claim = claim_now(&queue).await.unwrap();
    queue.settle(claim, vec![(0, Outcome::Done(Disposition::Delivered))]).await.unwrap();
    assert_eq!(queue.remove(&Selection::default(), Removal::Silent, "uid 7").await, Ok(messages(1)));
    let found = History::open(folder.path()).of_mail(&id.to_string()).unwrap();
    let told: Vec<_> = found.events.iter().map(|event| event.what.clone()).collect();
    // The other one had his mail.
    assert_eq!(told, [What::Removed { recipient: "<y@example.net>".into(), by: "uid 7".into() }]);
}

#[tokio::test]
async fn what_is_removed_with_a_bounce_is_due_at_once_and_says_so() {
    let disk = SimulatedDisk::new();
    let queue = open(&disk);
    let id = append(&queue, "a@example.com", &["x@example.org"]).await;
    queue.hold(&Selection::default()).await.unwrap();
    assert_eq!(queue.remove(&domain("example.org"), Removal::Bounce, "test").await, Ok(messages(1)));
    queue.close().await;
    disk.crash(3);
    let queue = open(&disk);
    let claim = claim_now(&queue).await.unwrap();
    assert_eq!((claim.id, claim.given_up), (id, true));
}

#[tokio::test]
async fn filters_combine_and_a_recipient_is_compared_by_its_address() {
    let queue = open(&SimulatedDisk::new());
    let one = append(&queue, "a@example.com", &["x@example.org", "y@example.net"]).await;
    let two = append(&queue, "b@example.com", &["x@example.org"]).await;
    let select = async |selection: Selection| queue.select(&selection).await;
    let to = |address: &str| Selection { recipient: Some(address.to_owned()), ..Selection::default() };
    assert_eq!(select(to("X@example.org")).await, [one, two]);
    assert_eq!(select(to("z@example.org")).await, []);
    let from = Some("b@example.com".to_owned());
    assert_eq!(select(Selection { sender: from, ..to("x@example.org") }).await, [two]);
    assert_eq!(select(Selection { before_ms: Some(1_000_000), ..Selection::default() }).await, []);
    assert_eq!(select(Selection { since_ms: Some(1_000_000), ..Selection::default() }).await, [one, two]);
    let claim = claim_now(&queue).await.unwrap();
    queue.settle(claim, vec![(0, Outcome::Done(Disposition::Delivered))]).await.unwrap();
    assert_eq!(select(domain("example.org")).await, [two], "only pending recipients count");
    assert_eq!(select(domain("example.net")).await, [one]);
}

/// Each asks for what holds already: it must not become an order about everything else.
#[tokio::test]
async fn a_hold_of_what_is_held_and_a_release_of_what_is_not_change_nothing() {
    let queue = open(&SimulatedDisk::new());
    let free = append(&queue, "a@example.com", &["x@example.org"]).await;
    let of = |held| Selection { held: Some(held), ..Selection::default() };
    assert_eq!(queue.hold(&of(true)).await, Ok(messages(0)));
    assert_eq!(queue.hold(&Selection { held: Some(true), ..domain("example.org") }).await, Ok(messages(0)));
    assert_eq!((queue.select(&of(false)).await, queue.select(&of(true)).await), (vec![free], vec![]));
    assert_eq!(queue.hold(&of(false)).await, Ok(messages(1)));
    assert_eq!(queue.thaw(&of(false)).await, Ok(messages(0)));
    assert_eq!(queue.select(&of(true)).await, [free]);
}

#[tokio::test]
async fn the_figures_tell_domains_ages_and_holds_apart() {
    let queue = open(&SimulatedDisk::new());
    append(&queue, "a@example.com", &["x@example.org", "y@example.org", "z@example.net"]).await;
    append(&queue, "a@example.com", &["x@example.org"]).await;
    queue.hold(&domain("example.net")).await.unwrap();
    let stats = queue.stats().await;
    assert_eq!((stats.messages, stats.octets, stats.held, stats.appended), (2, 42, 1, 2));
    assert_eq!(stats.oldest_ms, Some(1_000_000));
    assert!(stats.flushes >= 1);
    let domains: Vec<_> =
        stats.domains.iter().map(|it| (&*it.domain, it.messages, it.octets, it.held)).collect();
    assert_eq!(domains, [("example.org", 2, 42, 1), ("example.net", 1, 21, 1)]);
    assert_eq!(stats.domains[0].ages, [0, 0, 0, 0, 0, 2]);
}

#[tokio::test]
async fn each_mail_is_in_one_state_and_can_be_chosen_by_it() {
    let queue = open(&SimulatedDisk::new());
    let deferred = append(&queue, "a@example.com", &["x@example.org"]).await;
    let claim = claim_now(&queue).await.unwrap();
    let retry = Outcome::Retry { reason: "4.2.0 later".to_owned(), not_before_ms: u64::MAX };
    queue.settle(claim, vec![(0, retry)]).await.unwrap();
    let claimed = append(&queue, "a@example.com", &["x@example.org"]).await;
    let claim = claim_now(&queue).await.unwrap();
    let held = append(&queue, "b@example.com", &["x@example.org"]).await;
    let waiting = append(&queue, "c@example.com", &["x@example.org"]).await;
    let bouncing = append(&queue, "d@example.com", &["x@example.org"]).await;
    let one = |id| Selection { ids: vec![id], ..Selection::default() };
    queue.hold(&one(held)).await.unwrap();
    queue.hold(&one(bouncing)).await.unwrap();
    queue.remove(&one(bouncing), Removal::Bounce, "test").await.unwrap();
    let expected = [
        (State::Deferred, deferred),
        (State::InDelivery, claimed),
        (State::Held, held),
        (State::Waiting, waiting),
        (State::Bouncing, bouncing),
    ];
    for (state, id) in expected {
        let selection = Selection { state: Some(state), ..Selection::default() };
        assert_eq!(queue.select(&selection).await, [id], "{state:?}");
        assert_eq!(queue.show(id).await.unwrap().summary.state, state);
    }
    // Such a hold is about those that are there.
    let deferred = Selection { state: Some(State::Deferred), ..Selection::default() };
    assert_eq!(queue.hold(&deferred).await, Ok(messages(1)));
    assert!(queue.stats().await.rules.is_empty());
    drop(claim);
}

#[tokio::test]
async fn gauges_count_each_mail_by_what_it_waits_for() {
    let (disk, registry) = (Arc::new(SimulatedDisk::new()), prometheus::Registry::new());
    let metrics = || Some(gatepost_core::queue::Metrics::register(&prometheus::Registry::new()).unwrap());
    let settings = settings(Quotas::default());
    let (queue, _) = Queue::open(disk.clone(), Path::new("/queue"), settings, metrics()).unwrap();
    append(&queue, "a@example.com", &["x@example.org"]).await;
    let claim = claim_now(&queue).await.unwrap();
    let retry = Outcome::Retry { reason: "4.2.0 later".to_owned(), not_before_ms: u64::MAX };
    queue.settle(claim, vec![(0, retry)]).await.unwrap();
    append(&queue, "b@example.com", &["x@example.org"]).await;
    queue
        .hold(&Selection { sender: Some("b@example.com".to_owned()), ..Selection::default() })
        .await
        .unwrap();
    append(&queue, "c@example.com", &["x@example.org"]).await;
    queue.close().await;
    // Counted at the start, and then from time to time.
    let metrics = gatepost_core::queue::Metrics::register(&registry).unwrap();
    let (_queue, _) = Queue::open(disk, Path::new("/queue"), settings, Some(metrics)).unwrap();
    let shown = || {
        let families = registry.gather();
        let of =
            |name: &str| families.iter().find(|family| family.name() == name).unwrap().get_metric().to_vec();
        let states = of("gatepost_queue_state_messages");
        let states: Vec<_> = states
            .iter()
            .map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_gauge().get_value()))
            .collect();
        (states, of("gatepost_queue_oldest_age_seconds")[0].get_gauge().get_value())
    };
    for _ in 0..200 {
        if shown().1 > 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (states, oldest) = shown();
    let states: Vec<_> = states.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    assert_eq!(states, [("deferred", 1.0), ("held", 1.0), ("in_delivery", 0.0), ("waiting", 1.0)]);
    assert!(oldest > 1e9, "received in 1970: {oldest}");
}

#[tokio::test]
async fn a_quota_refuses_one_user_or_domain_and_no_other() {
    let quotas = Quotas {
        user: Quota { messages: Some(2), octets: None },
        domain: Quota { messages: None, octets: Some(60) },
    };
    let disk = Arc::new(SimulatedDisk::new());
    let (queue, _) = Queue::open(disk, Path::new("/queue"), settings(quotas), None).unwrap();
    append(&queue, "a@example.com", &["x@one.example"]).await;
    append(&queue, "a@example.com", &["x@two.example"]).await;
    let admits = |user, domain| queue.admits(user, &format!("<x@{domain}>").parse().unwrap());
    assert!(!admits(Some("a@example.com"), "three.example"));
    let refused = queue.append(mail(&queue, "a@example.com", &["x@three.example"])).await;
    assert_eq!(refused, Err(AppendError::OverQuota));
    append(&queue, "b@example.com", &["x@one.example"]).await;
    append(&queue, "b@example.com", &["x@one.example"]).await;
    assert!(!admits(Some("c@example.com"), "ONE.example"));
    assert!(admits(None, "two.example"));
    while let Some(claim) = claim_now(&queue).await {
        deliver(&queue, claim).await;
    }
    assert!(admits(Some("a@example.com"), "one.example"));
}

#[tokio::test]
async fn a_mail_is_read_as_it_would_be_delivered() {
    let queue = open(&SimulatedDisk::new());
    let id = append(&queue, "a@example.com", &["x@example.org"]).await;
    let mut text = String::new();
    queue.content(id).await.unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "Received: x\r\nSubject: x\r\n\r\nhello\r\n");
    assert!(queue.content(QueueId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn damage_is_found_and_what_is_whole_is_got_out() {
    let disk = SimulatedDisk::new();
    let queue = open(&disk);
    let root = Path::new("/queue");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let whole = append(&queue, "a@example.com", &["x@example.org"]).await;
    let hit = append(&queue, "a@example.com", &["x@example.org"]).await;
    let mut large = mail(&queue, "a@example.com", &["x@example.org"]);
    let file = queue.spool().store(b"a large body").unwrap();
    let body = Path::new("/queue/bodies").join(file.name());
    large.body = Body::File(Arc::new(file));
    let large = queue.append(large).await.unwrap();
    let verified = Queue::verify(Arc::clone(&shared), root).unwrap();
    assert_eq!((verified.problems.len(), verified.messages, verified.bodies), (0, 3, 1));
    queue.close().await;

    let segment =
        disk.list(root).unwrap().into_iter().find(|path| path.extension().unwrap() == "seg").unwrap();
    let at = find(&disk, &segment, 0, &hit.0.to_le_bytes());
    disk.damage(&segment, find(&disk, &segment, at, b"hello"), 0x10);
    disk.damage(&body, 3, 0x10);
    let verified = Queue::verify(Arc::clone(&shared), root).unwrap();
    let flaws: Vec<_> =
        verified.problems.iter().map(|problem| (problem.id, &problem.flaw, problem.was_told)).collect();
    assert!(
        matches!(
            flaws[..],
            [(Some(first), Flaw::Record(_), false), (Some(second), Flaw::Mail(_), false)]
                if first == hit && second == large
        ),
        "{flaws:?}"
    );

    // The start sets the damaged record aside: nothing else can be had from there, and nothing twice.
    let before = saved(&shared, &disk, "/before");
    drop(open(&disk));
    let after = saved(&shared, &disk, "/after");
    assert_eq!(before, after);
    assert_eq!(after.0, Salvaged { whole: 1, damaged: 2, lost: 0 });
    let mut expected: Vec<String> = [whole.to_string(), format!("{hit}.damaged"), format!("{large}.damaged")]
        .iter()
        .flat_map(|name| [format!("{name}.eml"), format!("{name}.json")])
        .collect();
    expected.sort();
    assert_eq!(after.1, expected);
    let verified = Queue::verify(Arc::clone(&shared), root).unwrap();
    let told: Vec<_> = verified.problems.iter().map(|problem| (problem.id, problem.was_told)).collect();
    assert_eq!(told, [(Some(hit), true), (Some(large), false)]);
}

/// What a salvage says, and the names of the files that it wrote.
fn saved(shared: &Arc<dyn Disk>, disk: &SimulatedDisk, to: &str) -> (Salvaged, Vec<String>) {
    let salvaged = Queue::salvage(shared, Path::new("/queue"), Path::new(to)).unwrap();
    let listed = disk.list(Path::new(to)).unwrap();
    let mut names: Vec<String> =
        listed.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    (salvaged, names)
}

fn find(disk: &SimulatedDisk, path: &Path, from: usize, wanted: &[u8]) -> usize {
    let file = disk.open(path, true).unwrap();
    let mut octets = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut octets).unwrap();
    from + octets[from..].windows(wanted.len()).position(|window| window == wanted).unwrap()
}
