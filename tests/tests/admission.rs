//! Admission on the real binary. Addresses of 127.0.0.0/8 stand for networks; 127.0.0.1 alone is trusted, so that a test can
//! look at what the others did.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Reply, Smtp, plain_response};
use gatepost_tests::user::User;
use gatepost_tests::wait_until;
use gatepost_tests::wire::Wire;
use rustix::process::Signal;

/// Somebody who is up to no good.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 1);
/// Another address of his /24.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 2);
/// Somebody who has nothing to do with him.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

#[test]
fn a_listed_network_is_turned_away_from_every_protocol_and_a_reload_reads_the_list_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("deny");
    fs::write(&list, "# a comment\n127.66.0.0/16\n").expect("the list");
    let server = start(&format!("deny_files = [\"{}\"]\nallow = [\"127.66.0.2\"]", list.display()), "");
    let farewell = greeting(STRANGER, server.ports.open);
    assert!(farewell.starts_with("554 5.7.1 gatepost.test is not available to you now ["), "{farewell}");
    assert!(greeting(STRANGER, server.ports.starttls).starts_with("554 5.7.1"));
    assert!(greeting(STRANGER, server.ports.pop3).starts_with("-ERR "));
    for port in [server.ports.implicit, server.ports.pop3s] {
        // Nothing can be said without a handshake.
        assert!(Wire::connect_from(STRANGER, port).try_secure(server.trust()).is_err());
    }
    assert_welcome(&greeting(NEIGHBOUR, server.ports.open));
    assert_welcome(&greeting(OTHER, server.ports.open));
    server.wait_for_log("127.66.0.0/16 is on the deny list");
    let token = farewell.split(['[', ']']).nth(1).expect("a token");
    wait_until("the refusal can be explained", || {
        server.cli(["explain", token]).outcome().stdout.windows(14).any(|text| text == b"admission.deny")
    });

    fs::write(&list, "127.77.0.0/16\n").expect("the list");
    server.signal(Signal::HUP);
    wait_until("the list is read again", || greeting(OTHER, server.ports.open).starts_with("554 5.7.1"));
    assert_welcome(&greeting(STRANGER, server.ports.open));
}

#[test]
fn an_address_and_its_network_have_so_many_connections_at_a_time() {
    let server = start("connections = 2\nconnection_rate = 1000", "");
    let port = server.ports.open;
    let mut held = vec![connect(STRANGER, port), connect(STRANGER, port)];
    assert_too_many(&greeting(STRANGER, port));
    assert!(greeting(STRANGER, server.ports.pop3).starts_with("-ERR "), "of all protocols together");
    // The /24 may have four times as many.
    for host in 2..=4 {
        let neighbour = Ipv4Addr::new(127, 66, 0, host);
        held.extend([connect(neighbour, port), connect(neighbour, port)]);
    }
    assert_too_many(&greeting(Ipv4Addr::new(127, 66, 0, 99), port));
    assert_welcome(&greeting(OTHER, port));
    server.wait_for_log("127.66.0.0/24 has 9 connections of 8");
    held.pop().expect("they are held").quit();
    wait_until("a place is free again", || greeting(Ipv4Addr::new(127, 66, 0, 99), port).starts_with("220 "));
    // Trusted networks have no limit.
    let trusted: Vec<Smtp> = (0..20).map(|_| server.smtp()).collect();
    drop((held, trusted));
}

#[test]
fn an_address_may_connect_so_often_a_minute() {
    let server = start("connection_rate = 3", "");
    let greetings: Vec<String> = (0..5).map(|_| greeting(STRANGER, server.ports.open)).collect();
    assert_welcome(&greetings[0]);
    greetings[3..].iter().for_each(|greeting| assert_too_many(greeting));
    assert!(greeting(STRANGER, server.ports.pop3).starts_with("-ERR "), "of all protocols together");
    assert_welcome(&greeting(NEIGHBOUR, server.ports.open));
    assert_welcome(&greeting(OTHER, server.ports.open));
}

