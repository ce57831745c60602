//! More than ten thousand attackers from 240 networks, and one user who wants to send mail meanwhile.
//!
//! `siege` runs it four times: with the limits by network and without, each with listeners that have room for all attackers and
//! with the default ones, which have not. It fails where a mail takes too long or the server outgrows its memory budget. Then
//! it measures what idle sessions cost. Use it with a release build:
//! `GATEPOST_BINARY=target/release/gatepost cargo run --release --bin siege`. Each run ends within a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use gatepost_tests::attackers::Attackers;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::trust;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;

fn main() {
    raise_open_files();
    let off =
        "[admission.rules]\nconnections = \"off\"\nconnection_rate = \"off\"\nhandshake_rate = \"off\"\n";
    siege("limits by network on, room for all", "", ROOM_FOR_ALL, 0);
    siege("limits by network off, room for all", off, ROOM_FOR_ALL, OPEN_MIN);
    siege("limits by network on, default places", "", "", 0);
    siege("limits by network off, default places", off, "", 0);
    idle();
}

/// The attackers come, the user sends, and what it took him is printed.
fn siege(name: &str, rules: &str, listener_keys: &str, open_min: usize) {
    let admission = format!(
        "[limits]\nmemory = \"{BUDGET_MIB} MiB\"\nbody_memory = \"{} MiB\"\n\
         [admission]\ntrusted = []\nconnection_rate = 600\nhandshake_rate = 600\nmessage_rate = 6000\n{rules}",
        BUDGET_MIB / 2,
    );
    let server = Setup::new()
        .open_listener()
        .log_level("error")
        .listener_keys(listener_keys)
        .sections(&admission)
        .start();
    let trust = trust::only(&server.certificate());
    // The user is known from before: a place from which nobody has ever logged in is a stranger's.
    send(&server, &trust);

    let is_over = Arc::new(AtomicBool::new(false));
    let (open, begun, closed) = (Arc::default(), Arc::default(), Arc::default());
    let mut attackers = Attackers::new(ATTACKERS, NETWORKS, &server.ports, &trust);
    let attack = {
        let is_over = Arc::clone(&is_over);
        let numbers: [Arc<AtomicU64>; 3] = [Arc::clone(&open), Arc::clone(&begun), Arc::clone(&closed)];
        thread::spawn(move || {
            let [open, begun, closed] = numbers;
            while !is_over.load(Ordering::Relaxed) {
                attackers.step();
                open.fetch_max(attackers.open() as u64, Ordering::Relaxed);
                begun.store(attackers.connections, Ordering::Relaxed);
                closed.store(attackers.closed, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        })
    };
    thread::sleep(RAMP);
    let (mut taken, started_at) = (Vec::new(), Instant::now());
    while started_at.elapsed() < MEASURED {
        taken.push(send(&server, &trust));
        thread::sleep(Duration::from_millis(20));
    }
    let memory = status(server.pid(), "VmHWM");
    let sessions = server.metric("gatepost_edge_sessions_open");
    let drawn = server.metric("gatepost_admission_memory_octets");
    let metrics = server.http("/metrics").1;
    is_over.store(true, Ordering::Relaxed);
    attack.join().expect("the attackers do not panic");

    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100];
    println!("{name}:");
    println!(
        "  attackers open at most {}, connections begun {}, closed by the server {}",
        open.load(Ordering::Relaxed),
        begun.load(Ordering::Relaxed),
        closed.load(Ordering::Relaxed),
    );
    for line in metrics.lines().filter(|line| WHY_CLOSED.iter().any(|name| line.starts_with(name))) {
        println!("  {line}");
    }
    println!("  mails {}, p50 {:?}, p99 {:?}", taken.len(), at(50).all, at(99).all);
    println!("  the longest: {:?}", at(100));
    println!("  sessions that the server had at the end {sessions}");
    println!(
        "  memory budget {BUDGET_MIB} MiB, drawn at the end {:.0} MiB, the process at its peak {} MiB",
        drawn / 1_048_576.0,
        memory / 1024
    );
    assert!(
        open.load(Ordering::Relaxed) >= open_min as u64,
        "at least {open_min} attackers must be open at a time"
    );
    assert!(memory / 1024 <= BUDGET_MIB, "the process must stay within its budget");
    assert!(at(99).all < Duration::from_secs(1), "p99 must stay below a second");
}

/// Connects, logs in, sends a mail. What each of them took, and all of it.
fn send(server: &Server, trust: &Arc<ClientConfig>) -> Taken {
    let started_at = Instant::now();
    let mut smtp = Smtp::connect_tls(server.ports.implicit, Arc::clone(trust));
    let greeted = started_at.elapsed();
    smtp.say("EHLO client.example").must("250");
    smtp.auth(&server.users[0]);
    let logged_in = started_at.elapsed();
    smtp.say("MAIL FROM:<me@localhost>").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("250");
    smtp.say("DATA").must("354");
    smtp.say(&format!("Subject: siege\r\n\r\n{}.", "A line of the mail.\r\n".repeat(200))).must("250");
    let all = started_at.elapsed();
    smtp.say("QUIT").must("221");
    Taken { all, greeted, logged_in }
}

/// When a mail had got how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    all: Duration,
    greeted: Duration,
    logged_in: Duration,
}

