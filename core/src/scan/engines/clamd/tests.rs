//! Against a clamd of our own that does what an item tells it. The real one is among the tests of the binary.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::scan::{EngineIdentity, Metrics, Obstacle, Reload, Verdict};

/// Items that hold one of these words: `virus`, `hang`, `die`, `nonsense`, `endless`, `error`, `update` (the signatures change
/// meanwhile), `twice` (two answers).
struct Fake {
    folder: TempDir,
    state: Arc<FakeState>,
}

struct FakeState {
    version: Mutex<String>,
    connections: AtomicUsize,
    largest: AtomicUsize,
    /// The next session that has an item is closed instead.
    close_next: AtomicBool,
}

impl Fake {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(FakeState {
            version: Mutex::new("1.0/1/then".to_owned()),
            connections: AtomicUsize::new(0),
            largest: AtomicUsize::new(10_000_000),
            close_next: AtomicBool::new(false),
        });
        let fake = Self { folder, state };
        fake.listen();
        fake
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("clamd.sock")
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                state.connections.fetch_add(1, Ordering::SeqCst);
                let stream = stream.unwrap();
                thread::spawn(move || {
                    let _ = serve(&stream, &state);
                    // Readers see the end at once, as of a process that died.
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
    }

    fn settings(&self) -> Settings {
        Settings {
            outside: OutsideSettings {
                name: "clamd".into(),
                timeout: Duration::from_secs(20),
                retry_delay: Duration::from_millis(50),
            },
            address: Address::Unix(self.path()),
            message_octets: 1_000_000,
        }
    }

    fn engine(&self) -> Arc<Outside<Clamd>> {
        let metrics = Metrics::register(&Registry::new()).unwrap().engine("clamd");
        start_outside(&self.settings(), Log::discarding(), metrics).unwrap()
    }
}

fn serve(mut stream: &UnixStream, state: &FakeState) -> io::Result<()> {
    let mut number = 0;
    loop {
        let command = read_command(stream)?;
        if command == "zIDSESSION" {
            continue;
        }
        number += 1;
        let answer = match command.as_str() {
            "zVERSION" => format!("ClamAV {}", state.version.lock().unwrap()),
            "zINSTREAM" if state.close_next.swap(false, Ordering::SeqCst) => return Ok(()),
            "zINSTREAM" => {
                let Some(item) = read_item(stream, state)? else {
                    return stream
                        .write_all(format!("{number}: INSTREAM size limit exceeded. ERROR\0").as_bytes());
                };
                let says = |word: &str| memchr::memmem::find(&item, word.as_bytes()).is_some();
                if says("hang") {
                    thread::sleep(Duration::from_secs(60));
                }
                if says("die") {
                    return Ok(());
                }
                if says("endless") {
                    loop {
                        stream.write_all(&[b'x'; 1000])?;
                    }
                }
                if says("update") {
                    *state.version.lock().unwrap() = "1.0/2/now".to_owned();
                }
                if says("twice") {
                    stream.write_all(format!("{number}: stream: OK\0").as_bytes())?;
                }
                let word = match () {
                    () if says("virus") => "stream: Fake.Virus FOUND",
                    () if says("nonsense") => "stream: PERHAPS",
                    () if says("error") => "stream: no space ERROR",
                    () => "stream: OK",
                };
                word.to_owned()
            }
            _ => "UNKNOWN COMMAND".to_owned(),
        };
        stream.write_all(format!("{number}: {answer}\0").as_bytes())?;
    }
}

fn read_command(mut stream: &UnixStream) -> io::Result<String> {
    let mut command = Vec::new();
    loop {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        match octet {
            [0] => return Ok(String::from_utf8(command).unwrap()),
            [octet] => command.push(octet),
        }
    }
}

fn read_item(mut stream: &UnixStream, state: &FakeState) -> io::Result<Option<Vec<u8>>> {
    let mut item = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            return Ok(Some(item));
        }
        if item.len() + length > state.largest.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let start = item.len();
        item.resize(start + length, 0);
        stream.read_exact(&mut item[start..])?;
    }
}

fn patient() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn wait_until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < patience, "it never happened");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn verdicts_come_over_one_connection_and_the_version_is_the_identity() {
    let fake = Fake::start();
    let engine = fake.engine();
    assert_eq!(engine.identity(), EngineIdentity::new("clamd", "1.0-1-then").unwrap());
    let before = fake.state.connections.load(Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(engine.scan(b"", patient()), Verdict::Clean);
        assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean);
        let infected = Verdict::Infected { threat: "Fake.Virus".into() };
        assert_eq!(engine.scan(b"a virus", patient()), infected);
    }
    assert_eq!(fake.state.connections.load(Ordering::SeqCst), before);
}

