//! The queue as its users see it: with its threads, on a real and on a simulated disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatepost_core::clock::now_ms;
use gatepost_core::delivery::Disposition;
use gatepost_core::disk::{Disk, Fault, RealDisk, SimulatedDisk};
use gatepost_core::intake::{Body, BodyBuffer, Origin, Submission};
use gatepost_core::memory::MemoryBudget;
use gatepost_core::queue::{
    AppendError, Claim, Lane, Metrics, NewMessage, Outcome, Queue, Quota, Quotas, Recovered, Settings, Turn,
};
use gatepost_smtp::server::{BodySink as _, Envelope, Recipient};
use gatepost_smtp::wire::params::{MailParams, RcptParams};

const NO_QUOTA: Quota = Quota { messages: None, octets: None };
const SMALL: Settings = Settings {
    segment_octets: 64 * 1024,
    free_octets_min: 0,
    free_files_min: 0,
    quotas: Quotas { user: NO_QUOTA, domain: NO_QUOTA },
    clock_back_ms: 0,
};

fn open(disk: &SimulatedDisk) -> (Queue, Recovered) {
    Queue::open(Arc::new(disk.clone()), Path::new("/queue"), SMALL, None).unwrap()
}

fn mail(queue: &Queue, recipients: usize, body: Body) -> NewMessage {
    let recipient = |number| Recipient {
        path: format!("<r{number}@example.org>").parse().unwrap(),
        params: RcptParams::default(),
    };
    let envelope = Envelope {
        reverse_path: "<me@example.com>".parse().unwrap(),
        params: MailParams::default(),
        recipients: (0..recipients).map(recipient).collect(),
    };
    let origin = Origin {
        session: "S1".to_owned(),
        listener: "mx".to_owned(),
        peer: "192.0.2.1:25".parse().unwrap(),
        helo: "example.com".to_owned(),
        esmtp: true,
        tls: None,
        user: None,
        received_at_ms: 1,
    };
    let submission = Submission::new(envelope, origin);
    NewMessage { id: queue.allocate_id(), submission, trace: b"Received: x\r\n".to_vec(), body, stamp: None }
}

fn text(octets: &'static str) -> Body {
    Body::Memory(Bytes::from_static(octets.as_bytes()))
}

fn delivered(claim: &Claim) -> Vec<(usize, Outcome)> {
    claim.pending.iter().map(|recipient| (*recipient, Outcome::Done(Disposition::Delivered))).collect()
}

async fn nothing_is_due(queue: &Queue) -> bool {
    tokio::time::timeout(Duration::from_millis(30), queue.claim()).await.is_err()
}

#[tokio::test]
async fn a_mail_survives_a_restart_and_its_removal_does_too() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("queue");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (queue, recovered) = Queue::open(Arc::clone(&disk), &path, SMALL, None).unwrap();
    assert_eq!(recovered, Recovered::default());
    let id = queue.append(mail(&queue, 2, text("hello\r\n"))).await.unwrap();
    queue.close().await;

    let (queue, recovered) = Queue::open(Arc::clone(&disk), &path, SMALL, None).unwrap();
    assert_eq!((recovered.messages, recovered.torn_octets, recovered.corrupt_records), (1, 0, 0));
    let claim = queue.claim().await.unwrap();
    assert_eq!((claim.id, claim.pending.clone(), claim.attempts), (id, vec![0, 1], 0));
    assert_eq!(claim.message.body.read().unwrap(), "hello\r\n");
    queue.settle(claim, vec![(1, Outcome::Done(Disposition::Delivered))]).await.unwrap();
    let claim = queue.claim().await.unwrap();
    assert_eq!((claim.pending.clone(), claim.attempts), (vec![0], 1));
    let outcomes = delivered(&claim);
    queue.settle(claim, outcomes).await.unwrap();
    assert!(queue.is_empty());
    queue.close().await;

    let (queue, recovered) = Queue::open(disk, &path, SMALL, None).unwrap();
    assert_eq!((recovered.messages, recovered.corrupt_records), (0, 0));
    assert!(queue.allocate_id() > id);
}

