use gatepost_smtp::server::{CloseReason, Notice};

use crate::scenario::{Event, Scenario, submission};

#[test]
fn quit_aborts_an_open_transaction() {
    let scenario = Scenario::open().ready_for_body().say("QUIT", "221 2.0.0").closed_by(CloseReason::Quit);
    assert_eq!(scenario.asked("Abort"), 1);
}

#[test]
fn a_peer_that_goes_leaves_nothing_behind() {
    let scenario = Scenario::open().ready_for_body().say("DATA", "354").send(b"half a mail").eof();
    assert_eq!(scenario.closed_by(CloseReason::PeerClosed).asked("Abort"), 1);
    let scenario = Scenario::inside_tls(submission()).greeted().say("AUTH PLAIN", "334").eof();
    assert_eq!(scenario.closed_by(CloseReason::PeerClosed).asked("AuthenticateAbort"), 1);
}

#[test]
fn a_mail_that_is_being_stored_is_reported_although_the_peer_has_gone() {
    let scenario =
        Scenario::open().ready_for_body().say("DATA", "354").hold_answers().send(b"x\r\n.\r\n").eof();
    let scenario = scenario.still_open().answer_held().closed_by(CloseReason::PeerClosed);
    let stored = Notice::Stored { queue_id: "01Q".to_owned(), octets: 3, recipients: 1 };
    assert!(scenario.events.contains(&Event::Noticed(stored)));
}

#[test]
fn shutdown_ends_an_idle_session_at_once() {
    Scenario::open()
        .greeted()
        .shutdown()
        .hears("421 4.3.2 Shutting down, try later|")
        .closed_by(CloseReason::Shutdown);
    Scenario::inside_tls(submission())
        .greeted()
        .say("AUTH PLAIN", "334")
        .shutdown()
        .closed_by(CloseReason::Shutdown);
}

#[test]
fn shutdown_lets_a_transaction_end() {
    let scenario = Scenario::open().ready_for_body().shutdown().still_open().say("DATA", "354");
    let (scenario, codes) = scenario.send(b"x\r\n.\r\n").codes();
    assert_eq!(codes, ["250", "421"]);
    assert_eq!(scenario.closed_by(CloseReason::Shutdown).stored.len(), 1);
    Scenario::open().ready_for_body().shutdown().send(b"RSET\r\n").closed_by(CloseReason::Shutdown);
}

#[test]
fn shutdown_waits_for_a_mail_that_is_being_stored() {
    let scenario = Scenario::open().ready_for_body().say("DATA", "354").hold_answers().send(b"x\r\n.\r\n");
    let (scenario, codes) = scenario.shutdown().still_open().answer_held().codes();
    assert_eq!(codes, ["250", "421"]);
    scenario.closed_by(CloseReason::Shutdown);
}

#[test]
fn a_stale_answer_is_ignored() {
    use gatepost_smtp::server::{Answer, Ticket};

    let mut scenario = Scenario::open().greeted().hold_answers().send(b"MAIL FROM:<a@b>\r\n");
    let now = std::time::Instant::now();
    scenario.session().answer(now, Ticket(999), Answer::Accepted);
    assert!(scenario.session().is_waiting());
    assert!(!scenario.answer_held().session().is_waiting());
}

#[test]
fn an_answer_that_does_not_fit_ends_the_session() {
    use gatepost_smtp::server::{Answer, Output};

    let mut scenario = Scenario::open().greeted();
    let now = std::time::Instant::now();
    let session = scenario.session();
    assert_eq!(session.feed(now, b"MAIL FROM:<a@b>\r\n", &mut Vec::new()), 17);
    let Some(Output::Ask(ticket, _)) = session.poll() else { panic!("no question") };
    session.answer(now, ticket, Answer::Challenge(Vec::new()));
    let outputs: Vec<_> = std::iter::from_fn(|| session.poll()).collect();
    assert_eq!(outputs.last(), Some(&Output::Close(CloseReason::Backend)));
}
