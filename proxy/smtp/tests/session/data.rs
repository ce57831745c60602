use gatepost_smtp::server::{CloseReason, Notice, PeerClass, PeerFacts, Refusal};

use crate::scenario::{Event, Scenario, config};

fn in_data() -> Scenario {
    Scenario::open().ready_for_body().say("DATA", "354 ")
}

#[test]
fn a_body_is_stored_and_its_queue_id_is_told() {
    let scenario = in_data().send(b"Subject: x\r\n\r\n..dot\r\n.\r\n").hears("250 2.0.0 Queued as 01Q|");
    assert_eq!(scenario.stored, [b"Subject: x\r\n\r\n.dot\r\n"]);
    let notice = Notice::Stored { queue_id: "01Q".to_owned(), octets: 20, recipients: 1 };
    assert_eq!(scenario.events.last(), Some(&Event::Noticed(notice)));
    assert_eq!(scenario.asked("Abort"), 0);
    scenario.say("MAIL FROM:<a@b>", "250").still_open();
}

#[test]
fn a_reply_to_the_body_of_a_refused_commit_stands_even_with_the_error_budget_spent() {
    Scenario::with(|config| config.limits.errors = 0)
        .refuse_commits(Refusal::Infected)
        .ready_for_body()
        .say("DATA", "354")
        .send(b"x\r\n.\r\n")
        .hears("554 5.7.1 Message refused: malicious content|")
        .say("WHAT", "421 4.7.0");
}

#[test]
fn a_body_with_a_fault_is_drained_to_its_true_end_and_refused_once() {
    for body in [&b"a\nb\r\n.\nMAIL FROM:<evil@x>\r\n"[..], b"a\rb\r\n", b"a\0b\r\n", b"a\r\n.\r\r\n"] {
        let scenario = in_data().send(body).hears("").still_open();
        let scenario = scenario.send(b"more\r\n.\r\nNOOP\r\n").closed_by(CloseReason::BadFraming);
        assert_eq!(scenario.asked("Commit"), 0);
        assert_eq!(scenario.asked("Abort"), 1);
        scenario.hears("554 5.6.0 Message refused: lines must end with CR LF|");
    }
}

#[test]
fn a_body_over_the_limit_is_not_stored_and_the_session_goes_on() {
    let mut scenario =
        Scenario::with(|config| config.limits.message_octets = 100).ready_for_body().say("DATA", "354");
    for _ in 0..10 {
        scenario = scenario.send(&[b'x'; 40]);
    }
    let scenario = scenario.send(b"\r\n.\r\n").hears("552 5.3.4 Message too large|");
    assert_eq!(scenario.asked("Commit"), 0);
    assert_eq!(scenario.asked("Abort"), 1);
    assert_eq!(scenario.body_peak, 80, "what is over the limit is not kept");
    scenario.say("RCPT TO:<joe@x.example>", "503").still_open();
}

#[test]
fn the_limit_itself_is_legal() {
    let limited = |octets| {
        Scenario::with(|config| config.limits.message_octets = octets).ready_for_body().say("DATA", "354")
    };
    limited(5).send(b"abc\r\n.\r\n").hears("250 2.0.0 Queued as 01Q|");
    limited(4).send(b"abc\r\n.\r\n").hears("552 5.3.4 Message too large|");
}

/// EHLO, SIZE= and the count of DATA and BDAT agree.
#[test]
fn who_may_bypass_the_limit_has_a_larger_one() {
    let session = |class| {
        let mut config = config();
        config.limits.message_octets = 10;
        config.limits.message_octets_bypass = 20;
        Scenario::from(
            config,
            PeerFacts { class, ..PeerFacts::anonymous("192.0.2.1:25".parse().unwrap(), None) },
        )
    };
    for (class, octets) in [(PeerClass::Anonymous, 10), (PeerClass::Partner, 10), (PeerClass::Server, 20)] {
        let (_, hello) = session(class).send(b"EHLO c\r\n").heard();
        assert!(hello.contains(&format!("250-SIZE {octets}\r\n")), "{class:?}: {hello}");
        let sized = |size| format!("MAIL FROM:<a@b> SIZE={size}");
        session(class).greeted().say(&sized(octets + 1), "552 5.3.4").say(&sized(octets), "250");
        let body = |octets: usize| format!("{}\r\n.\r\n", "x".repeat(octets - 2)).into_bytes();
        let ready = || session(class).ready_for_body();
        ready().say("DATA", "354").send(&body(octets)).hears("250 2.0.0 Queued as 01Q|");
        let refused = ready().say("DATA", "354").send(&body(octets + 1));
        let limit = format!("{octets} octets");
        assert!(refused.events.iter().any(|event| matches!(event,
            Event::Noticed(Notice::Refused { limit: Some(told), .. }) if told.to_string() == limit)));
        refused.hears("552 5.3.4 Message too large|");
        let chunk = |octets: usize| "x".repeat(octets - 2) + "\r\n";
        ready().chunk(&format!("BDAT {octets} LAST"), &chunk(octets), "250");
        ready().chunk(&format!("BDAT {} LAST", octets + 1), &chunk(octets + 1), "552 5.3.4");
    }
}

#[test]
fn a_body_that_never_ends_is_drained_up_to_the_limit() {
    let mut scenario = Scenario::with(|config| {
        config.limits.message_octets = 100;
        config.limits.drain_octets = 100;
    })
    .ready_for_body()
    .say("DATA", "354");
    for _ in 0..5 {
        scenario = scenario.send(&[b'x'; 40]).still_open();
    }
    scenario.send(b"x").closed_by(CloseReason::DrainLimit).hears("421 4.7.0 Too much refused data, closing|");
}

#[test]
fn a_body_sent_before_the_354_is_not_read_at_all() {
    let scenario = Scenario::open().ready_for_body().send(b"DATA\r\nMAIL FROM:<evil@x>\r\n.\r\n");
    let scenario =
        scenario.closed_by(CloseReason::EarlyTalker).hears("554 5.5.0 Wait for 354 before sending, closing|");
    assert_eq!(scenario.asked("Body"), 0);
    Scenario::open().send(b"DATA\r\nMAIL FROM:<evil@x>\r\n.\r\n").closed_by(CloseReason::EarlyTalker);
}

#[test]
fn data_refused_outside_ends_the_transaction() {
    let mut scenario = Scenario::open().ready_for_body();
    for _ in 0..5 {
        scenario = scenario.say("RCPT TO:<joe@x.example>", "250");
    }
    let scenario = scenario.say("DATA", "452 4.3.1").say("DATA", "503 5.5.1");
    assert_eq!(scenario.asked("Abort"), 1);
}

#[test]
fn eight_bit_octets_and_long_lines_are_taken() {
    let body = [&[0xff; 5000][..], b"\r\n"].concat();
    let scenario = in_data().send(&body).send(b".\r\n").hears("250 2.0.0 Queued as 01Q|");
    assert_eq!(scenario.stored, [body]);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<gatepost_smtp::server::Session>() <= 1024);
}
