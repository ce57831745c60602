//! The clock of the machine is set while mail waits and arrives: nothing is lost, returned or kept waiting for it, and it is
//! told.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gatepost_tests::clock::Clock;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::{mail, wait_until};

/// A next hop that takes nothing for now, and a server that has one mail for it, tried once in vain; and the mail's id.
fn deferred() -> (NextHop, Server, String) {
    let hop = NextHop::start().always(At::Rcpt, Reaction::Say("451 4.3.0 later"));
    let route = format!(
        "[delivery.remote]\nenabled = true\ninternal_addresses = true\n[[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]",
        hop.address
    );
    let server = Setup::new().sections(&route).start();
    let id = send(&server, "waiting");
    wait_until("the mail was tried", || attempts(&server, &id) == 1);
    (hop, server, id)
}

fn send(server: &Server, subject: &str) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", &["ann@to.example"], &mail::small(subject)).queue_id();
    smtp.quit();
    id
}

/// How far away the first of January 1970 is, in seconds.
fn until_1970() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970");
    -i64::try_from(since_1970.as_secs()).expect("a time")
}

fn shown(server: &Server, id: &str) -> serde_json::Value {
    let shown = server.cli(["queue", "show", id, "--json"]).succeed().text();
    serde_json::from_str(&shown).expect("JSON")
}

fn attempts(server: &Server, id: &str) -> u64 {
    shown(server, id)["attempts"].as_u64().expect("a number")
}

/// How many seconds of the server's clock, so far off, a mail still has to wait.
fn waits_for(server: &Server, id: &str, offset: i64) -> i64 {
    let not_before_ms = shown(server, id)["not_before_ms"].as_i64().expect("a number");
    not_before_ms / 1_000 - offset + until_1970()
}

/// What the event log says of the clock, in milliseconds that it was set by.
fn jumps(server: &Server) -> Vec<i64> {
    let jumps = server.events(&["clock.jumped"]).into_iter();
    jumps.map(|event| event["by_ms"].as_i64().expect("a number")).collect()
}

/// The event log has one more jump, of about so many seconds.
fn expect_jump(server: &Server, count: usize, seconds: i64) {
    wait_until("the jump is told", || jumps(server).len() == count);
    let by_ms = *jumps(server).last().expect("a jump");
    assert!((by_ms - seconds * 1_000).abs() < 30_000, "{by_ms} ms instead of {seconds} s");
}

#[test]
fn a_clock_that_is_set_ahead_has_mail_tried_at_once_and_makes_none_too_old() {
    let (hop, mut server, id) = deferred();
    let Some(clock) = Clock::begin(&mut server, 0) else { return };
    for (number, offset, by) in [(1, DAY, DAY), (2, 10 * YEAR, 10 * YEAR - DAY)] {
        let before = attempts(&server, &id);
        clock.set(offset);
        expect_jump(&server, number, by);
        wait_until("the mail is tried at once", || attempts(&server, &id) > before);
    }
    assert_eq!(server.metric("gatepost_queue_clock_jumps_total"), 2.0);
    assert!(server.log().contains("the clock was set ahead"));
    // Neither a notice of its delay nor a bounce: it is some seconds old.
    assert_eq!(server.inbox(0), Vec::<Vec<u8>>::new());
    hop.mend();
    let late = send(&server, "of-another-year");
    assert!(late > id, "ids rise: {id}, {late}");
    clock.set(10 * YEAR + DAY);
    let subjects: BTreeSet<_> =
        hop.taken(2).iter().filter_map(|taken| mail::field(&taken.octets, "Subject")).collect();
    assert_eq!(subjects, BTreeSet::from(["of-another-year".to_owned(), "waiting".to_owned()]));
    server.wait_for_empty_queue();
    // Events are written behind the record of the queue.
    wait_until("the delivery is an event", || {
        server.cli(["explain", &id]).succeed().text().contains("was delivered to <ann@to.example>")
    });
    server.stop();
}

#[test]
fn a_clock_that_is_set_back_keeps_no_mail_waiting() {
    let (hop, mut server, id) = deferred();
    let Some(clock) = Clock::begin(&mut server, 0) else { return };
    let (mut ids, early) = (vec![id], until_1970() + DAY);
    for (number, offset, by) in [(1, -DAY, -DAY), (2, early, early + DAY)] {
        clock.set(offset);
        expect_jump(&server, number, by);
        for id in &ids {
            assert!(
                waits_for(&server, id, offset) < PAUSE_MAX,
                "{id} waits {}",
                waits_for(&server, id, offset)
            );
        }
        ids.push(send(&server, &format!("back-{number}")));
        wait_until("the new mail was tried", || attempts(&server, ids.last().expect("an id")) == 1);
    }
    assert!(ids.is_sorted_by(|earlier, later| earlier < later), "ids rise: {ids:?}");
    assert_eq!(server.inbox(0), Vec::<Vec<u8>>::new());
    hop.mend();
    // By their own time: a minute after their first attempt.
    let start = Instant::now();
    while hop.taken_so_far().len() < ids.len() {
        assert!(start.elapsed() < Duration::from_secs(120), "taken: {:?}", hop.taken_so_far().len());
        thread::sleep(Duration::from_millis(200));
    }
    server.wait_for_empty_queue();
    assert_eq!(hop.taken(ids.len()).len(), ids.len(), "each once");
}

