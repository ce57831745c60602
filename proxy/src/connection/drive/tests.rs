//! The driver with a machine of a few words, on a pipe, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatepost_core::BoxFuture;
use gatepost_smtp::server::{CloseReason, TlsFacts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::testing::Recorder;
use crate::tls::Proof;

/// Answers each octet by itself: `a` at once, `f` after a fast question, `s` after a slow one, `t` wants TLS, `q` closes,
/// `b` sends a lot, `d` begins a body that does not end, `x` is never taken.
struct Letters {
    steps: std::collections::VecDeque<Step<Duration>>,
    started_at: Instant,
    is_in_body: bool,
}

fn closing(reason: CloseReason) -> Step<Duration> {
    Step::Close(Ending::Smtp(reason))
}

impl Letters {
    fn new() -> Self {
        Self { steps: std::collections::VecDeque::new(), started_at: now(), is_in_body: false }
    }

    fn say(&mut self, text: &'static [u8]) {
        self.steps.push_back(Step::Send(Bytes::from_static(text)));
    }
}

impl Machine for Letters {
    type Question = Duration;

    fn feed(&mut self, _now: Instant, octets: &[u8]) -> usize {
        match octets[0] {
            _ if self.is_in_body => {}
            b'd' => self.is_in_body = true,
            b'a' => self.say(b"A"),
            b'f' => self.steps.push_back(Step::Ask(Duration::ZERO)),
            b's' => self.steps.push_back(Step::Ask(Duration::from_secs(9))),
            b't' => self.steps.push_back(Step::Upgrade),
            b'q' => {
                self.say(b"bye");
                self.steps.push_back(closing(CloseReason::Quit));
            }
            b'b' => self.say(&[b'B'; 1000]),
            _ => return 0,
        }
        1
    }

    fn settle(&mut self) -> Option<BoxFuture<'_, ()>> {
        None
    }

    fn poll(&mut self) -> Option<Step<Duration>> {
        self.steps.pop_front()
    }

    fn resolve(&mut self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !duration.is_zero() {
                tokio::time::sleep(duration).await;
            }
            self.say(if duration.is_zero() { b"F" } else { b"S" });
        })
    }

    fn tick(&mut self, _now: Instant) {
        self.steps.push_back(closing(CloseReason::TimedOut));
    }

    fn body_rate_min(&self) -> Option<u64> {
        self.is_in_body.then_some(500)
    }

    fn too_slow(&mut self, _now: Instant) {
        self.say(b"slow");
        self.steps.push_back(closing(CloseReason::TimedOut));
    }

    fn eof(&mut self, _now: Instant) {
        self.steps.push_back(closing(CloseReason::PeerClosed));
    }

    fn shutdown(&mut self, _now: Instant) {
        self.say(b"down");
        self.steps.push_back(closing(CloseReason::Shutdown));
    }

    fn displaced(&self) -> String {
        "room".to_owned()
    }

    fn deadline(&self) -> Instant {
        self.started_at + Duration::from_secs(300)
    }

    fn into_secured(self, _facts: TlsFacts, _proof: Proof, _now: Instant) -> Self {
        self
    }
}

/// A driver that runs by itself, and its peer.
struct Scene {
    peer: DuplexStream,
    writes: Arc<Mutex<Vec<String>>>,
    phase: watch::Sender<Phase>,
    stop: tokio::task::JoinHandle<Stop>,
}

fn scene(pipe_octets: usize) -> Scene {
    let (mut stream, peer, writes) = Recorder::pipe(pipe_octets);
    let (phase, mut seen) = watch::channel(Phase::Serve);
    let stop = tokio::spawn(async move {
        let (mut machine, mut ledger, pool) = (Letters::new(), Ledger::default(), Pool::default());
        let mut woken = seen.clone();
        let driver = Driver::new(&mut stream, &mut machine, &mut ledger, &pool, &mut seen);
        tokio::select! {
            stop = driver.run() => stop,
            () = async { while woken.changed().await.is_ok() {} std::future::pending().await } => unreachable!(),
        }
    });
    Scene { peer, writes, phase, stop }
}