#[tokio::test]
async fn what_the_scanner_deletes_is_gone_with_the_record_of_it() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    queue.append(mail(&queue, 1, text("X5O!"))).await.unwrap();
    let claim = queue.claim().await.unwrap();
    let deleted = Disposition::DeletedByPolicy { threat: "Eicar".to_owned() };
    queue.settle(claim, vec![(0, Outcome::Done(deleted))]).await.unwrap();
    // No clean end: the power goes right behind the answer.
    disk.crash(1);
    assert_eq!(open(&disk).1.messages, 0);
}

#[tokio::test]
async fn a_dropped_claim_is_due_again_at_once() {
    let (queue, _) = open(&SimulatedDisk::new());
    let id = queue.append(mail(&queue, 1, text("x"))).await.unwrap();
    for _ in 0..3 {
        let claim = queue.claim().await.unwrap();
        assert_eq!((claim.id, claim.attempts), (id, 0));
        assert!(nothing_is_due(&queue).await, "one worker has it");
    }
}

#[tokio::test]
async fn a_backlog_for_other_servers_does_not_stand_before_mail_for_mailboxes_here() {
    let (queue, _) = open(&SimulatedDisk::new());
    queue.sort_by(|domain| if domain == "here.example" { Lane::Local } else { Lane::Remote });
    for _ in 0..100 {
        queue.append(mail(&queue, 1, text("x"))).await.unwrap();
    }
    let mut local = mail(&queue, 1, text("x"));
    local.submission.envelope.recipients[0].path = "<me@HERE.example>".parse().unwrap();
    let local = queue.append(local).await.unwrap();
    let first = [queue.claim().await.unwrap(), queue.claim().await.unwrap()];
    assert_eq!(first.iter().filter(|claim| claim.id == local).count(), 1);

    // Nobody has room for the others, until somebody says so.
    let has_room = Arc::new(AtomicBool::new(false));
    let (waiting, room) = (queue.clone(), Arc::clone(&has_room));
    let mut waiting = tokio::spawn(async move {
        waiting.claim_where(|lane| lane == Lane::Local || room.load(Ordering::Relaxed)).await
    });
    assert!(tokio::time::timeout(Duration::from_millis(30), &mut waiting).await.is_err());
    has_room.store(true, Ordering::Relaxed);
    queue.look_again();
    assert!(waiting.await.unwrap().is_some());
}

#[tokio::test]
async fn a_turn_that_was_missed_is_kept_but_is_no_attempt() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    queue.append(mail(&queue, 1, text("x"))).await.unwrap();
    let later = |not_before_ms| Outcome::Retry { reason: "4.4.1 left alone".to_owned(), not_before_ms };
    for (turn, attempts) in [(Turn::Taken, 1), (Turn::Missed, 1), (Turn::Taken, 2)] {
        let claim = queue.claim().await.unwrap();
        queue.settle_with(claim, turn, vec![(0, later(1))], Vec::new()).await.unwrap();
        assert_eq!(queue.list().await[0].attempts, attempts);
    }
    let claim = queue.claim().await.unwrap();
    queue.settle_with(claim, Turn::Missed, vec![(0, later(u64::MAX))], Vec::new()).await.unwrap();
    queue.close().await;
    let (queue, _) = open(&disk);
    let summary = queue.list().await.remove(0);
    assert_eq!((summary.attempts, summary.last_reason.as_deref()), (2, Some("4.4.1 left alone")));
    assert_eq!(queue.stats().await.deferred, 1);
    assert!(nothing_is_due(&queue).await);
}

#[tokio::test]
async fn a_retry_is_not_due_before_its_time_even_over_a_restart() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    queue.append(mail(&queue, 2, text("x"))).await.unwrap();
    let claim = queue.claim().await.unwrap();
    let later = Outcome::Retry { reason: "4.2.2 mailbox full".to_owned(), not_before_ms: u64::MAX };
    queue.settle(claim, vec![(0, later), (1, Outcome::Done(Disposition::Delivered))]).await.unwrap();
    assert!(nothing_is_due(&queue).await);
    queue.close().await;
    let (queue, recovered) = open(&disk);
    assert_eq!(recovered.messages, 1);
    assert!(nothing_is_due(&queue).await);
    let summary = queue.list().await.remove(0);
    assert_eq!(summary.last_reason.as_deref(), Some("4.2.2 mailbox full"));
    assert_eq!(
        (summary.attempts, summary.recipients[0].pending, summary.recipients[1].pending),
        (1, true, false)
    );
}