#[test]
fn a_clock_that_is_set_while_mail_arrives_costs_none() {
    const CLIENTS: usize = 4;
    const MAILS: usize = 40;
    let mut server = Server::start();
    let Some(clock) = Clock::begin(&mut server, 0) else { return };
    let is_over = AtomicBool::new(false);
    let (port, trust, me) = (server.ports.starttls, server.trust(), server.me().clone());
    let ids: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (trust, me) = (trust.clone(), &me);
                scope.spawn(move || {
                    let mut smtp = Smtp::try_open(port, trust, me).expect("a session");
                    let send = |number: usize| {
                        let content = mail::small(&format!("load-{}", client * MAILS + number));
                        let reply = smtp.mail("me@localhost", &["me@localhost"], &content);
                        thread::sleep(Duration::from_millis(50));
                        reply.queue_id()
                    };
                    (0..MAILS).map(send).collect::<Vec<_>>()
                })
            })
            .collect();
        scope.spawn(|| {
            for offset in [DAY, -DAY, 10 * YEAR, 0, until_1970() + DAY, 3_600, -3_600].into_iter().cycle() {
                clock.set(offset);
                thread::sleep(Duration::from_millis(400));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let ids = clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        is_over.store(true, Ordering::Relaxed);
        ids
    });
    clock.set(0);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), CLIENTS * MAILS, "no id twice");
    let subjects: BTreeSet<_> =
        server.inbox(CLIENTS * MAILS).iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    assert_eq!(subjects.len(), CLIENTS * MAILS, "each mail once");
    server.wait_for_empty_queue();
    assert!(jumps(&server).len() >= 4, "{:?}", jumps(&server));
    server.stop();
}

#[test]
fn a_start_behind_a_clock_that_was_set_back_goes_on_where_it_was() {
    let (hop, mut server, id) = deferred();
    let Some(clock) = Clock::begin(&mut server, 0) else { return };
    for kill in [true, false] {
        let offset = if kill { -10 * YEAR } else { until_1970() + DAY };
        let count = jumps(&server).len();
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        clock.set(offset);
        clock.restart(&mut server);
        assert_eq!(jumps(&server).len(), count + 1, "{:?}", jumps(&server));
        assert!(server.log().contains("the clock was set back since this server was last here"));
        assert!(waits_for(&server, &id, offset) < PAUSE_MAX, "{}", waits_for(&server, &id, offset));
    }
    let count = jumps(&server).len();
    server.stop();
    clock.restart(&mut server);
    assert_eq!(jumps(&server).len(), count, "told once");
    let late = send(&server, "in-1970");
    assert!(late > id, "ids rise: {id}, {late}");
    hop.mend();
    server.cli(["queue", "retry", "--all"]).succeed();
    assert_eq!(hop.taken(2).len(), 2);
    server.wait_for_empty_queue();
}

/// As on a machine without a battery, whose clock is set once the network is there.
#[test]
fn a_queue_that_begins_in_1970_goes_on_in_the_present() {
    let mut server = Server::start();
    let Some(clock) = Clock::begin(&mut server, 0) else { return };
    server.stop();
    for folder in ["queue", "events", "store"] {
        fs::remove_dir_all(server.data().join(folder)).expect("a folder");
    }
    clock.set(until_1970() + DAY);
    clock.restart(&mut server);
    server.cli(["queue", "hold", "--all"]).succeed();
    let me = |server: &Server, subject: &str| {
        let mut smtp = server.smtp_as_me();
        smtp.mail("me@localhost", &["me@localhost"], &mail::small(subject)).queue_id()
    };
    let first = me(&server, "in-1970");
    clock.set(0);
    let second = me(&server, "today");
    assert!(second > first, "ids rise: {first}, {second}");
    server.cli(["queue", "release", "--all"]).succeed();
    let subjects: BTreeSet<_> =
        server.inbox(2).iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    assert_eq!(subjects, BTreeSet::from(["in-1970".to_owned(), "today".to_owned()]));
}

/// Seconds that a mail may wait here at most: where nobody knows what a time means any more, five minutes.
const PAUSE_MAX: i64 = 330;
/// Seconds.
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;