impl Scene {
    async fn ending(self) -> Ending {
        match self.stop.await.unwrap() {
            Stop::Closed(ending) => ending,
            Stop::Upgrade => panic!("an upgrade"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_replies_of_a_pipelined_group_leave_in_one_write() {
    let mut scene = scene(1024);
    scene.peer.write_all(b"aafaq").await.unwrap();
    let writes = Arc::clone(&scene.writes);
    assert_eq!(scene.ending().await, Ending::Smtp(CloseReason::Quit));
    assert_eq!(*writes.lock().unwrap(), ["AAFAbye"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_hold_earlier_replies_back() {
    let mut scene = scene(1024);
    scene.peer.write_all(b"aas").await.unwrap();
    let mut replies = [0; 2];
    let asked_at = now();
    scene.peer.read_exact(&mut replies).await.unwrap();
    assert_eq!(now(), asked_at, "they came before the answer did");
    scene.peer.write_all(b"q").await.unwrap();
    let writes = Arc::clone(&scene.writes);
    scene.ending().await;
    assert_eq!(*writes.lock().unwrap(), ["AA", "S", "bye"]);
}

#[tokio::test(start_paused = true)]
async fn many_replies_are_not_hoarded() {
    let mut scene = scene(1024 * 1024);
    scene.peer.write_all(&[b'b'; 100]).await.unwrap();
    scene.peer.write_all(b"q").await.unwrap();
    let writes = Arc::clone(&scene.writes);
    scene.ending().await;
    let writes = writes.lock().unwrap();
    assert!(writes.len() > 1);
    assert!(writes.iter().all(|write| write.len() < REPLY_OCTETS_HELD_MAX + 1000));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up() {
    let mut scene = scene(64);
    scene.peer.write_all(b"b").await.unwrap();
    let started_at = now();
    let Scene { peer: _peer, stop, phase: _phase, .. } = scene;
    assert!(matches!(stop.await.unwrap(), Stop::Closed(Ending::NotReading)));
    assert_eq!(now() - started_at, Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_meets_the_deadline() {
    let Scene { peer: _peer, stop, phase: _phase, .. } = scene(64);
    let started_at = now();
    assert!(matches!(stop.await.unwrap(), Stop::Closed(Ending::Smtp(CloseReason::TimedOut))));
    assert_eq!((now() - started_at).as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_is_noticed() {
    let Scene { peer, stop, phase: _phase, .. } = scene(64);
    drop(peer);
    assert!(matches!(stop.await.unwrap(), Stop::Closed(Ending::Smtp(CloseReason::PeerClosed))));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_told_of_the_shutdown() {
    let mut scene = scene(64);
    tokio::task::yield_now().await;
    scene.phase.send_replace(Phase::Drain);
    let mut reply = [0; 4];
    scene.peer.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"down");
    assert_eq!(scene.ending().await, Ending::Smtp(CloseReason::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_is_told_of_the_shutdown() {
    let mut scene = scene(64);
    scene.peer.write_all(b"s").await.unwrap();
    tokio::task::yield_now().await;
    scene.phase.send_replace(Phase::Drain);
    let writes = Arc::clone(&scene.writes);
    assert_eq!(scene.ending().await, Ending::Smtp(CloseReason::Shutdown));
    assert_eq!(*writes.lock().unwrap(), ["Sdown"], "the answer under way came first");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_stops_the_plaintext_driver() {
    let mut scene = scene(64);
    scene.peer.write_all(b"at").await.unwrap();
    let writes = Arc::clone(&scene.writes);
    assert!(matches!(scene.stop.await.unwrap(), Stop::Upgrade));
    assert_eq!(*writes.lock().unwrap(), ["A"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_takes_nothing_and_says_nothing_is_stopped() {
    let mut scene = scene(64);
    scene.peer.write_all(b"x").await.unwrap();
    assert_eq!(scene.ending().await, Ending::Stalled);
}

#[tokio::test(start_paused = true)]
async fn the_last_reply_arrives_although_octets_are_still_coming() {
    let (mut stream, mut peer) = tokio::io::duplex(64);
    let parting = tokio::spawn(async move {
        stream.write_all(b"bye").await.unwrap();
        transmit::farewell(&mut stream, &Pool::default()).await;
    });
    peer.write_all(&[b'x'; 500]).await.unwrap();
    let mut told = String::new();
    peer.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "bye");
    let started_at = now();
    parting.await.unwrap();
    assert_eq!(now() - started_at, Duration::from_secs(5), "a peer that stays is not waited for");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_said_quit_is_not_waited_for() {
    let (mut stream, mut peer) = tokio::io::duplex(64);
    peer.write_all(&[b'x'; 64]).await.unwrap();
    stream.write_all(b"bye").await.unwrap();
    let started_at = now();
    transmit::quick_farewell(&mut stream, &Pool::default()).await;
    assert_eq!(now(), started_at);
    // What had come was read: there is room for more of it.
    peer.write_all(&[b'x'; 64]).await.unwrap();
    let mut told = String::new();
    peer.read_to_string(&mut told).await.unwrap();
    assert_eq!(told, "bye");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dribbles_is_given_up_after_a_minute() {
    let Scene { mut peer, stop, phase: _phase, .. } = scene(64);
    let started_at = now();
    peer.write_all(b"d").await.unwrap();
    while !stop.is_finished() {
        // A peer that was given up on is gone.
        let _ = peer.write_all(b".").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((60..=62).contains(&(now() - started_at).as_secs()));
    assert!(matches!(stop.await.unwrap(), Stop::Closed(Ending::Smtp(CloseReason::TimedOut))));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_given_up_without_another_octet() {
    let Scene { mut peer, stop, phase: _phase, .. } = scene(64);
    let started_at = now();
    peer.write_all(b"d").await.unwrap();
    assert!(matches!(stop.await.unwrap(), Stop::Closed(Ending::Smtp(CloseReason::TimedOut))));
    assert_eq!((now() - started_at).as_secs(), 60);
}