#[tokio::test]
async fn a_retry_follows_a_clock_that_was_set_back_over_a_restart() {
    const DAYS: u64 = 3 * 24 * 60 * 60 * 1_000;
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    queue.append(mail(&queue, 1, text("x"))).await.unwrap();
    let claim = queue.claim().await.unwrap();
    // An hour later, by a clock that is three days ahead of the one to come.
    let not_before_ms = now_ms() + 3_600_000;
    let outcomes = vec![(0, Outcome::Retry { reason: "4.2.0 busy".to_owned(), not_before_ms })];
    queue.settle(claim, outcomes).await.unwrap();
    queue.close().await;
    for (clock_back_ms, due) in [(0, false), (1_800_000, false), (DAYS, true)] {
        let settings = Settings { clock_back_ms, ..SMALL };
        let (queue, _) = Queue::open(Arc::new(disk.clone()), Path::new("/queue"), settings, None).unwrap();
        let listed_ms = queue.list().await[0].not_before_ms;
        assert_eq!(listed_ms, not_before_ms.saturating_sub(clock_back_ms));
        assert_eq!(nothing_is_due(&queue).await, !due, "{clock_back_ms}");
        queue.close().await;
    }
}

#[tokio::test]
async fn a_time_that_a_wrong_clock_has_written_is_not_waited_for() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    queue.append(mail(&queue, 1, text("x"))).await.unwrap();
    let claim = queue.claim().await.unwrap();
    let outcomes = vec![(0, Outcome::Retry { reason: "4.2.0 busy".to_owned(), not_before_ms: u64::MAX })];
    queue.settle(claim, outcomes).await.unwrap();
    let soon = || now_ms()..now_ms() + 600_000;
    assert!(soon().contains(&queue.list().await[0].not_before_ms));
    queue.close().await;
    let (queue, _) = open(&disk);
    assert!(soon().contains(&queue.list().await[0].not_before_ms));
    assert!(nothing_is_due(&queue).await, "a start has other things to do at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_share_a_flush_and_many_workers_share_the_mail() {
    let disk = SimulatedDisk::new();
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let (queue, _) = Queue::open(Arc::new(disk.clone()), Path::new("/queue"), SMALL, Some(metrics)).unwrap();
    let before = disk.flushes();
    let work: Vec<_> = (0..400)
        .map(|_| mail(&queue, 1, text("x")))
        .map(|mail| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.append(mail).await })
        })
        .collect();
    for done in work {
        done.await.unwrap().unwrap();
    }
    assert!(disk.flushes() - before < 300, "{} flushes for 400 mails", disk.flushes() - before);
    let workers: Vec<_> = (0..8)
        .map(|_| queue.clone())
        .map(|queue| {
            tokio::spawn(async move {
                let mut settled = 0;
                while let Some(claim) = queue.claim().await {
                    let outcomes = delivered(&claim);
                    queue.settle(claim, outcomes).await.unwrap();
                    settled += 1;
                    if queue.is_empty() {
                        queue.close().await;
                    }
                }
                settled
            })
        })
        .collect();
    let mut settled = 0;
    for worker in workers {
        settled += worker.await.unwrap();
    }
    assert_eq!(settled, 400);
    let appended = registry
        .gather()
        .into_iter()
        .find(|family| family.name() == "gatepost_queue_appended_total")
        .unwrap();
    assert!((appended.get_metric()[0].get_counter().get_value() - 400.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_large_body_lies_in_a_file_until_it_is_delivered() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    let files = || disk.list(Path::new("/queue/bodies")).unwrap().len();
    let mut buffer = BodyBuffer::new(queue.spool(), MemoryBudget::default());
    for _ in 0..20 {
        buffer.put(&[b'x'; 50_000]);
        buffer.settle().await.unwrap();
    }
    let body = buffer.finish().await.unwrap();
    queue.append(mail(&queue, 1, body)).await.unwrap();
    queue.close().await;
    drop(queue);
    disk.crash(3);

    let (queue, recovered) = open(&disk);
    assert_eq!((recovered.messages, files()), (1, 1));
    let claim = queue.claim().await.unwrap();
    assert_eq!(claim.message.body.read().unwrap(), vec![b'x'; 1_000_000]);
    let outcomes = delivered(&claim);
    queue.settle(claim, outcomes).await.unwrap();
    for _ in 0..100 {
        if files() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the file of a delivered mail stays");
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_recovers_by_itself() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    let first = queue.append(mail(&queue, 1, text("first"))).await.unwrap();
    // The segment in use and the one ahead of it are all there is.
    disk.set_capacity(Some(2 * 64 * 1024));
    let large = Body::Memory(vec![1; 30_000].into());
    let mut taken = 1;
    let refused = loop {
        match queue.append(mail(&queue, 1, large.clone())).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10);
    };
    assert_eq!(refused, AppendError::Full);
    let claim = queue.claim().await.unwrap();
    assert_eq!(claim.id, first);
    let outcomes = delivered(&claim);
    queue.settle(claim, outcomes).await.expect("what is in can be settled");
    disk.set_capacity(None);
    queue.append(mail(&queue, 1, large)).await.unwrap();
    assert_eq!(queue.len(), taken);
}

#[tokio::test]
async fn a_queue_says_whether_it_has_room_before_it_is_given_a_mail() {
    for (capacity, is_full) in [(400_000, true), (900_000, false)] {
        let disk = SimulatedDisk::new();
        disk.set_capacity(Some(capacity));
        let settings =
            Settings { segment_octets: 64 * 1024, free_octets_min: 500_000, ..Settings::default() };
        let (queue, _) = Queue::open(Arc::new(disk.clone()), Path::new("/queue"), settings, None).unwrap();
        assert_eq!(queue.is_full(), is_full);
        assert_eq!(queue.append(mail(&queue, 1, text("a mail"))).await.is_err(), is_full);
    }
}

#[tokio::test]
async fn a_failed_flush_accepts_nothing_until_a_fresh_segment_flushes() {
    let disk = SimulatedDisk::new();
    let (queue, _) = open(&disk);
    let kept = queue.append(mail(&queue, 1, text("kept"))).await.unwrap();
    // The thread that makes the next segment calls the disk as well: it has to be done.
    let mut calls = disk.calls();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if disk.calls() == calls {
            break;
        }
        calls = disk.calls();
    }
    disk.fail_nth(calls + 2, Fault::Io);
    assert_eq!(queue.append(mail(&queue, 1, text("lost"))).await, Err(AppendError::Failed));
    let again = queue.append(mail(&queue, 1, text("again"))).await.unwrap();
    queue.close().await;
    disk.crash(9);
    let (queue, recovered) = open(&disk);
    assert_eq!(recovered.corrupt_records, 0);
    let ids: Vec<_> = queue.list().await.into_iter().map(|summary| summary.id).collect();
    assert_eq!(ids, [kept, again]);
}

