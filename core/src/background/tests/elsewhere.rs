//! Queue and quarantine on a simulated disk, and an event log.

use std::path::Path;

use super::*;
use crate::delivery::testing::message;
use crate::disk::{Disk, SimulatedDisk};
use crate::events::{Event, History, What};
use crate::quarantine::{Evidence, FoundLater, Record, Selection, Suspect};
use crate::queue::{self, NewMessage, State as Standing};
use crate::scan::Overruled;

const AN_HOUR: Duration = Duration::from_secs(3_600);
const TO: [&str; 2] = ["a@x.example", "b@y.example"];

struct Yard {
    engine: Arc<Teachable>,
    scanner: Scanner,
    disk: SimulatedDisk,
    queue: Queue,
    quarantine: Quarantine,
    events: Log,
    log: tempfile::TempDir,
}

// === impl Yard ===

impl Yard {
    fn new() -> Self {
        let House { engine, scanner, .. } = House::new();
        let disk = SimulatedDisk::new();
        let log = tempfile::tempdir().unwrap();
        let events = Log::start(log.path(), None).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let settings = queue::Settings { segment_octets: 1 << 20, free_octets_min: 0, ..Default::default() };
        let (queue, _recovered) = Queue::open(shared, Path::new("/queue"), settings, None).unwrap();
        let quarantine = quarantine(&disk, &events);
        Self { engine, scanner, disk, queue, quarantine, events, log }
    }

    fn mail(&self, body: &str) -> NewMessage {
        let body = Body::Memory(body.to_owned().into());
        let stamp = Some(Teachable::sealed(&self.engine.stamp(), &body));
        NewMessage { body, stamp, ..message(self.queue.allocate_id().0, &TO) }
    }

    /// Accepted and tried in vain.
    async fn put_off(&self, body: &str) -> QueueId {
        let id = self.queue.append(self.mail(body)).await.unwrap();
        let claim = self.queue.claim().await.unwrap();
        self.queue.postpone(claim, AN_HOUR, Some("4.4.1 nobody is there"));
        id
    }

    async fn hold(&self, id: QueueId) {
        let selection = queue::Selection { ids: vec![id], ..Default::default() };
        self.queue.hold(&selection).await.unwrap();
    }

    async fn keep(&self, body: &str, threat: &str) -> QueueId {
        let message = Arc::new(self.mail(body));
        let (id, stamp) = (message.id, Some(self.engine.stamp()));
        let evidence = Evidence { threat: threat.to_owned(), item: None, stamp };
        self.quarantine.keep(Suspect { message, recipients: vec![0], evidence, files: 1 }).await.unwrap();
        id
    }

    async fn record(&self, id: QueueId) -> Record {
        self.quarantine.list(Selection::one(id), "test").await.unwrap().remove(0)
    }

    fn learn(&self, signatures: &str, threat: &str) {
        self.engine.learn(signatures, Verdict::Infected { threat: threat.into() });
    }

    async fn open(&self, settings: Settings) -> Background {
        let (queue, quarantine) = (self.queue.clone(), self.quarantine.clone());
        let rooms = Rooms {
            scanner: self.scanner.clone(),
            memory: MemoryBudget::default(),
            events: self.events.clone(),
            metrics: Some(Metrics::register(&prometheus::Registry::new()).unwrap()),
        };
        let elsewhere = Elsewhere { queue, quarantine, settings };
        Background::start(Vec::new(), Some(elsewhere), &rooms).await.unwrap()
    }

    /// What was found, in the order in which it was told.
    async fn told(&self) -> Vec<Event> {
        self.events.flush().await;
        let mut told = History::open(self.log.path()).of_finding("Late").unwrap().events;
        told.extend(History::open(self.log.path()).of_finding("Later").unwrap().events);
        told
    }
}

fn quarantine(disk: &SimulatedDisk, events: &Log) -> Quarantine {
    let (disk, settings) = (Arc::new(disk.clone()), crate::quarantine::Settings::default());
    Quarantine::open(disk, Path::new("/kept"), settings, Overruled::default(), events.clone(), None).unwrap()
}

fn on_order() -> Settings {
    Settings { enabled: false, ..unthrottled() }
}

