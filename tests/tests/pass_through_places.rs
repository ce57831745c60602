//! Connections to the server behind are few, and silence keeps none of them from others.

use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::exchange::Exchange;
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::pass_through::{before, before_with};
use gatepost_tests::server::Server;
use gatepost_tests::smtp::{Reply, Smtp};
use gatepost_tests::trust;

/// A client may be silent for five seconds.
const SOON: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(12);

fn front(behind: &NextHop, connections: usize) -> Server {
    let upstream = format!("tls = \"none\"\nconnections = {connections}");
    before_with(behind.address, &upstream, "command_timeout = \"3s\"").start()
}

fn silent(server: &Server) -> Smtp {
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<silent@remote.example>").must("250 ");
    smtp
}

/// Until one gets a place, others say what is no command of their mails.
fn until_place(client: &mut Smtp, others: &mut [Smtp]) {
    let start = Instant::now();
    while client.say("MAIL FROM:<me@localhost>").code != 250 {
        assert!(start.elapsed() < LATE, "no place gets free");
        for other in others.iter_mut() {
            other.say("NOOP").must("250 ");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn send_as_me(server: &Server) -> Reply {
    let mut me = server.smtp_as_me();
    let reply = me.mail("me@localhost", &["ann@elsewhere.example"], &mail::small("mine"));
    me.quit();
    reply
}

fn displaced(server: &Server) -> String {
    let metrics = server.http("/metrics").1;
    let line = metrics.lines().find(|line| line.starts_with("gatepost_upstream_displaced_total"));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn strangers_who_say_nothing_make_room_for_those_who_work_and_users_find_a_place_at_once() {
    let behind = NextHop::start();
    let server = front(&behind, 4);
    let mut silent: Vec<_> = (0..3).map(|_| silent(&server)).collect();
    let mut late = server.smtp_open();
    late.say("MAIL FROM:<late@remote.example>").must("451 4.4.1");
    for _ in 0..2 {
        send_as_me(&server).must("250 2.0.0 taken");
    }
    // What the user has left is there, but not for strangers.
    late.say("MAIL FROM:<late@remote.example>").must("451 4.4.1");
    assert_eq!(displaced(&server), "0");
    until_place(&mut late, &mut silent);
    late.say("RCPT TO:<ann@to.example>").must("250 ");
    late.say("DATA").must("354 ");
    late.send(b"X: late\r\n\r\n.\r\n");
    late.reply().must("250 2.0.0 taken");
    assert_eq!(displaced(&server), "1");
    let mut first = silent.remove(0);
    first.say("RCPT TO:<ann@to.example>").must("451 4.4.2");
    first.say("RCPT TO:<bob@to.example>").must("451 4.4.2");
    first.say("DATA").must("554 5.5.1");
    first.say("RSET").must("250 ");
    first.mail("first@remote.example", &["ann@to.example"], b"X: first\r\n\r\n").must("250 2.0.0 taken");
    for other in &mut silent {
        other.say("RCPT TO:<ann@to.example>").must("250 ");
    }
    assert_eq!(behind.taken(4).len(), 4);
}

#[test]
fn where_all_places_are_taken_a_user_takes_that_of_a_silent_stranger() {
    let behind = NextHop::start();
    let server = front(&behind, 4);
    let mut silent: Vec<_> = (0..3).map(|_| silent(&server)).collect();
    let mut known = server.smtp_as_me();
    known.say("MAIL FROM:<me@localhost>").must("250 ");
    let mut another = server.smtp_as_me();
    until_place(&mut another, &mut silent);
    for user in [&mut known, &mut another] {
        user.say("RCPT TO:<ann@elsewhere.example>").must("250 ");
    }
    assert_eq!(displaced(&server), "1");
}

#[test]
fn nobody_is_displaced_who_goes_on() {
    let behind = NextHop::start();
    let server = front(&behind, 1);
    let (mut working, mut late) = (silent(&server), server.smtp_open());
    for number in 0..5 {
        thread::sleep(SOON);
        working.say(&format!("RCPT TO:<{number}@to.example>")).must("250 ");
        late.say("MAIL FROM:<late@remote.example>").must("451 4.4.1");
    }
    working.say("DATA").must("354 ");
    working.send(b"X: working\r\n\r\n.\r\n");
    working.reply().must("250 2.0.0 taken");
    assert_eq!(displaced(&server), "0");
}

#[test]
fn a_body_on_its_way_is_never_displaced() {
    let behind = NextHop::start();
    for keys in ["", "scan = { in_session = true }"] {
        let server =
            before_with(behind.address, "tls = \"none\"\nconnections = 1", "").listener_keys(keys).start();
        let mut slow = server.smtp_open();
        slow.begin_data("slow@remote.example", &["ann@to.example"]);
        slow.send(b"X: half\r\n\r\nhalf\r\n");
        thread::sleep(Duration::from_secs(7));
        for mut late in [server.smtp_open(), server.smtp_as_me()] {
            late.say("MAIL FROM:<me@localhost>").must("451 4.4.1");
        }
        slow.send(b"whole\r\n.\r\n");
        slow.reply().must("250 2.0.0 taken");
    }
    assert_eq!(behind.taken(2)[1].octets, b"X: half\r\n\r\nhalf\r\nwhole\r\n");
}

#[test]
fn between_two_chunks_silence_is_what_it_is_between_commands() {
    let behind = NextHop::start();
    let server = front(&behind, 1);
    let begin = || {
        let mut smtp = server.smtp_open();
        smtp.begin("chunks@remote.example", &["ann@to.example"]);
        smtp.bdat(b"X: first\r\n\r\n", false).must("250 ");
        smtp
    };
    let mut smtp = begin();
    thread::sleep(SOON);
    smtp.bdat(&mail::large("chunk", 200_000), false).must("250 ");
    smtp.bdat(b"end\r\n", true).must("250 2.0.0 taken");
    let mut smtp = [begin()];
    let mut late = server.smtp_open();
    until_place(&mut late, &mut smtp);
    let [mut smtp] = smtp;
    smtp.bdat(b"more\r\n", false).must("250 ");
    smtp.bdat(b"end\r\n", true).must("451 4.4.2");
    late.say("RCPT TO:<ann@to.example>").must("250 ");
    assert_eq!(behind.taken_so_far().len(), 1);
}

#[test]
fn a_sender_who_waits_for_a_recipient_makes_room_as_well() {
    let behind = NextHop::start();
    let server =
        before(behind.address).listener_keys("delay_mail = true").sections("connections = 1").start();
    let mut others = [silent(&server)];
    let mut late = server.smtp_open();
    until_place(&mut late, &mut others);
    let [mut other] = others;
    other.say("RCPT TO:<ann@to.example>").must("451 4.4.2");
    late.say("RCPT TO:<ann@to.example>").must("250 ");
}

#[test]
fn a_login_that_does_not_go_on_keeps_nobody_from_logging_in() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    trust::write_certificate_for(&["hop.example"], &certificate, &key);
    let exchange = Exchange::start_tls(&certificate, &key);
    let upstream = format!(
        "tls = \"verified\"\ntls_name = \"hop.example\"\nauthorities = {certificate:?}\nconnections = 1"
    );
    let server = before_with(exchange.address, &upstream, "").listener_keys("auth = \"upstream\"").start();
    let (mut silent, mut late) = (server.smtp_in_tls(), server.smtp_in_tls());
    silent.say("AUTH LOGIN").must("334");
    let start = Instant::now();
    while late.say("AUTH LOGIN").code != 334 {
        assert!(start.elapsed() < LATE, "no place gets free");
        thread::sleep(Duration::from_millis(500));
    }
    late.say("c29tZWJvZHk=").must("334");
    late.say("cGFzc3dvcmQ=").must("235");
    silent.say("c29tZWJvZHk=").must("451 4.4.2");
    // Whoever was let in is no stranger any more, however long he says nothing.
    thread::sleep(Duration::from_secs(6));
    silent.say("AUTH LOGIN").must("451 4.4.1");
    late.mail("a@b.example", &["c@d.example"], &mail::small("in")).must("250");
}
