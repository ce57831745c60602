use gatepost_smtp::server::CloseReason;

use crate::scenario::{Scenario, submission};

#[test]
fn a_command_with_a_framing_fault_ends_the_session() {
    for (octets, rule) in [
        (&b"NOOP\nNOOP\r\n"[..], "framing.bare_lf"),
        (b"NOOP\rNOOP\r\n", "framing.bare_cr"),
        (b"NOOP\r\r\nNOOP\r\n", "framing.bare_cr"),
        (b"NO\0OP\r\nNOOP\r\n", "framing.nul"),
        (b"\n", "framing.bare_lf"),
    ] {
        let scenario = Scenario::open().greeted().send(octets).hears("500 5.5.2 Lines must end with CR LF|");
        assert_eq!(scenario.closed_by(CloseReason::BadFraming).rules(), [rule]);
    }
}

/// Sent at once, such a line was refused for what stood at its end; octet by octet, for its length. Found by fuzzing.
#[test]
fn a_line_that_is_worth_no_more_patience_ends_the_session_however_it_comes_and_ends() {
    for end in ["\r\n", "\r\r\n", "\n", "\0", ""] {
        let line = format!("NOOP {}{end}", "x".repeat(2_000));
        for piece in [line.len(), 1] {
            let mut scenario = Scenario::with(|config| config.limits.drain_octets = 1_000).greeted();
            for octets in line.as_bytes().chunks(piece) {
                scenario = scenario.send(octets);
            }
            scenario.closed_by(CloseReason::DrainLimit).hears("421 4.7.0 Too much refused data, closing|");
        }
    }
}

/// What may be long is no refused data, however little of that a session may send. Found by fuzzing.
#[test]
fn a_line_within_its_own_limit_is_read_although_it_is_over_the_drain_limit() {
    let line = format!("{}\r\n", "!".repeat(1_500));
    for piece in [line.len(), 1] {
        let mut config = submission();
        config.limits.drain_octets = 1_000;
        let mut scenario = Scenario::inside_tls(config).greeted().say("AUTH PLAIN", "334");
        for octets in line.as_bytes().chunks(piece) {
            scenario = scenario.send(octets);
        }
        scenario.hears("501 5.5.2 Malformed response|").still_open();
    }
}

#[test]
fn an_over_long_line_is_refused_once_and_the_next_one_is_read() {
    let line = [b"NOOP ", &[b'x'; 600][..], b"\r\nNOOP\r\n"].concat();
    let (scenario, codes) = Scenario::open().send(&line).codes();
    assert_eq!(codes, ["500", "250"]);
    assert_eq!(scenario.rules(), ["line.too_long"]);
}

#[test]
fn each_verb_has_its_own_limit() {
    let line = |verb: &str, octets: usize| format!("{verb}{}", "x".repeat(octets - 2 - verb.len()));
    Scenario::open()
        .say(&line("NOOP ", 512), "250")
        .say(&line("NOOP ", 513), "500 5.5.2")
        .greeted()
        .say(&line("MAIL FROM:<a@b> ENVID=", 600), "501 5.5.4")
        .say(&line("MAIL FROM:<a@b> ENVID=", 1513), "500 5.5.2")
        .still_open();
}

#[test]
fn an_endless_line_is_dropped_and_ends_at_the_limit() {
    let mut scenario = Scenario::with(|config| config.limits.drain_octets = 10_000);
    for _ in 0..10 {
        scenario = scenario.send(&[b'x'; 1000]).still_open();
    }
    scenario.send(b"x").closed_by(CloseReason::DrainLimit);
}

#[test]
fn nothing_is_read_behind_the_end() {
    let scenario = Scenario::open().send(b"QUIT\r\nMAIL FROM:<a@b>\r\n").hears("221 2.0.0 Goodbye|");
    scenario.send(b"NOOP\r\n").hears("").closed_by(CloseReason::Quit);
}
