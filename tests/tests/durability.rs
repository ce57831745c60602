//! 250 means durable: through kill -9, a full disk and flushes that fail.

use std::fs;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::fault::Fault;
use gatepost_tests::server::Server;
use gatepost_tests::setup::{Setup, can_mount};
use gatepost_tests::smtp::Smtp;
use gatepost_tests::{mail, wait_until};

/// 1,000 mails from eight clients at a time; the server is killed in the middle of it, again and again. No mail is sent a
/// second time, so each may be there once at the most, and each that got 250 must be there.
#[test]
fn kill_9_during_a_load_of_1000_mails_loses_none_that_got_250() {
    let mut server = Setup::new().sections("[limits]\ntransactions = 1000").start();
    let ledger = Ledger::default();
    let (port, trust, me) = (server.ports.starttls, server.trust(), server.me().clone());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while ledger.taken.load(Ordering::Relaxed) < MAILS {
                    match Smtp::try_open(port, trust.clone(), &me) {
                        Ok(mut smtp) => ledger.send_until_the_server_vanishes(&mut smtp),
                        Err(_) => thread::sleep(Duration::from_millis(20)),
                    }
                }
            });
        }
        for share in [1, 3, 5, 7, 9] {
            ledger.wait_for(MAILS * share / 10);
            server.kill();
            server.restart();
        }
    });
    // Once more while the rest is on its way into the mailbox.
    server.kill();
    server.restart();
    server.wait_for_empty_queue();

    let acknowledged = ledger.acknowledged.into_inner().expect("no client panicked");
    assert!(acknowledged.len() >= MAILS * 9 / 10, "{} of {MAILS} mails got 250", acknowledged.len());
    let mut pop3 = server.pop3_as(server.me());
    let mut copies = vec![0; MAILS];
    for number in 1..=pop3.count() {
        let stored = pop3.multi(&format!("RETR {number}"));
        let subject = mail::field(&stored, "Subject").expect("a subject");
        let which: usize =
            subject.strip_prefix("load-").and_then(|which| which.parse().ok()).expect("our subject");
        mail::assert_same_octets(mail::below_trace(&stored), &mail_of_the_load(which));
        copies[which] += 1;
    }
    pop3.quit();
    let lost: Vec<usize> = acknowledged.iter().copied().filter(|&which| copies[which] == 0).collect();
    let doubled: Vec<usize> = (0..MAILS).filter(|&which| copies[which] > 1).collect();
    assert_eq!((lost, doubled), (vec![], vec![]), "lost and doubled mails");
}

/// What the clients know.
#[derive(Debug, Default)]
struct Ledger {
    taken: AtomicUsize,
    acknowledged: Mutex<Vec<usize>>,
}

// === impl Ledger ===

