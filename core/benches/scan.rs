//! What a slow engine costs: nothing, for content that it has seen.
//!
//! `cargo bench -p gatepost-core --bench scan -- [mails]` scans mails with an engine that takes 50 ms a call, and mails that
//! differ but for their attachment (10,000 unless said otherwise), under two versions of its signatures and with a restart in the
//! middle. Told is what the restart took: to write what the engine has said, and to read it; and what it takes where all is
//! remembered that can be, with the longest that anybody who asks meanwhile has to wait.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatepost_core::disk::RealDisk;
use gatepost_core::intake::Body;
use gatepost_core::scan::{
    Engine, EngineIdentity, EnginePolicy, Ensemble, Metrics, Priority, ScanReport, Scanner, SealKey,
    Settings, Verdict, VerdictFolder,
};
use prometheus::Registry;

/// Takes its time for items with the attachment's mark, or for all, and none for others.
struct Slow {
    signatures: Mutex<&'static str>,
    is_slow_for_all: bool,
    calls: AtomicU64,
    calls_with_mark: AtomicUsize,
}

impl Engine for Slow {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("slow", *self.signatures.lock().unwrap()).unwrap()
    }

    fn scan(&self, item: &[u8], _: Instant) -> Verdict {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let is_attachment = item.starts_with(MARK);
        if is_attachment {
            self.calls_with_mark.fetch_add(1, Ordering::Relaxed);
        }
        if is_attachment || self.is_slow_for_all {
            thread::sleep(CALL);
        }
        Verdict::Clean
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let mails = arguments.next().map_or(MAILS_DEFAULT, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(seen_content());
    runtime.block_on(one_attachment(mails));
    runtime.block_on(restart(mails));
    full_file();
}

/// The same mails twice: the second time none of them waits for the engine.
async fn seen_content() {
    let (scanner, _engine) = scanner(true);
    let bodies: Vec<Body> = (0..SEEN).map(|number| mail(number, 20 * 1024)).collect();
    let first = Instant::now();
    all(&scanner, &bodies).await;
    println!(
        "{SEEN} mails, seen for the first time    {:>10.1} ms each",
        millis(first.elapsed()) / SEEN as f64
    );
    let mut times = Vec::new();
    for body in &bodies {
        let start = Instant::now();
        assert_eq!(scan(&scanner, body).await.verdict, Verdict::Clean);
        times.push(millis(start.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{SEEN} mails, seen before                {median:>10.3} ms each, the slowest {slowest:.3} ms");
    assert!(median < 1.0, "content that was seen before is accepted within a millisecond");
}

/// Different mails with one attachment.
async fn one_attachment(mails: usize) {
    let (scanner, engine) = scanner(false);
    for (signatures, calls) in [("1", 1), ("2", 2)] {
        *engine.signatures.lock().unwrap() = signatures;
        let start = Instant::now();
        for first in (0..mails).step_by(AT_ONCE) {
            let some = (first..mails.min(first + AT_ONCE)).map(|number| mail(number, 64 * 1024));
            all(&scanner, &some.collect::<Vec<_>>()).await;
        }
        let found = engine.calls_with_mark.load(Ordering::Relaxed);
        println!(
            "{mails} mails with one attachment       {:>10.0} mails/s, {found} calls for it under {calls} signature versions",
            mails as f64 / start.elapsed().as_secs_f64()
        );
        assert_eq!(found, calls, "an attachment is given to the engine once for each version");
    }
}

/// As `one_attachment`, under one version, with another process for the second half.
async fn restart(mails: usize) {
    let home = tempfile::tempdir().unwrap();
    let folder = VerdictFolder::new(Arc::new(RealDisk), home.path(), SealKey::default());
    let mut calls = 0;
    for half in [0..mails / 2, mails / 2..mails] {
        let start = Instant::now();
        let (scanner, engine, ensemble) = scanner_with(false, Some(&folder));
        let (kept, read) = (ensemble.status()[0].kept, millis(start.elapsed()));
        for first in half.clone().step_by(AT_ONCE) {
            let some = (first..half.end.min(first + AT_ONCE)).map(|number| mail(number, 64 * 1024));
            all(&scanner, &some.collect::<Vec<_>>()).await;
        }
        calls += engine.calls_with_mark.load(Ordering::Relaxed);
        let start = Instant::now();
        ensemble.keep();
        let (written, took) = (ensemble.status()[0].kept, millis(start.elapsed()));
        println!(
            "{} mails more: {calls} calls so far; {kept} verdicts read in {read:.1} ms, {written} written in {took:.1} ms",
            half.len()
        );
    }
    assert_eq!(calls, 1, "a restart costs no call");
}

/// More items than are remembered, and who asks for one of them while the file is written.
fn full_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = VerdictFolder::new(Arc::new(RealDisk), home.path(), SealKey::default());
    let (_, _, ensemble) = scanner_with(false, Some(&folder));
    let ask = |number: u32| {
        let start = Instant::now();
        assert_eq!(ensemble.scan(&number.to_le_bytes(), start + CALL), Verdict::Clean);
        start.elapsed()
    };
    for number in 0..MORE_THAN_REMEMBERED {
        ask(number);
    }
    let mut longest = Duration::ZERO;
    let wrote = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let start = Instant::now();
            ensemble.keep();
            start.elapsed()
        });
        while !writing.is_finished() {
            longest = longest.max(ask(MORE_THAN_REMEMBERED - 1));
        }
        writing.join().unwrap()
    });
    let octets = std::fs::metadata(home.path().join("slow.verdicts")).unwrap().len();
    let start = Instant::now();
    let (_, _, next) = scanner_with(false, Some(&folder));
    println!(
        "{} verdicts in {octets} octets: written in {:.1} ms, nobody waited longer than {:.1} ms; read in {:.1} ms",
        next.status()[0].kept,
        millis(wrote),
        millis(longest),
        millis(start.elapsed())
    );
}