/// What a session costs that says EHLO and nothing more, in the clear and in TLS.
fn idle() {
    let server = Setup::new().open_listener().log_level("warn").listener_keys("connections = 3000").start();
    let trust = trust::only(&server.certificate());
    for (name, is_tls) in [("plaintext", false), ("TLS", true)] {
        let open = || {
            let mut smtp = if is_tls {
                Smtp::connect_tls(server.ports.implicit, Arc::clone(&trust))
            } else {
                Smtp::connect(server.ports.open)
            };
            smtp.say("EHLO client.example").must("250");
            smtp
        };
        // The first ones pay for what all share.
        let warm: Vec<Smtp> = (0..50).map(|_| open()).collect();
        let before = pss(server.pid());
        let held: Vec<Smtp> = (0..IDLE).map(|_| open()).collect();
        thread::sleep(Duration::from_secs(2));
        let grown = pss(server.pid()).saturating_sub(before);
        let octets = grown * 1024 / IDLE;
        println!("idle {name} session: {octets} octets, over {IDLE} of them");
        drop((warm, held));
        thread::sleep(Duration::from_secs(2));
    }
}

/// Proportional set size, KiB.
fn pss(process: u32) -> u64 {
    number(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}

fn status(process: u32, key: &str) -> u64 {
    number(&format!("/proc/{process}/status"), &format!("{key}:"))
}

fn number(path: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path).expect("a running process has its numbers");
    let line = text.lines().find(|line| line.starts_with(key)).expect("the line is there");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

/// Each attacker needs a descriptor.
fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the soft limit may be raised");
}

/// Some are always between two connections: ten thousand at a time takes more than that.
const ATTACKERS: usize = 11_000;
/// Of attackers, at their most; a machine that is busy otherwise lags, and closes stalled ones for it.
const OPEN_MIN: usize = 9_500;
const NETWORKS: u8 = 240;
/// Each of the three listeners gets at most three of eight attackers, which leaves it below the mark of four fifths from which on
/// stalled ones are asked to leave.
const ROOM_FOR_ALL: &str = "connections = 5400";
/// The default.
const BUDGET_MIB: u64 = 1024;
/// Until all attackers have connected once, and those who were too many handshakes at a time have come again.
const RAMP: Duration = Duration::from_secs(18);
/// Handshakes that go no further are ended after half a minute.
const MEASURED: Duration = Duration::from_secs(20);
/// How those ended who were closed, or did not come in.
const WHY_CLOSED: [&str; 2] = ["gatepost_edge_sessions_closed_total{", "gatepost_admission_refusals_total{"];
const IDLE: u64 = 2_000;