#[tokio::test]
async fn a_closed_queue_says_so_to_all() {
    let (queue, _) = open(&SimulatedDisk::new());
    let waiting: Vec<_> = (0..5)
        .map(|_| queue.clone())
        .map(|queue| tokio::spawn(async move { queue.claim().await.is_none() }))
        .collect();
    tokio::task::yield_now().await;
    queue.close().await;
    for worker in waiting {
        assert!(worker.await.unwrap());
    }
    assert_eq!(queue.append(mail(&queue, 1, text("x"))).await, Err(AppendError::Closed));
    queue.close().await;
}

#[tokio::test]
async fn the_queue_can_be_looked_at_beside_a_running_server() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let nothing = Queue::inspect(Arc::clone(&disk), &root.path().join("none")).unwrap();
    assert!(nothing.list().is_empty());
    assert!(!root.path().join("none").exists());
    let (queue, _) = Queue::open(
        Arc::clone(&disk),
        root.path(),
        Settings { free_octets_min: 0, ..Settings::default() },
        None,
    )
    .unwrap();
    let id = queue.append(mail(&queue, 1, text("hello"))).await.unwrap();
    let snapshot = Queue::inspect(disk, root.path()).unwrap();
    let summary = snapshot.list().remove(0);
    assert_eq!((summary.id, summary.octets, summary.sender.as_str()), (id, 5, "<me@example.com>"));
    let details = snapshot.show(id).unwrap();
    assert_eq!(details.trace, b"Received: x\r\n");
    assert_eq!(queue.show(id).await.unwrap().summary, summary);
}
