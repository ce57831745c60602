use std::time::Duration;

use gatepost_smtp::server::{CloseReason, Limits};

use crate::scenario::{Scenario, submission};

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        command: 10 * SECOND,
        data_idle: 5 * SECOND,
        data_total: 20 * SECOND,
        session: 100 * SECOND,
        ..Limits::default()
    }
}

fn open() -> Scenario {
    Scenario::with(|config| config.limits = limits())
}

#[test]
fn a_command_must_be_whole_in_time() {
    let scenario = open().send(b"NO").wait(9 * SECOND).send(b"O").wait(SECOND);
    scenario.hears("421 4.4.2 Timeout, closing|").closed_by(CloseReason::TimedOut);
}

#[test]
fn each_command_begins_the_time_anew() {
    let mut scenario = open();
    for _ in 0..5 {
        scenario = scenario.wait(9 * SECOND).say("NOOP", "250");
    }
    assert_eq!(scenario.time_left(), 10 * SECOND);
}

#[test]
fn the_session_has_an_end_that_commands_do_not_move() {
    let mut scenario = open();
    for _ in 0..11 {
        scenario = scenario.wait(9 * SECOND).say("NOOP", "250");
    }
    scenario
        .wait(SECOND)
        .hears("421 4.7.0 Session budget spent, closing|")
        .closed_by(CloseReason::BudgetSpent);
}

#[test]
fn a_body_that_stalls_times_out() {
    let scenario =
        open().ready_for_body().say("DATA", "354").wait(4 * SECOND).send(b"x").wait(4 * SECOND).still_open();
    let scenario = scenario.wait(SECOND).closed_by(CloseReason::TimedOut);
    assert_eq!(scenario.asked("Abort"), 1);
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up() {
    let scenario = open().too_slow().still_open().ready_for_body().say("DATA", "354").send(b"x").too_slow();
    let scenario = scenario.hears("421 4.4.2 Too slow, closing|").closed_by(CloseReason::TimedOut);
    assert_eq!(scenario.asked("Abort"), 1);
}

#[test]
fn a_session_may_send_so_many_octets() {
    let scenario = Scenario::with(|config| config.limits.octets = 20);
    let scenario = scenario.say("NOOP 12345", "250").say("NOOP 12345", "250");
    scenario.send(b"N").hears("421 4.7.0 Session budget spent, closing|").closed_by(CloseReason::BudgetSpent);
}

#[test]
fn a_body_that_trickles_times_out() {
    let mut scenario = open().ready_for_body().say("DATA", "354");
    for _ in 0..4 {
        scenario = scenario.wait(4 * SECOND).send(b"x").still_open();
    }
    scenario.wait(4 * SECOND).hears("421 4.4.2 Timeout, closing|").closed_by(CloseReason::TimedOut);
}

#[test]
fn chunks_share_one_time_for_the_whole_body() {
    let mut scenario = open().ready_for_body();
    for _ in 0..5 {
        scenario = scenario.chunk("BDAT 1", "x", "250").wait(4 * SECOND);
    }
    scenario.hears("421 4.4.2 Timeout, closing|").closed_by(CloseReason::TimedOut);
}

#[test]
fn a_refused_chunk_has_the_time_of_a_body() {
    open().greeted().send(b"BDAT 10\r\nx").wait(5 * SECOND).closed_by(CloseReason::TimedOut);
}

#[test]
fn an_exchange_has_the_time_of_a_command() {
    let mut config = submission();
    config.limits = limits();
    let scenario = Scenario::inside_tls(config).greeted().say("AUTH PLAIN", "334").wait(10 * SECOND);
    assert_eq!(scenario.closed_by(CloseReason::TimedOut).asked("AuthenticateAbort"), 1);
}

#[test]
fn our_own_slowness_is_not_the_peers() {
    let scenario =
        open().ready_for_body().say("DATA", "354").hold_answers().send(b"x\r\n.\r\n").wait(200 * SECOND);
    let scenario = scenario.still_open().answer_held().hears("250 2.0.0 Queued as 01Q|");
    scenario.wait(SECOND).closed_by(CloseReason::BudgetSpent);
}

#[test]
fn an_answer_that_never_comes_ends_the_session() {
    let scenario =
        open().greeted().hold_answers().send(b"MAIL FROM:<a@b>\r\n").wait(599 * SECOND).still_open();
    scenario.wait(SECOND).hears("421 4.3.0 Local error, closing|").closed_by(CloseReason::Backend);
}