#[test]
fn handshakes_messages_and_recipients_have_rates_of_their_own() {
    let server = start("handshake_rate = 2\nmessage_rate = 2\nrecipient_rate = 5", "");
    for _ in 0..2 {
        let mut smtp = connect(STRANGER, server.ports.open);
        smtp.starttls(server.trust());
        smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
        smtp.quit();
    }
    let mut smtp = connect(STRANGER, server.ports.open);
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<a@b.example>").must("451 4.7.1");
    smtp.say("STARTTLS").must("220 2.0.0");
    assert!(smtp.wire().try_secure(server.trust()).is_err(), "a third handshake within the minute");

    let mut smtp = connect(OTHER, server.ports.open);
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    for _ in 0..5 {
        smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    }
    smtp.say("RCPT TO:<me@localhost>").must("451 4.7.1");
}

#[test]
fn who_guesses_passwords_is_banned_from_every_protocol_for_a_while() {
    let server = start("auth_failure_rate = 2\nban_time = \"10s\"\ntarpit_delay = \"1ms\"", "");
    let mut waiting = in_tls(STRANGER, &server);
    for _ in 0..3 {
        guess(STRANGER, &server, "me@localhost").must("535 5.7.8");
    }
    let banned_at = Instant::now();
    assert_too_many(&greeting(STRANGER, server.ports.open));
    assert!(greeting(STRANGER, server.ports.pop3).starts_with("-ERR "));
    assert!(Wire::connect_from(STRANGER, server.ports.pop3s).try_secure(server.trust()).is_err());
    // A session that was open already gets no more guesses, be they right.
    waiting.say(&plain(server.me())).must("454 4.7.0");
    assert_welcome(&greeting(NEIGHBOUR, server.ports.open));
    server.wait_for_log("banned by admission.auth_failure_rate");
    wait_until("the ban ends", || greeting(STRANGER, server.ports.open).starts_with("220 "));
    assert!(banned_at.elapsed() > Duration::from_secs(9), "{:?}", banned_at.elapsed());
    // Nobody can have a trusted network banned.
    for _ in 0..6 {
        guess(Ipv4Addr::LOCALHOST, &server, "me@localhost").must("535 5.7.8");
    }
    server.smtp_as_me().quit();
}

#[test]
fn pop3_is_no_door_around_the_ban() {
    let server = start("auth_failure_rate = 2\ntarpit_delay = \"1ms\"", "");
    for _ in 0..3 {
        connect(STRANGER, server.ports.open).quit();
        let mut pop3 = Pop3::connect_tls_from(STRANGER, server.ports.pop3s, server.trust());
        pop3.must("USER me@localhost");
        assert!(pop3.say("PASS guess").starts_with("-ERR "));
    }
    assert_too_many(&greeting(STRANGER, server.ports.open));
    assert!(greeting(STRANGER, server.ports.pop3).starts_with("-ERR "));
    assert_welcome(&greeting(OTHER, server.ports.open));
}

#[test]
fn who_guesses_recipients_is_banned() {
    let server = start("unknown_recipient_rate = 3\ntarpit_delay = \"1ms\"", "");
    let mut smtp = connect(STRANGER, server.ports.open);
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    for number in 0..4 {
        smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
        smtp.say(&format!("RCPT TO:<nobody{number}@localhost>")).must("550 5.1.1");
    }
    assert_too_many(&greeting(STRANGER, server.ports.open));
    server.wait_for_log("banned by admission.unknown_recipient_rate");
    assert_welcome(&greeting(OTHER, server.ports.open));
}

