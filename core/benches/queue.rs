//! What the queue does in a second, empty and with a million mails in it, and what a mail costs.
//!
//! `cargo bench -p gatepost-core --bench queue -- [messages] [folder]` fills a fresh queue on a real disk with mails of 4
//! KiB from 20 sessions; then fills samples, in turns, into it and into an empty one beside it; frees the mails, has workers
//! try some in vain, ends, and starts again with a cold cache in a process of its own. It takes 6 GiB of space for a million
//! mails. The folder should lie on the disk that is to be measured.
//!
//! While mails come in they are held, as nobody is to take them out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatepost_core::disk::RealDisk;
use gatepost_core::intake::{Body, Origin, Submission};
use gatepost_core::queue::{NewMessage, Outcome, Queue, Selection, Settings};
use gatepost_smtp::server::{Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use rustix::fs::Advice;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| text != "--bench").collect();
    if let [mode, folder] = &arguments[..]
        && mode == RECOVER
    {
        return recover(Path::new(folder));
    }
    let messages = arguments.first().map_or(MESSAGES_DEFAULT, |text| text.parse().expect("a number"));
    let own = tempfile::tempdir().unwrap();
    let folder = arguments.get(1).map_or_else(|| own.path().to_owned(), PathBuf::from);
    let (full, empty) = (folder.join("queue"), folder.join("empty"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill(&full, &empty, messages));
    drop(runtime);
    drop_cache(&full);
    let itself = std::env::current_exe().unwrap();
    let ended = Command::new(itself).arg(RECOVER).arg(&full).status().unwrap();
    assert!(ended.success());
    fs::remove_dir_all(&full).unwrap();
}

async fn fill(full: &Path, empty: &Path, messages: usize) {
    let queue = open_held(full).await;
    let filled = measured(&queue, SESSIONS, messages, accept).await;
    println!("filled up to {:>9} mails in       {:>10.1} s", queue.len(), filled.seconds);
    compare(&queue, empty).await;
    let stats = queue.stats().await;
    println!("flushes a mail                        {:>10.3}", stats.flushes as f64 / stats.appended as f64);
    let start = Instant::now();
    assert_eq!(queue.stats().await.messages, queue.len());
    println!("figures gathered in                   {:>10.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
    let start = Instant::now();
    queue.thaw(&Selection::default()).await.unwrap();
    println!("all freed in                          {:>10.1} s", start.elapsed().as_secs_f64());
    let tried = measured(&queue, WORKERS, SAMPLE.min(messages / 2), try_in_vain).await;
    println!(
        "attempts recorded                     {:>10.0} mails/s ({:.0} us each)",
        tried.rate(),
        tried.cost()
    );
    queue.close().await;
}

/// Samples in turns, since a machine is not the same from one minute to the next.
async fn compare(full: &Queue, folder: &Path) {
    let (mut ratios, mut rates, mut costs) = (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..ROUNDS {
        let empty = open_held(folder).await;
        let mut samples = [None, None];
        for turn in 0..2 {
            let which = (round + turn) % 2;
            samples[which] = Some(measured([&empty, full][which], SESSIONS, SAMPLE, accept).await);
        }
        let samples = samples.map(Option::unwrap);
        ratios.push(samples[1].rate() / samples[0].rate());
        for which in 0..2 {
            rates[which].push(samples[which].rate());
            costs[which].push(samples[which].cost());
        }
        empty.close().await;
        drop(empty);
        fs::remove_dir_all(folder).unwrap();
    }
    let [empty, full] = rates.map(median);
    let [empty_cost, full_cost] = costs.map(median);
    println!("accepted into an empty queue          {empty:>10.0} mails/s ({empty_cost:.1} us of CPU each)");
    println!("accepted into the full queue          {full:>10.0} mails/s ({full_cost:.1} us of CPU each)");
    let (least, most) =
        ratios.iter().fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
    println!(
        "full to empty, {ROUNDS} pairs                {:>10.2} ({least:.2} to {most:.2})",
        median(ratios)
    );
}

async fn accept(queue: Queue) {
    queue.append(mail(&queue)).await.unwrap();
}

async fn try_in_vain(queue: Queue) {
    let claim = queue.claim().await.unwrap();
    let not_before_ms = claim.message.submission.origin.received_at_ms + 900_000;
    let outcome = Outcome::Retry { reason: "4.4.1 no answer".to_owned(), not_before_ms };
    queue.settle(claim, vec![(0, outcome)]).await.unwrap();
}

/// What some work has taken.
struct Measured {
    count: usize,
    seconds: f64,
    cpu_seconds: f64,
}

// === impl Measured ===

impl Measured {
    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Microseconds of CPU.
    fn cost(&self) -> f64 {
        self.cpu_seconds * 1_000_000.0 / self.count as f64
    }
}

/// Does something so many times, on so many tasks at once.
async fn measured<F, Fut>(queue: &Queue, tasks: usize, count: usize, work: F) -> Measured
where
    F: Fn(Queue) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (start, cpu_before) = (Instant::now(), cpu_seconds());
    let left = Arc::new(AtomicUsize::new(count));
    let spawn = |_| {
        let (queue, left) = (queue.clone(), Arc::clone(&left));
        let take =
            move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        tokio::spawn(async move {
            while take().is_ok() {
                work(queue.clone()).await;
            }
        })
    };
    for task in (0..tasks).map(spawn).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    Measured { count, seconds: start.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu_before }
}

/// In a process of its own, so that its memory is the queue's.
fn recover(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (before, cpu_before) = (resident(), cpu_seconds());
        let start = Instant::now();
        let (queue, recovered) = open(folder);
        let took = start.elapsed();
        let octets = resident().saturating_sub(before);
        println!(
            "ready again with a cold cache in      {:>10.2} s ({:.2} s of CPU; {} mails, {} segments)",
            took.as_secs_f64(),
            cpu_seconds() - cpu_before,
            recovered.messages,
            recovered.segments
        );
        println!(
            "memory a mail                         {:>10} octets",
            octets / recovered.messages.max(1) as u64
        );
        let claimed = tokio::time::timeout(Duration::from_secs(10), queue.claim()).await;
        assert!(claimed.is_ok_and(|claim| claim.is_some()), "the first mail is due");
        queue.close().await;
    });
}

