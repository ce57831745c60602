//! Deviations that a peer is allowed, and that no other is.

use gatepost_smtp::server::{CloseReason, Notice, PeerFacts, Quirks};

use crate::extension::stranger;
use crate::scenario::{Event, Scenario, config};

fn with(quirks: Quirks) -> Scenario {
    Scenario::from(config(), PeerFacts { quirks, ..stranger() })
}

fn noticed(scenario: &Scenario) -> usize {
    scenario.events.iter().filter(|event| matches!(event, Event::Noticed(Notice::Quirk { .. }))).count()
}

#[test]
fn one_space_behind_the_colon_is_taken_from_those_who_are_allowed_it() {
    let allowed = with(Quirks { space_after_colon: true, ..Quirks::default() }).greeted();
    let scenario = allowed.say("MAIL FROM: <a@b> SIZE=1", "250").say("RCPT to: <joe@x>", "250");
    assert_eq!(noticed(&scenario), 2);
    let scenario = scenario.say("RCPT TO:  <joe@x>", "501").say("RCPT TO:<joe@x>", "250");
    assert_eq!(noticed(&scenario), 3);
    with(Quirks::default()).greeted().say("MAIL FROM: <a@b>", "501 5.5.4");
}

#[test]
fn a_bare_lf_ends_lines_of_those_who_are_allowed_it() {
    let allowed = with(Quirks { bare_lf_normalise: true, ..Quirks::default() });
    let scenario = allowed.send(b"EHLO c\nMAIL FROM:<a@b>\r\nRCPT TO:<joe@x>\n");
    let scenario = scenario.send(b"DATA\n").send(b"..a\nb\r\n\n.\nQUIT\n");
    assert_eq!(scenario.stored, [b".a\r\nb\r\n\r\n"]);
    assert_eq!(noticed(&scenario), 5, "each line of a command, and the body as a whole");
    let scenario = scenario.closed_by(CloseReason::Quit);
    assert!(scenario.rules().is_empty());
}

#[test]
fn a_bare_cr_stays_a_fault() {
    let allowed = || with(Quirks { bare_lf_normalise: true, ..Quirks::default() });
    allowed().send(b"NOOP\r\r\n").closed_by(CloseReason::BadFraming);
    allowed().ready_for_body().say("DATA", "354").send(b"a\rb\n.\n").closed_by(CloseReason::BadFraming);
    allowed().ready_for_body().chunk("BDAT 4 LAST", "a\nb\n", "554").closed_by(CloseReason::BadFraming);
}