#[test]
fn a_lock_out_keeps_strangers_out_and_lets_its_user_in_from_where_he_is_known() {
    let settings = "lockout_failures = 3\nlockout_time = \"10s\"\nauth_failure_rate = 100\ntarpit_delay = \"1ms\"\n\
         connection_rate = 10000\nhandshake_rate = 10000";
    let server = start(settings, "");
    let (me, you, home) = (server.me(), &server.users[1], OTHER);
    in_tls(home, &server).say(&plain(me)).must("235 2.7.0");
    for host in 1..=3 {
        guess(Ipv4Addr::new(127, 66, host, 1), &server, &me.name).must("535 5.7.8");
    }
    let locked_at = Instant::now();
    let elsewhere = Ipv4Addr::new(127, 88, 0, 1);
    in_tls(elsewhere, &server).say(&plain(me)).must("454 4.7.0");
    let mut pop3 = Pop3::connect_tls_from(elsewhere, server.ports.pop3s, server.trust());
    pop3.must(&format!("USER {}", me.name));
    assert!(pop3.say(&format!("PASS {}", me.password)).starts_with("-ERR "), "POP3 is no door around it");
    // It is one user who is locked, not the place, nor the others.
    in_tls(elsewhere, &server).say(&plain(you)).must("235 2.7.0");
    server.wait_for_log("a user with 3 failed log-ins, from a place where he is not known");
    wait_until("the lock-out ends", || in_tls(elsewhere, &server).say(&plain(me)).code == 235);
    assert!(locked_at.elapsed() > Duration::from_secs(9), "{:?}", locked_at.elapsed());

    for host in 1..=3 {
        guess(Ipv4Addr::new(127, 67, host, 1), &server, &me.name).must("535 5.7.8");
    }
    in_tls(Ipv4Addr::new(127, 89, 0, 1), &server).say(&plain(me)).must("454 4.7.0");
    in_tls(home, &server).say(&plain(me)).must("235 2.7.0");
    // He is here: nobody is in the way of his new places any more.
    in_tls(Ipv4Addr::new(127, 89, 0, 1), &server).say(&plain(me)).must("235 2.7.0");
}

#[test]
fn wrong_guesses_of_strangers_are_answered_late() {
    let server = start("tarpit_delay = \"4s\"", "");
    const HELD: Duration = Duration::from_secs(4);
    let timed = |ask: &dyn Fn() -> Reply| {
        let start = Instant::now();
        (ask(), start.elapsed())
    };
    let (reply, wrong) = timed(&|| guess(STRANGER, &server, "me@localhost"));
    reply.must("535 5.7.8");
    assert!(wrong >= HELD, "{wrong:?}");
    let mut smtp = connect(STRANGER, server.ports.open);
    smtp.say("EHLO client.example").must("250");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    let start = Instant::now();
    smtp.say("RCPT TO:<nobody@localhost>").must("550 5.1.1");
    assert!(start.elapsed() >= HELD, "{:?}", start.elapsed());
    smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    assert!(start.elapsed() < Duration::from_secs(8), "a right one is answered at once");
    let (reply, right) = timed(&|| in_tls(STRANGER, &server).say(&plain(server.me())));
    reply.must("235 2.7.0");
    let (reply, trusted) = timed(&|| guess(Ipv4Addr::LOCALHOST, &server, "me@localhost"));
    reply.must("535 5.7.8");
    assert!(right < HELD && trusted < HELD, "{right:?} {trusted:?}");
}

#[test]
fn a_dry_run_tells_what_it_would_refuse_and_refuses_nothing() {
    let rules = [
        "deny",
        "ban",
        "connections",
        "connection_rate",
        "handshake_rate",
        "message_rate",
        "recipient_rate",
        "auth_failure_rate",
        "unknown_recipient_rate",
        "lockout",
    ];
    let modes: String = rules.iter().map(|rule| format!("{rule} = \"detect\"\n")).collect();
    let limits: String = rules[2..9].iter().map(|rule| format!("{rule} = 1\n")).collect::<String>();
    let settings =
        format!("deny = [\"127.66.0.0/16\"]\nlockout_failures = 1\ntarpit_delay = \"1ms\"\n{limits}");
    let server = start(&settings, &format!("[admission.rules]\n{modes}"));
    let mut held = Vec::new();
    for _ in 0..3 {
        guess(STRANGER, &server, "me@localhost").must("535 5.7.8");
        in_tls(STRANGER, &server).say(&plain(server.me())).must("235 2.7.0");
        guess(STRANGER, &server, "you@localhost").must("535 5.7.8");
        let mut smtp = connect(STRANGER, server.ports.open);
        smtp.say("EHLO client.example").must("250");
        smtp.mail("a@b.example", &["me@localhost", "you@localhost"], &mail::small("dry-run"))
            .must("250 2.0.0");
        smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
        smtp.say("RCPT TO:<nobody@localhost>").must("550 5.1.1");
        smtp.say("RCPT TO:<nobody@localhost>").must("550 5.1.1");
        held.push(smtp);
    }
    let _ = server.inbox(3);
    server.wait_for_log("would refuse");
    let (_, metrics) = server.http("/metrics");
    // Nobody was banned, so no ban was met.
    for rule in rules.iter().filter(|rule| **rule != "ban") {
        let counter =
            format!("gatepost_admission_refusals_total{{mode=\"detect\",rule=\"admission.{rule}\"}}");
        assert!(metrics.contains(&counter), "{rule}:\n{metrics}");
    }
    // What protects the server itself has no switch.
    let enforced = |line: &&str| line.contains("mode=\"enforce\"") && !line.contains("admission.overload");
    assert_eq!(metrics.lines().find(enforced), None);
}

