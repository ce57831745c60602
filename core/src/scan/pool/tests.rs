//! The pool alone, with an engine that waits for the test. The handle's tests are in `scanner`.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;

use super::super::EngineIdentity;
use super::*;

/// Tells what it is given, and answers when it is let.
struct Gated {
    seen: mpsc::SyncSender<Vec<u8>>,
    gate: Mutex<mpsc::Receiver<Verdict>>,
}

impl Engine for Gated {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("gated", "1").unwrap()
    }

    fn scan(&self, item: &[u8], _: Instant) -> Verdict {
        self.seen.send(item.to_vec()).unwrap();
        self.gate.lock().unwrap().recv().unwrap_or(Verdict::Failed)
    }
}

struct Rig {
    pool: Pool,
    metrics: Metrics,
    seen: mpsc::Receiver<Vec<u8>>,
    gate: mpsc::Sender<Verdict>,
}

/// One thread, and at most one more.
fn rig() -> Rig {
    let (seen_sender, seen) = mpsc::sync_channel(100);
    let (gate, gate_receiver) = mpsc::channel();
    let engine = Arc::new(Gated { seen: seen_sender, gate: Mutex::new(gate_receiver) });
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let threads = ThreadCount { regular: 1, most: 2 };
    let pool = Pool::start(engine, &Settings::default(), threads, metrics.clone()).unwrap();
    Rig { pool, metrics, seen, gate }
}

impl Rig {
    fn submit(&self, text: &str, priority: Priority) -> Option<watch::Receiver<Option<ScanReport>>> {
        let due = Instant::now() + Duration::from_secs(60);
        match self.pool.submit(key(text), body(text), priority, due) {
            Submitted::Begun(report) | Submitted::Joined(report) => Some(report),
            Submitted::Known(_) | Submitted::TurnedAway => None,
        }
    }

    /// Waits until the engine has this message's raw item.
    fn engine_has(&self, text: &str) {
        let item = self.seen.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(item, message(text));
    }

    /// Lets the raw item pass, which is the only one that an infected message has scanned.
    fn answer(&self) {
        self.gate.send(Verdict::Infected { threat: "T".into() }).unwrap();
    }
}

fn message(text: &str) -> Vec<u8> {
    format!("Subject: {text}\r\n\r\n{text}").into_bytes()
}

fn body(text: &str) -> Body {
    Body::Memory(Bytes::from(message(text)))
}

fn key(text: &str) -> JobKey {
    let stamp = Stamp::new(EngineIdentity::new("gated", "1").unwrap(), super::super::POLICY_VERSION);
    JobKey { content: *blake3::hash(&message(text)).as_bytes(), stamp, forgiven: Vec::new() }
}

#[test]
fn high_goes_before_low_and_a_second_waiter_promotes() {
    let rig = rig();
    let _busy = rig.submit("busy", Priority::Low).unwrap();
    rig.engine_has("busy");
    let _first = rig.submit("low", Priority::Low).unwrap();
    let _second = rig.submit("touched", Priority::Low).unwrap();
    let _third = rig.submit("high", Priority::High).unwrap();
    let _reader = rig.submit("touched", Priority::High).unwrap();
    assert_eq!(rig.metrics.queue_length.get(), 3);
    for expected in ["high", "touched", "low"] {
        rig.answer();
        rig.engine_has(expected);
    }
    assert_eq!(rig.metrics.queue_length.get(), 0);
    assert_eq!(rig.metrics.remembered.get(), 1);
}

#[test]
fn the_same_content_is_scanned_once_for_all_who_wait() {
    let rig = rig();
    let one = rig.submit("same", Priority::High).unwrap();
    let two = rig.submit("same", Priority::Low).unwrap();
    rig.engine_has("same");
    rig.answer();
    // The next message shows that the thread has finished the first.
    let _next = rig.submit("next", Priority::High).unwrap();
    rig.engine_has("next");
    let report = one.borrow().clone().unwrap();
    assert_eq!(report.verdict, Verdict::Infected { threat: "T".into() });
    assert_eq!(*two.borrow(), Some(report));
    assert_eq!(rig.metrics.messages.get(), 1);
    assert!(matches!(
        rig.pool.submit(key("same"), body("same"), Priority::Low, Instant::now()),
        Submitted::Known(_)
    ));
}

