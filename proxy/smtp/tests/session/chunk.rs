use gatepost_smtp::server::CloseReason;

use crate::scenario::{Scenario, submission};

#[test]
fn chunks_are_stored_and_may_be_pipelined() {
    let (scenario, codes) =
        Scenario::open().ready_for_body().send(b"BDAT 3\r\na\r\nBDAT 4\r\n.\r\nbBDAT 2 LAST\r\n\r\n").codes();
    assert_eq!(codes, ["250", "250", "250"]);
    assert_eq!(scenario.stored, [b"a\r\n.\r\nb\r\n"]);
    assert_eq!(scenario.asked("Body"), 1);
}

#[test]
fn an_empty_last_chunk_ends_the_body_and_a_missing_crlf_is_added() {
    let scenario = Scenario::open().ready_for_body().send(b"BDAT 1\r\naBDAT 0 LAST\r\n");
    assert_eq!(scenario.stored, [b"a\r\n"]);
    let scenario = Scenario::open().ready_for_body().say("BDAT 0 LAST", "250 2.0.0 Queued");
    assert_eq!(scenario.stored, [b""]);
    Scenario::open().ready_for_body().say("BDAT 0", "250 2.0.0 Chunk");
}

#[test]
fn a_refused_chunk_is_discarded_and_never_parsed() {
    let chunk = b"BDAT 18 LAST\r\nRSET\r\nNOOP\r\nQUIT\r\n";
    for (scenario, code) in [
        (Scenario::open().greeted(), "503"),
        (Scenario::on(submission()).greeted(), "530"),
        (Scenario::inside_tls(submission()).greeted(), "530"),
        (Scenario::open().greeted().say("MAIL FROM:<a@b>", "250"), "503"),
        (Scenario::open().greeted().say("MAIL FROM:<a@b>", "250").say("RCPT TO:<nobody@x>", "550"), "554"),
        (Scenario::with(|config| config.limits.message_octets = 10).ready_for_body(), "552"),
    ] {
        let (scenario, codes) = scenario.send(chunk).codes();
        assert_eq!(codes, [code]);
        assert!(scenario.say("NOOP", "250").stored.is_empty());
    }
}

#[test]
fn a_refused_chunk_is_answered_once_its_octets_are_in() {
    Scenario::open()
        .greeted()
        .send(b"BDAT 10\r\n123456789")
        .hears("")
        .send(b"0")
        .hears("503 5.5.1 Bad sequence of commands|");
}

#[test]
fn chunks_behind_a_refused_one_are_refused_and_no_further_errors() {
    let mut scenario = Scenario::with(|config| {
        config.limits.message_octets = 10;
        config.limits.errors = 1;
    })
    .ready_for_body()
    .chunk("BDAT 5", "12345", "250")
    .chunk("BDAT 6", "123456", "552 5.3.4");
    assert_eq!(scenario.asked("Abort"), 1);
    for _ in 0..3 {
        scenario = scenario.chunk("BDAT 2", "xx", "503 5.5.1");
    }
    let scenario =
        scenario.chunk("BDAT 2 LAST", "xx", "503 5.5.1").say("MAIL FROM:<a@b>", "250").still_open();
    assert!(scenario.stored.is_empty());
}

#[test]
fn more_refused_octets_than_the_limit_end_the_session_at_once() {
    Scenario::with(|config| config.limits.drain_octets = 20)
        .greeted()
        .chunk("BDAT 15", "123456789012345", "503")
        .say("BDAT 6", "421 4.7.0")
        .closed_by(CloseReason::DrainLimit);
    Scenario::open()
        .greeted()
        .say("BDAT 18446744073709551615", "421 4.7.0")
        .closed_by(CloseReason::DrainLimit);
}

#[test]
fn a_chunk_whose_size_cannot_be_read_ends_the_session() {
    let overlong = format!("BDAT {:0>600}", 1);
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999", &overlong] {
        Scenario::open().ready_for_body().say(line, "501 5.5.4").closed_by(CloseReason::BadFraming);
    }
}

#[test]
fn a_chunk_with_a_fault_is_drained_and_ends_the_session() {
    let scenario = Scenario::open().ready_for_body().send(b"BDAT 10\r\na\nb\r\n").hears("").still_open();
    let scenario = scenario.send(b"NOOP\r\n").hears("554 5.6.0 Message refused: lines must end with CR LF|");
    assert_eq!(scenario.closed_by(CloseReason::BadFraming).asked("Abort"), 1);
}

#[test]
fn the_line_rule_holds_across_chunk_borders() {
    let (scenario, codes) =
        Scenario::open().ready_for_body().send(b"BDAT 2\r\na\rBDAT 2 LAST\r\n\nb").codes();
    assert_eq!(codes, ["250", "250"]);
    assert_eq!(scenario.stored, [b"a\r\nb\r\n"]);
    Scenario::open()
        .ready_for_body()
        .send(b"BDAT 2\r\na\rBDAT 1 LAST\r\nb")
        .closed_by(CloseReason::BadFraming);
    Scenario::open().ready_for_body().send(b"BDAT 2 LAST\r\na\r").closed_by(CloseReason::BadFraming);
}

#[test]
fn the_added_crlf_counts() {
    let limited = || Scenario::with(|config| config.limits.message_octets = 3).ready_for_body();
    limited().chunk("BDAT 2 LAST", "ab", "552 5.3.4").still_open();
    limited().chunk("BDAT 1 LAST", "a", "250");
}

#[test]
fn data_and_rcpt_do_not_follow_a_chunk() {
    Scenario::open()
        .ready_for_body()
        .chunk("BDAT 1", "a", "250")
        .say("DATA", "503 5.5.1")
        .say("RCPT TO:<joe@x.example>", "503 5.5.1")
        .say("BDAT 0 LAST", "250 2.0.0 Queued");
}

#[test]
fn a_binary_body_needs_chunks_and_is_handed_on_as_it_is() {
    let binary = || {
        Scenario::with(|config| config.binarymime = true)
            .greeted()
            .say("MAIL FROM:<a@b> BODY=BINARYMIME", "250")
            .say("RCPT TO:<joe@x.example>", "250")
    };
    binary().say("DATA", "503 5.5.1");
    let scenario = binary().send(b"BDAT 5 LAST\r\n\0\n\r\xffx").hears("250 2.0.0 Queued as 01Q|");
    assert_eq!(scenario.stored, [b"\0\n\r\xffx"]);
}

#[test]
fn a_first_chunk_refused_outside_is_discarded() {
    let mut scenario = Scenario::open().ready_for_body();
    for _ in 0..5 {
        scenario = scenario.say("RCPT TO:<joe@x.example>", "250");
    }
    let scenario = scenario
        .send(b"BDAT 6 LAST\r\nQUIT\r\n")
        .hears("452 4.3.1 Insufficient storage, try later|")
        .still_open();
    assert_eq!(scenario.asked("Abort"), 1);
    assert!(scenario.stored.is_empty());
}
