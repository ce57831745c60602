use gatepost_smtp::server::{ClassRights, CloseReason};

use crate::scenario::{Event, Scenario, config, submission};

#[test]
fn the_secured_session_knows_nothing_of_the_plaintext_one() {
    let mut scenario = Scenario::on(submission()).greeted().say("STARTTLS", "220 2.0.0").secured();
    assert_eq!(scenario.session().helo(), None);
    scenario.say("MAIL FROM:<a@b>", "530 5.7.0 Authentication required").greeted().still_open();
}

#[test]
fn a_transaction_does_not_live_through_the_upgrade() {
    let mut config = submission();
    config.rights = ClassRights::default();
    let scenario = Scenario::on(config).ready_for_body().say("STARTTLS", "220").secured();
    assert_eq!(scenario.asked("Abort"), 1);
    scenario.say("DATA", "503 5.5.1");
}

#[test]
fn octets_behind_starttls_end_the_session_without_an_upgrade() {
    let scenario = Scenario::on(submission())
        .greeted()
        .send(b"STARTTLS\r\nR")
        .closed_by(CloseReason::PlaintextAfterStarttls);
    assert!(!scenario.events.contains(&Event::Upgraded));
    scenario.hears("554 5.5.0 Wait for 220 before TLS, closing|");
}

#[test]
fn octets_between_the_220_and_the_handshake_end_the_session() {
    Scenario::on(submission())
        .greeted()
        .say("STARTTLS", "220")
        .send(b"NOOP\r\n")
        .closed_by(CloseReason::PlaintextAfterStarttls)
        .hears("");
}

#[test]
fn starttls_has_its_place() {
    Scenario::on(config()).greeted().say("STARTTLS", "502 5.5.1");
    Scenario::on(submission()).say("STARTTLS", "503 5.5.1").greeted().say("STARTTLS now", "501 5.5.4");
    Scenario::inside_tls(submission()).greeted().say("STARTTLS", "503 5.5.1");
}

#[test]
fn the_upgrade_does_not_refill_the_error_budget() {
    let mut config = submission();
    config.limits.errors = 2;
    Scenario::on(config)
        .greeted()
        .say("X", "500")
        .say("STARTTLS", "220")
        .secured()
        .say("X", "500")
        .say("X", "421 4.7.0")
        .closed_by(CloseReason::TooManyErrors);
}

#[test]
fn a_session_that_was_not_told_to_upgrade_does_not() {
    use gatepost_smtp::server::{Output, PeerFacts, Session};

    let now = std::time::Instant::now();
    let peer = PeerFacts::anonymous("192.0.2.1:1".parse().unwrap(), None);
    let session = Session::open(submission().into(), peer, now);
    let mut secured = session.into_secured(crate::scenario::tls(), now);
    assert_eq!(secured.poll(), Some(Output::Close(CloseReason::TlsFailed)));
}