#[test]
fn a_large_item_arrives_whole() {
    let fake = Fake::start();
    let engine = fake.engine();
    let mut item = vec![b'x'; 5_000_000];
    assert_eq!(engine.scan(&item, patient()), Verdict::Clean);
    item.extend_from_slice(b"virus");
    assert!(matches!(engine.scan(&item, patient()), Verdict::Infected { .. }));
}

#[test]
fn what_is_larger_than_clamd_takes_is_beyond_its_limits_and_clamd_goes_on() {
    let fake = Fake::start();
    let engine = fake.engine();
    fake.state.largest.store(1_000, Ordering::SeqCst);
    for octets in [1_001, 3_000_000] {
        let beyond = Verdict::Unscannable { reason: Obstacle::EngineLimit };
        assert_eq!(engine.scan(&vec![b'x'; octets], patient()), beyond, "{octets}");
    }
    assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean);
}

#[test]
fn new_signatures_during_a_scan_show_in_the_identity_at_once() {
    let fake = Fake::start();
    let engine = fake.engine();
    let before = engine.identity();
    assert_eq!(engine.scan(b"update", patient()), Verdict::Clean);
    assert_ne!(engine.identity(), before);
    *fake.state.version.lock().unwrap() = "1.0/3/later".to_owned();
    assert_eq!(engine.reload(), Reload::Replaced);
    assert_eq!(engine.reload(), Reload::Unchanged);
}

#[test]
fn whatever_an_item_makes_of_clamd_is_a_failure_and_never_clean() {
    let fake = Fake::start();
    let engine = fake.engine();
    for item in ["die", "nonsense", "endless", "error", "twice"] {
        assert_eq!(engine.scan(item.as_bytes(), patient()), Verdict::Failed, "{item}");
        assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean, "after {item}");
    }
}

#[test]
fn a_clamd_that_hangs_costs_the_waiter_his_time_and_an_item_its_own() {
    let fake = Fake::start();
    let engine = fake.engine();
    let began = Instant::now();
    assert_eq!(engine.scan(b"hang", Instant::now() + Duration::from_millis(200)), Verdict::TimedOut);
    let mut hasty = fake.settings();
    hasty.outside.timeout = Duration::from_millis(200);
    let metrics = Metrics::register(&Registry::new()).unwrap().engine("clamd");
    let hasty = start(&hasty, Log::discarding(), metrics).unwrap();
    assert_eq!(hasty.scan(b"hang", patient()), Verdict::Failed);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn neither_impatient_waiters_nor_bad_items_switch_clamd_off() {
    let fake = Fake::start();
    let engine = fake.engine();
    for _ in 0..5 {
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(engine.scan(b"hang", soon), Verdict::TimedOut);
        assert!(engine.is_available());
    }
    for _ in 0..5 {
        assert_eq!(engine.scan(b"nonsense", patient()), Verdict::Failed);
        assert!(engine.is_available());
    }
    assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean);
}

#[test]
fn a_clamd_that_is_gone_is_not_asked_and_found_again() {
    let fake = Fake::start();
    let engine = fake.engine();
    std::fs::remove_file(fake.path()).unwrap();
    // The session that lies idle dies with the item; a new one is refused.
    assert_eq!(engine.scan(b"die", patient()), Verdict::Failed);
    assert!(!engine.is_available());
    assert_eq!(engine.scan(b"hello", patient()), Verdict::Failed);
    fake.listen();
    wait_until(|| engine.is_available());
    assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean);
}

#[test]
fn a_session_that_clamd_has_closed_is_replaced_without_a_failure() {
    let fake = Fake::start();
    let engine = fake.engine();
    for _ in 0..5 {
        fake.state.close_next.store(true, Ordering::SeqCst);
        assert_eq!(engine.scan(b"hello", patient()), Verdict::Clean);
        assert!(!fake.state.close_next.load(Ordering::SeqCst), "a session was closed");
    }
}

#[test]
fn one_that_is_not_there_yet_is_found_later() {
    let fake = Fake::start();
    std::fs::rename(fake.path(), fake.folder.path().join("away")).unwrap();
    let engine = fake.engine();
    assert_eq!(engine.identity().signatures(), "unknown");
    assert_eq!(engine.scan(b"hello", patient()), Verdict::Failed);
    std::fs::rename(fake.folder.path().join("away"), fake.path()).unwrap();
    wait_until(|| engine.is_available());
    assert_eq!(engine.identity().signatures(), "1.0-1-then");
}

#[test]
fn a_limit_below_the_largest_mail_is_noticed_when_clamd_is_loaded() {
    let fake = Fake::start();
    let refuses = |octets| {
        let (session, _) = ClamdSession::open(&Address::Unix(fake.path()), patient()).unwrap();
        session.refuses_size(octets, soon(Duration::from_millis(200)))
    };
    assert_eq!(refuses(10_000_001), Ok(true));
    assert_eq!(refuses(10_000_000), Ok(false));
}