fn open(folder: &Path) -> (Queue, gatepost_core::queue::Recovered) {
    Queue::open(Arc::new(RealDisk), folder, Settings::default(), None).unwrap()
}

async fn open_held(folder: &Path) -> Queue {
    let (queue, _) = open(folder);
    queue.hold(&Selection::default()).await.unwrap();
    queue
}

fn mail(queue: &Queue) -> NewMessage {
    let id = queue.allocate_id();
    // A thousand domains, as a busy outbound queue has.
    let address = format!("<somebody@d{}.example.org>", id.0 % 1_000);
    let recipient = Recipient { path: address.parse().unwrap(), params: RcptParams::default() };
    let envelope = Envelope {
        reverse_path: "<newsletter@example.com>".parse().unwrap(),
        params: MailParams::default(),
        recipients: vec![recipient],
    };
    let origin = Origin {
        session: "1M829761E0000".to_owned(),
        listener: "submission".to_owned(),
        peer: "192.0.2.7:4711".parse().unwrap(),
        helo: "client.example.com".to_owned(),
        esmtp: true,
        tls: None,
        user: Some("newsletter@example.com".to_owned()),
        received_at_ms: id.0 >> 20,
    };
    let trace = b"Received: from client.example.com (192.0.2.7) by mx.example.org\r\n".to_vec();
    let body = Body::Memory(Bytes::from_static(&BODY));
    NewMessage { id, submission: Submission::new(envelope, origin), trace, body, stamp: None }
}

/// Octets of memory that this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// What all threads of this process have used up, user and system.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Has the kernel forget what it keeps of the files.
fn drop_cache(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = fs::File::open(path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

const RECOVER: &str = "recover";
const MESSAGES_DEFAULT: usize = 1_000_000;
/// Accepted for a rate.
const SAMPLE: usize = 20_000;
/// Samples of each of two queues.
const ROUNDS: usize = 7;
/// Of Linux, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
const SESSIONS: usize = 20;
const WORKERS: usize = 16;
static BODY: [u8; 4096] = [b'x'; 4096];