/// The memory for bodies is what a test can use up.
#[test]
fn a_stressed_server_turns_strangers_away_and_recovers_by_itself() {
    let server = start("", "[limits]\nbody_memory = \"8 MiB\"");
    let body = [b"Subject: held\r\n\r\n".as_slice(), &b"x".repeat(100_000)].concat();
    let mut held = Vec::new();
    let level = || server.metric("gatepost_admission_overload_level");
    while level() < 1.0 {
        assert!(held.len() < 400, "{} bodies are held", held.len());
        for _ in 0..20 {
            let mut smtp = server.smtp_open();
            smtp.begin_data("a@b.example", &["me@localhost"]);
            smtp.send(&body);
            held.push(smtp);
        }
        thread::sleep(Duration::from_millis(300));
    }
    let farewell = raw_greeting(STRANGER, server.ports.open);
    assert!(farewell.starts_with("421 4.3.2 gatepost.test"), "{farewell}");
    // Who is known may come.
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &mail::small("meanwhile")).must("250 2.0.0");
    drop(held);
    wait_until("the server recovers", || raw_greeting(STRANGER, server.ports.open).starts_with("220 "));
    assert_eq!(server.inbox(1).len(), 1);
}

fn start(settings: &str, sections: &str) -> Server {
    Setup::new()
        .open_listener()
        .user("you@localhost")
        .sections(&format!("[admission]\ntrusted = [\"127.0.0.1\"]\n{settings}\n{sections}"))
        .start()
}

/// The first line. Where the tests beside this one have stressed the server, it is asked again.
fn greeting(source: Ipv4Addr, port: u16) -> String {
    unstressed(|| raw_greeting(source, port), |greeting| greeting.starts_with("421 4.3.2"))
}

fn connect(source: Ipv4Addr, port: u16) -> Smtp {
    let is_stressed =
        |greeted: &Result<Smtp, Reply>| greeted.as_ref().is_err_and(|greeting| greeting.is("421 4.3.2"));
    unstressed(|| Smtp::connect_from(source, port), is_stressed).expect("a greeting")
}

fn unstressed<T>(ask: impl Fn() -> T, is_stressed: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let answer = ask();
        if !is_stressed(&answer) || start.elapsed() > Duration::from_secs(30) {
            return answer;
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn raw_greeting(source: Ipv4Addr, port: u16) -> String {
    String::from_utf8(Wire::connect_from(source, port).line()).expect("replies are UTF-8")
}

fn assert_welcome(greeting: &str) {
    assert!(greeting.starts_with("220 gatepost.test"), "{greeting}");
}

fn assert_too_many(greeting: &str) {
    assert!(greeting.starts_with("421 4.7.0 gatepost.test"), "{greeting}");
}

fn in_tls(source: Ipv4Addr, server: &Server) -> Smtp {
    let mut smtp = connect(source, server.ports.starttls);
    smtp.starttls(server.trust());
    smtp
}

/// A wrong password.
fn guess(source: Ipv4Addr, server: &Server, name: &str) -> Reply {
    in_tls(source, server).say(&plain(&User { name: name.to_owned(), password: "guess".to_owned() }))
}

fn plain(user: &User) -> String {
    format!("AUTH PLAIN {}", plain_response("", &user.name, &user.password))
}
