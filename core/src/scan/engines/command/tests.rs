//! Against a helper of our own that does what an item tells it. The real one is among the tests of the binary.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use prometheus::Registry;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use super::wire::Answer;
use super::*;
use crate::scan::{Metrics, Obstacle, Verdict};

/// How many processes there would have been, at most at once and all together.
#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
    items: AtomicUsize,
}

fn start(processes: usize) -> (Arc<dyn Engine>, Arc<Counts>) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    thread::spawn(move || serve(&theirs, &counted));
    let settings = Settings {
        outside: OutsideSettings {
            name: "fake".to_owned(),
            timeout: Duration::from_secs(2),
            retry_delay: Duration::from_secs(1),
        },
        helper: Helper::from(ours),
        processes,
        item_octets_max: 1_000,
        message_octets: 1_000,
    };
    let metrics = Metrics::register(&Registry::new()).unwrap().engine("fake");
    (super::start(&settings, Log::discarding(), metrics).unwrap(), counts)
}

fn serve(control: &OwnedFd, counts: &Arc<Counts>) {
    loop {
        let mut octets = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut buffer = RecvAncillaryBuffer::new(&mut space);
        let packet =
            recvmsg(control, &mut [IoSliceMut::new(&mut octets)], &mut buffer, RecvFlags::empty()).unwrap();
        let passed = buffer.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let Some(session) = passed.filter(|_| packet.bytes > 0 && octets[0] == wire::OPEN) else { return };
        let counts = Arc::clone(counts);
        thread::spawn(move || answer(UnixStream::from(session), &counts));
    }
}

fn answer(mut session: UnixStream, counts: &Counts) {
    let mut kind = [0];
    while session.read_exact(&mut kind).is_ok() {
        if kind[0] == wire::VERSION {
            Answer::Version("7".to_owned()).write_to(&mut session).unwrap();
            continue;
        }
        let mut length = [0; 8];
        session.read_exact(&mut length).unwrap();
        let mut item = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()];
        session.read_exact(&mut item).unwrap();
        counts.items.fetch_add(1, Ordering::SeqCst);
        let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(10));
        counts.now.fetch_sub(1, Ordering::SeqCst);
        let said = match item.as_slice() {
            b"virus" => Answer::Infected("stdin: A Virus FOUND".to_owned()),
            b"error" => Answer::Failed("exit code 2".to_owned()),
            b"version" => Answer::Version("8".to_owned()),
            b"nonsense" => {
                session.write_all(b"nonsense").unwrap();
                return;
            }
            b"hang" => {
                let _ = session.read(&mut kind);
                return;
            }
            b"die" => return,
            _ => Answer::Clean,
        };
        let _ = said.write_to(&mut session);
        return;
    }
}

fn patient() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn each_answer_has_its_verdict_and_none_is_clean_by_mistake() {
    let (engine, counts) = start(2);
    assert_eq!(engine.identity().signatures(), "7");
    assert_eq!(engine.scan(b"plain", patient()), Verdict::Clean);
    let found = Verdict::Infected { threat: "stdin__A_Virus_FOUND".to_owned() };
    assert_eq!(engine.scan(b"virus", patient()), found);
    for item in [&b"error"[..], b"version", b"nonsense"] {
        assert_eq!(engine.scan(item, patient()), Verdict::Failed, "{item:?}");
        assert_eq!(engine.scan(b"plain", patient()), Verdict::Clean);
    }
    let before = counts.items.load(Ordering::SeqCst);
    assert_eq!(engine.scan(b"die", patient()), Verdict::Failed);
    assert_eq!(
        counts.items.load(Ordering::SeqCst),
        before + 1,
        "what kills a process is not given to others"
    );
    let too_large = Verdict::Unscannable { reason: Obstacle::EngineLimit };
    assert_eq!(engine.scan(&[b'x'; 1_001], patient()), too_large);
}

#[test]
fn one_that_hangs_costs_its_time_and_no_more() {
    let (engine, _) = start(1);
    let started = Instant::now();
    let soon = started + Duration::from_millis(200);
    assert_eq!(engine.scan(b"hang", soon), Verdict::TimedOut);
    assert_eq!(engine.scan(b"hang", patient()), Verdict::Failed, "after its own 2 s");
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(engine.scan(b"plain", patient()), Verdict::Clean);
}

#[test]
fn no_more_items_are_with_the_helper_than_it_may_have() {
    let (engine, counts) = start(2);
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let engine = &engine;
            scope.spawn(move || assert_eq!(engine.scan(&[number], patient()), Verdict::Clean));
        }
    });
    assert_eq!(counts.items.load(Ordering::SeqCst), 8);
    assert!(counts.most.load(Ordering::SeqCst) <= 2);
}

#[test]
fn an_engine_whose_helper_has_ended_is_given_up() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let helper = Helper::from(ours);
    let shared = Shared::new(helper, 1, 1_000);
    drop(theirs);
    let error = CommandSession::open(&shared, patient()).unwrap_err();
    assert!(matches!(&error, CallError::Unreachable(why) if why.contains("a restart")), "{error:?}");
    assert!(matches!(shared.scan(b"x", patient()), Err(CallError::Unreachable(_))));
}
