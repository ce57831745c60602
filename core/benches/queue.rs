//! What the queue does in a second, empty and with a million mails in it, and what a mail costs.
//!
//! `cargo bench -p gatepost-core --bench queue -- [messages] [folder]` accepts mails of 4 KiB from 20 sessions into a
//! fresh queue on a real disk, fills it up, accepts again, has workers try mails in vain, ends, and starts again with a
//! cold cache. It takes 5 GiB of space for a million mails. The folder should lie on the disk that is to be measured.
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
use gatepost_core::queue::{NewMessage, Outcome, Queue, Settings};
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
    let folder =
        arguments.get(1).map_or_else(|| own.path().join("queue"), |text| PathBuf::from(text).join("queue"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill(&folder, messages));
    drop_cache(&folder);
    let itself = std::env::current_exe().unwrap();
    let ended = Command::new(itself).arg(RECOVER).arg(&folder).status().unwrap();
    assert!(ended.success());
    fs::remove_dir_all(&folder).unwrap();
}

async fn fill(folder: &Path, messages: usize) {
    let (queue, _) = open(folder);
    let empty = accept(&queue, SAMPLE).await;
    println!("accepted into an empty queue          {empty:>10.0} mails/s");
    let start = Instant::now();
    accept(&queue, messages.saturating_sub(2 * SAMPLE)).await;
    println!("filled up to {:>9} mails in       {:>10.1} s", queue.len(), start.elapsed().as_secs_f64());
    let full = accept(&queue, SAMPLE).await;
    println!(
        "accepted with {:>9} mails waiting {full:>10.0} mails/s ({:.2} of empty)",
        queue.len(),
        full / empty
    );
    let stats = queue.stats().await;
    println!("flushes a mail                        {:>10.3}", stats.flushes as f64 / stats.appended as f64);
    let start = Instant::now();
    let tried = SAMPLE.min(messages / 2);
    try_in_vain(&queue, tried).await;
    println!(
        "attempts recorded                     {:>10.0} mails/s",
        tried as f64 / start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    assert_eq!(queue.stats().await.messages, queue.len());
    println!("figures gathered in                   {:>10.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
    queue.close().await;
}

/// Mails a second.
async fn accept(queue: &Queue, count: usize) -> f64 {
    let start = Instant::now();
    let left = Arc::new(AtomicUsize::new(count));
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| (queue.clone(), Arc::clone(&left)))
        .map(|(queue, left)| {
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    queue.append(mail(&queue)).await.unwrap();
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

async fn try_in_vain(queue: &Queue, count: usize) {
    let left = Arc::new(AtomicUsize::new(count));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| (queue.clone(), Arc::clone(&left)))
        .map(|(queue, left)| {
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let claim = queue.claim().await.unwrap();
                    let not_before_ms = claim.message.submission.origin.received_at_ms + 900_000;
                    let outcome = Outcome::Retry { reason: "4.4.1 no answer".to_owned(), not_before_ms };
                    queue.settle(claim, vec![(0, outcome)]).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// In a process of its own, so that its memory is the queue's.
fn recover(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let before = resident();
        let start = Instant::now();
        let (queue, recovered) = open(folder);
        let took = start.elapsed();
        let octets = resident().saturating_sub(before);
        println!(
            "ready again with a cold cache in      {:>10.2} s ({} mails, {} segments)",
            took.as_secs_f64(),
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
const SESSIONS: usize = 20;
const WORKERS: usize = 16;
static BODY: [u8; 4096] = [b'x'; 4096];