impl Ledger {
    fn send_until_the_server_vanishes(&self, smtp: &mut Smtp) {
        loop {
            let which = self.taken.fetch_add(1, Ordering::Relaxed);
            if which >= MAILS {
                return;
            }
            match smtp.try_mail("me@localhost", "me@localhost", &mail_of_the_load(which)) {
                Ok(reply) if reply.code == 250 => self.acknowledged.lock().expect("no panic").push(which),
                // Refused, or never answered: then it may be there or not, and is not sent again.
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn wait_for(&self, count: usize) {
        let start = Instant::now();
        while self.taken.load(Ordering::Relaxed) < count {
            assert!(start.elapsed() < Duration::from_secs(100), "the load does not get on");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Most are small; every twentieth goes to a file of its own.
fn mail_of_the_load(which: usize) -> Vec<u8> {
    let octets = if which.is_multiple_of(20) { 300 * 1024 } else { 500 + which * 7 % 4000 };
    mail::large(&format!("load-{which}"), octets)
}

const MAILS: usize = 1_000;
const CLIENTS: usize = 8;

#[test]
fn a_full_disk_is_answered_452_and_recovers_by_itself() {
    if !can_mount() {
        eprintln!("SKIPPED: this machine does not let a test mount a small file system");
        return;
    }
    let server = Setup::new().on_tmpfs("300m").start();
    let filler = server.inner_data().join("filler");
    let mut smtp = server.smtp_as_me();
    let content = mail::large("before", 100_000);
    smtp.mail("me@localhost", &["me@localhost"], &content).must("250 2.0.0");
    let _ = server.inbox(1);

    fill(&filler);
    // Segments are made ahead of time: their room may be used up first.
    let large = mail::large("full", 1_000_000);
    let mut accepted = 1;
    let refusal = loop {
        let reply = smtp.try_mail("me@localhost", "me@localhost", &large).expect("the session goes on");
        if reply.code != 250 {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 300, "more mail than the disk can hold");
    };
    refusal.must("452 4.3.1");
    assert_eq!(server.http("/healthz").0, 200, "a full disk is no reason to die");

    fs::remove_file(&filler).expect("the filler can be removed");
    let start = Instant::now();
    loop {
        let mut smtp = server.smtp_as_me();
        let reply = smtp.try_mail("me@localhost", "me@localhost", &content).expect("the server answers");
        if reply.code == 250 {
            break;
        }
        assert!((400..500).contains(&reply.code), "{reply:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "no recovery: {reply:?}");
        thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(server.inbox(accepted + 1).len(), accepted + 1, "nothing that got 250 is lost");
}

/// Long before the last octet, so that the rest has room for this.
#[test]
fn that_the_disk_gets_full_and_has_room_again_is_told_once_each() {
    if !can_mount() {
        eprintln!("SKIPPED: this machine does not let a test mount a small file system");
        return;
    }
    let server = Setup::new().on_tmpfs("400m").start();
    let filler = server.inner_data().join("filler");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("before")).must("250 2.0.0");
    smtp.quit();
    for turn in 1..=2 {
        let free = rustix::fs::statvfs(server.inner_data()).expect("a file system");
        let filling = (free.f_bavail * free.f_frsize).saturating_sub(60 << 20);
        fs::write(&filler, vec![0; usize::try_from(filling).expect("a size")])
            .expect("the filler can be written");
        wait_until("it is told", || told(&server).len() == 2 * turn - 1);
        let mut smtp = server.smtp_as_me();
        for _ in 0..3 {
            let refused = smtp.try_mail("me@localhost", "me@localhost", &mail::small("refused"));
            refused.expect("the session goes on").must("452 4.3.1");
        }
        fs::remove_file(&filler).expect("the filler can be removed");
        wait_until("the end is told", || told(&server).len() == 2 * turn);
        smtp.mail("me@localhost", &["me@localhost"], &mail::small("taken")).must("250 2.0.0");
    }
    assert_eq!(told(&server), ["refusing: full", "accepting", "refusing: full", "accepting"]);
    assert_eq!(server.inbox(3).len(), 3);
}

/// What the event log says of the queue's taking mail.
fn told(server: &Server) -> Vec<String> {
    let events = server.events(&["queue.refusing", "queue.accepting"]).into_iter();
    let told = events.map(|event| match event["reason"].as_str() {
        Some(reason) => format!("refusing: {reason}"),
        None => "accepting".to_owned(),
    });
    told.collect()
}

/// Fills the file system to its last octet.
fn fill(path: &std::path::Path) {
    let mut file = fs::File::create(path).expect("the filler can be made");
    let mut block = vec![0; 1 << 20];
    while !block.is_empty() {
        if file.write(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn a_flush_that_fails_is_answered_451_and_the_next_segment_takes_over() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    let before = mail::small("before");
    smtp.mail("me@localhost", &["me@localhost"], &before).must("250 2.0.0");
    let _ = server.inbox(1);

    let Some(fault) = Fault::inject(&server, FLUSHES, "error=EIO") else { return };
    let refused = mail::small("refused");
    smtp.try_mail("me@localhost", "me@localhost", &refused).expect("a reply").must("451 4.3.0");
    fault.end();

    let after = mail::small("after");
    let start = Instant::now();
    while smtp.try_mail("me@localhost", "me@localhost", &after).expect("a reply").code != 250 {
        assert!(start.elapsed() < Duration::from_secs(30), "the stop is not lifted");
        thread::sleep(Duration::from_millis(100));
        smtp = server.smtp_as_me();
    }
    let subjects =
        server.inbox(2).iter().filter_map(|stored| mail::field(stored, "Subject")).collect::<Vec<_>>();
    assert_eq!(subjects, ["before", "after"], "what was refused must not turn up");
    wait_until("both are told", || told(&server) == ["refusing: failed", "accepting"]);
}

#[test]
fn the_reply_250_waits_for_the_flush() {
    let server = Server::start();
    let mut smtp = server.smtp_as_me();
    let Some(fault) = Fault::inject(&server, FLUSHES, "delay_enter=700000") else { return };
    smtp.begin_data("me@localhost", &["me@localhost"]);
    let start = Instant::now();
    smtp.send(b"Subject: slow disk\r\n\r\nx\r\n.\r\n");
    smtp.reply().must("250 2.0.0");
    let waited = start.elapsed();
    fault.end();
    assert!(waited >= Duration::from_millis(700), "250 after {waited:?}, before the flush was done");
}

const FLUSHES: &str = "fdatasync,fsync";