async fn finished(background: &Background, place: &Place) -> Progress {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let status = background.status().into_iter().find(|status| status.place == *place).unwrap();
        if let Some(progress) = status.progress.clone().filter(|it| it.state == State::Finished) {
            return progress;
        }
        assert!(Instant::now() < patience, "waited in vain: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// From the beginning, on order.
async fn scanned(background: &Background, place: &Place) -> Progress {
    background.begin().await;
    finished(background, place).await
}

#[tokio::test]
async fn what_was_put_off_is_told_and_comes_to_a_worker_at_once() {
    let yard = Yard::new();
    let (infected, clean) = (yard.put_off("MARK\r\n").await, yard.put_off("clean\r\n").await);
    yard.learn("2", "Late");
    let background = yard.open(unthrottled()).await;
    let progress = finished(&background, &Place::Queue).await;
    assert_eq!((progress.reason, progress.total), (Reason::NewSignatures, 2));
    assert_eq!((progress.messages, progress.scanned, progress.infected), (2, 2, 1));
    let claim = yard.queue.claim().await.unwrap();
    assert_eq!((claim.id, yard.queue.state_of(clean)), (infected, Some(Standing::Deferred)));

    let told = yard.told().await;
    assert_eq!((told.len(), &told[0].about.queue_id), (1, &Some(infected.to_string())));
    let What::QueueVirusFound { threat, state, waiting_for, ended, sender, content, .. } = &told[0].what
    else {
        panic!("{told:?}");
    };
    assert_eq!((threat.as_str(), state.as_ref(), *ended), ("Late", "deferred", 0));
    assert_eq!(
        (waiting_for.as_slice(), sender.as_str()),
        (&TO.map(|to| format!("<{to}>"))[..], "<sender@example.org>")
    );
    assert_eq!(*content, ContentHash::of(b"MARK\r\n").to_string());
    background.close().await;
}

#[tokio::test]
async fn who_has_had_it_already_is_told_as_well() {
    let yard = Yard::new();
    let id = yard.queue.append(yard.mail("MARK\r\n")).await.unwrap();
    let claim = yard.queue.claim().await.unwrap();
    let not_before_ms = crate::clock::now_ms() + 3_600_000;
    let outcomes = vec![
        (0, queue::Outcome::Done(crate::delivery::Disposition::Delivered)),
        (1, queue::Outcome::Retry { reason: "4.4.1".into(), not_before_ms }),
    ];
    yard.queue.settle(claim, outcomes).await.unwrap();
    yard.hold(id).await;
    yard.learn("2", "Late");
    let background = yard.open(on_order()).await;
    scanned(&background, &Place::Queue).await;
    let What::QueueVirusFound { waiting, waiting_for, ended_for, .. } = &yard.told().await[0].what else {
        panic!("another event");
    };
    assert_eq!(
        (*waiting, &waiting_for[0], &ended_for[0]),
        (1, &format!("<{}>", TO[1]), &format!("<{}>", TO[0]))
    );
    let words = yard.told().await[0].to_string();
    assert!(words.contains("(held, for") && words.ends_with("; ended before: <a@x.example>"), "{words}");
    background.close().await;
}

#[tokio::test]
async fn what_is_held_stays_held_and_is_told_once_for_each_threat() {
    let yard = Yard::new();
    let id = yard.put_off("MARK\r\n").await;
    yard.hold(id).await;
    yard.learn("2", "Late");
    let background = yard.open(on_order()).await;
    for _ in 0..2 {
        assert_eq!(scanned(&background, &Place::Queue).await.infected, 1);
    }
    assert_eq!(yard.told().await.len(), 1);
    yard.learn("3", "Late");
    scanned(&background, &Place::Queue).await;
    assert_eq!(yard.told().await.len(), 1, "newer signatures call it the same");
    yard.learn("4", "Later");
    scanned(&background, &Place::Queue).await;
    assert_eq!(yard.told().await.len(), 2);
    assert_eq!(yard.queue.state_of(id), Some(Standing::Held));
    background.close().await;
}

#[tokio::test]
async fn what_a_worker_has_and_what_current_signatures_vouch_for_is_passed_over() {
    let yard = Yard::new();
    yard.queue.append(yard.mail("MARK\r\n")).await.unwrap();
    let claim = yard.queue.claim().await.unwrap();
    yard.learn("2", "Late");
    let stamped = yard.mail("clean\r\n");
    yard.queue.append(stamped).await.unwrap();
    let background = yard.open(on_order()).await;
    let progress = scanned(&background, &Place::Queue).await;
    assert_eq!((progress.messages, progress.scanned), (2, 0));
    assert!(yard.told().await.is_empty());

    background.reload(&Place::Queue, &Settings { ignore_stamps: true, ..on_order() });
    assert_eq!(scanned(&background, &Place::Queue).await.scanned, 1);
    background.reload(&Place::Queue, &Settings { only_unscanned: true, ..on_order() });
    drop(claim);
    assert_eq!(scanned(&background, &Place::Queue).await.scanned, 0);
    background.close().await;
}

#[tokio::test]
async fn a_long_queue_is_walked_to_its_end() {
    let yard = Yard::new();
    for number in 0..150 {
        yard.queue.append(yard.mail(&format!("{number}\r\n"))).await.unwrap();
    }
    yard.learn("2", "Late");
    let background = yard.open(on_order()).await;
    let progress = scanned(&background, &Place::Queue).await;
    assert_eq!((progress.total, progress.messages, progress.scanned), (150, 150, 150));
    background.close().await;
}

#[tokio::test]
async fn news_of_a_mail_in_quarantine_is_told_once_and_kept_beside_it() {
    let yard = Yard::new();
    let id = yard.keep("MARK\r\n", "unscannable.encrypted").await;
    yard.learn("2", "Late");
    let background = yard.open(unthrottled()).await;
    let progress = finished(&background, &Place::Quarantine).await;
    assert_eq!((progress.messages, progress.scanned, progress.infected), (1, 1, 1));
    let FoundLater { threat, stamp, .. } = yard.record(id).await.found_later.unwrap();
    assert_eq!((threat.as_str(), stamp), ("Late", yard.engine.stamp().to_string()));
    let about = |threat: &str| Selection { threat: Some(threat.into()), ..Selection::default() };
    for name in ["late", "unscannable.encrypted"] {
        assert_eq!(yard.quarantine.list(about(name), "test").await.unwrap().len(), 1, "{name}");
    }
    let told = yard.told().await;
    assert!(
        matches!(&told[..], [Event { what: What::QuarantineVirusFound { before, .. }, .. }] if before == "unscannable.encrypted")
    );
    assert_eq!(told[0].about.queue_id, Some(id.to_string()));

    assert_eq!(scanned(&background, &Place::Quarantine).await.scanned, 0, "these have found it");
    yard.learn("3", "Late");
    assert_eq!(scanned(&background, &Place::Quarantine).await.infected, 1);
    assert_eq!(yard.told().await.len(), 1);
    background.close().await;

    let reopened = quarantine(&yard.disk, &yard.events);
    let record = reopened.list(Selection::one(id), "test").await.unwrap().remove(0);
    assert_eq!(record.found_later.unwrap().threat, "Late");
}

#[tokio::test]
async fn what_was_known_of_a_mail_in_quarantine_is_no_news() {
    let yard = Yard::new();
    let id = yard.keep("MARK\r\n", "Late").await;
    yard.learn("2", "Late");
    let background = yard.open(on_order()).await;
    assert_eq!(scanned(&background, &Place::Quarantine).await.infected, 1);
    assert!(yard.told().await.is_empty() && yard.record(id).await.found_later.is_none());
    background.close().await;
}

#[tokio::test]
async fn a_mail_in_quarantine_that_is_not_as_it_was_is_left_unfinished() {
    let yard = Yard::new();
    let id = yard.keep("MARK\r\n", "unscannable.encrypted").await;
    let file = yard.disk.open(Path::new(&format!("/kept/{id}.eml")), false).unwrap();
    file.write_all_at(0, &[std::io::IoSlice::new(b"X")]).unwrap();
    yard.learn("2", "Late");
    let background = yard.open(on_order()).await;
    let progress = scanned(&background, &Place::Quarantine).await;
    assert_eq!((progress.scanned, progress.unfinished), (0, 1));
    assert!(yard.told().await.is_empty());
    background.close().await;
}