#[test]
fn a_message_nobody_waits_for_is_not_scanned() {
    let rig = rig();
    let _busy = rig.submit("busy", Priority::High).unwrap();
    rig.engine_has("busy");
    drop(rig.submit("cancelled", Priority::High).unwrap());
    drop(rig.submit("gave up", Priority::High).unwrap());
    rig.pool.waiter_left(&key("gave up"));
    // Who leaves at his deadline takes his message along; a dropped one is passed over when its turn comes.
    assert_eq!(rig.metrics.queue_length.get(), 1);
    let _last = rig.submit("last", Priority::Low).unwrap();
    rig.answer();
    rig.engine_has("last");
    assert_eq!(rig.metrics.queue_length.get(), 0);
}

#[test]
fn a_stuck_thread_is_counted_and_replaced_and_leaves_when_it_comes_back() {
    let rig = rig();
    let stuck = rig.submit("stuck", Priority::High).unwrap();
    rig.engine_has("stuck");
    drop(stuck);
    rig.pool.waiter_left(&key("stuck"));
    rig.pool.waiter_left(&key("stuck"));
    assert_eq!(rig.metrics.threads_overdue.get(), 1);

    // The first thread is still held, so this is the second.
    let next = rig.submit("next", Priority::High).unwrap();
    rig.engine_has("next");
    rig.answer();
    rig.answer();
    wait_until(|| next.borrow().is_some());
    wait_until(|| rig.metrics.threads_overdue.get() == 0);
    wait_until(|| rig.pool.shared.lock().live_threads == 1);
}

#[test]
fn when_too_many_wait_the_next_is_turned_away() {
    let rig = rig();
    let waiting: Vec<_> =
        (0..JOBS_MAX).filter_map(|number| rig.submit(&number.to_string(), Priority::High)).collect();
    assert_eq!(waiting.len(), JOBS_MAX);
    assert!(rig.submit("one more", Priority::High).is_none());
    assert_eq!(rig.metrics.turned_away.get(), 1);
    // Joining costs nothing.
    assert!(rig.submit("5", Priority::High).is_some());
}

#[test]
fn few_wait_at_low_priority_and_who_is_promoted_makes_room() {
    let rig = rig();
    let _busy = rig.submit("busy", Priority::High).unwrap();
    rig.engine_has("busy");
    let _waiting: Vec<_> =
        (0..LOW_WAITING_MAX).map(|number| rig.submit(&number.to_string(), Priority::Low).unwrap()).collect();
    assert!(rig.submit("one more", Priority::Low).is_none());
    assert_eq!(rig.metrics.turned_away.get(), 1);
    let _reader = rig.submit("7", Priority::High).unwrap();
    assert!(rig.submit("one more", Priority::Low).is_some());
    assert!(rig.submit("urgent", Priority::High).is_some(), "high has room of its own");
}

/// An engine that an item brings down, and its stand-in, which finds nothing.
#[derive(Default)]
struct Fragile {
    is_down: std::sync::atomic::AtomicBool,
}

impl Engine for Fragile {
    fn identity(&self) -> EngineIdentity {
        let is_down = self.is_down.load(std::sync::atomic::Ordering::SeqCst);
        EngineIdentity::new(if is_down { "other" } else { "main" }, "1").unwrap()
    }

    fn scan(&self, _: &[u8], _: Instant) -> Verdict {
        let was_down = self.is_down.swap(true, std::sync::atomic::Ordering::SeqCst);
        if was_down { Verdict::Clean } else { Verdict::Failed }
    }
}

#[test]
fn what_brings_an_engine_down_is_not_cleared_by_its_stand_in() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let threads = ThreadCount { regular: 1, most: 2 };
    let engine = Arc::new(Fragile::default());
    let pool = Pool::start(engine, &Settings::default(), threads, metrics).unwrap();
    let due = Instant::now() + Duration::from_secs(60);
    let Submitted::Begun(report) = pool.submit(key("x"), body("x"), Priority::High, due) else {
        panic!("nothing is known of it")
    };
    wait_until(|| report.borrow().is_some());
    assert_eq!(report.borrow().as_ref().unwrap().verdict, Verdict::Failed);
}

/// For what another thread does a moment later and tells nobody.
fn wait_until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < patience, "it never happened");
        std::thread::yield_now();
    }
}