async fn all(scanner: &Scanner, bodies: &[Body]) {
    let mut scans = tokio::task::JoinSet::new();
    for body in bodies {
        let (scanner, body) = (scanner.clone(), body.clone());
        scans.spawn(async move { scan(&scanner, &body).await.verdict });
    }
    while let Some(verdict) = scans.join_next().await {
        assert_eq!(verdict.unwrap(), Verdict::Clean);
    }
}

async fn scan(scanner: &Scanner, body: &Body) -> ScanReport {
    scanner.scan(body.clone(), Priority::High, Duration::from_secs(300)).await
}

fn scanner(is_slow_for_all: bool) -> (Scanner, Arc<Slow>) {
    let (scanner, engine, _) = scanner_with(is_slow_for_all, None);
    (scanner, engine)
}

fn scanner_with(
    is_slow_for_all: bool,
    kept_in: Option<&VerdictFolder>,
) -> (Scanner, Arc<Slow>, Arc<Ensemble>) {
    let engine = Arc::new(Slow {
        signatures: Mutex::new("1"),
        is_slow_for_all,
        calls: AtomicU64::new(0),
        calls_with_mark: AtomicUsize::new(0),
    });
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let ensemble = Ensemble::new(EnginePolicy::Any).with("slow", engine.clone(), metrics.engine("slow"));
    let ensemble = Arc::new(match kept_in {
        Some(folder) => ensemble.keeping_in(folder),
        None => ensemble,
    });
    let scanner = Scanner::start(ensemble.clone(), &Settings::default(), metrics).unwrap();
    (scanner, engine, ensemble)
}

/// A mail of its own with the attachment of all.
fn mail(number: usize, attachment: usize) -> Body {
    let mut text = format!(
        "From: a@example.org\r\nSubject: {number}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\n\r\nmail {number}\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    text.extend_from_slice(MARK);
    text.resize(text.len() + attachment, b'x');
    text.extend_from_slice(b"\r\n--b--\r\n");
    Body::Memory(Bytes::from(text))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

const MARK: &[u8] = b"the attachment of all";
/// Three generations of what an engine has said, of which two are remembered.
const MORE_THAN_REMEMBERED: u32 = 172_032;
const CALL: Duration = Duration::from_millis(50);
const SEEN: usize = 100;
const MAILS_DEFAULT: usize = 10_000;
/// Below what the scanner lets wait.
const AT_ONCE: usize = 500;
