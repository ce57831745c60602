use gatepost_smtp::server::CloseReason;

use crate::scenario::Scenario;

#[test]
fn mail_wants_a_greeting_and_no_open_transaction() {
    Scenario::open()
        .say("MAIL FROM:<a@b>", "503 5.5.1")
        .greeted()
        .say("MAIL FROM:<a@b>", "250 2.1.0")
        .say("MAIL FROM:<a@b>", "503 5.5.1");
}

#[test]
fn a_malformed_mail_is_told_what_is_wrong() {
    Scenario::open()
        .greeted()
        .say("MAIL FROM: <a@b>", "501 5.5.4")
        .say("MAIL FROM:a@b", "501 5.1.7")
        .say("MAIL FROM:<a@@b>", "501 5.1.7")
        .say("MAIL TO:<a@b>", "501 5.5.4")
        .say("MAIL FROM:<a@b> SIZE=many", "501 5.5.4")
        .say("MAIL FROM:<a@b> WHAT=this", "555 5.5.4")
        .say("MAIL FROM:<>", "250 2.1.0");
}

#[test]
fn a_declared_size_over_the_limit_is_refused() {
    Scenario::with(|config| config.limits.message_octets = 1000)
        .greeted()
        .say("MAIL FROM:<a@b> SIZE=1001", "552 5.3.4")
        .say("MAIL FROM:<a@b> SIZE=1000", "250");
}

#[test]
fn a_mail_can_be_made_to_stay_in_tls_where_it_comes_in_tls() {
    Scenario::inside_tls(crate::scenario::config())
        .greeted()
        .say("MAIL FROM:<a@b> REQUIRETLS=1", "501 5.5.4")
        .say("MAIL FROM:<a@b> REQUIRETLS", "250");
}

#[test]
fn parameters_of_what_is_not_offered_are_refused() {
    Scenario::open()
        .greeted()
        .say("MAIL FROM:<a@b> REQUIRETLS", "555 5.5.4")
        .say("MAIL FROM:<a@b> BODY=BINARYMIME", "555 5.5.4")
        .say("HELO c", "250")
        .say("MAIL FROM:<a@b> SIZE=1", "555 5.5.4")
        .say("MAIL FROM:<a@b>", "250")
        .say("RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4");
}

#[test]
fn an_address_outside_of_ascii_needs_smtputf8() {
    Scenario::open()
        .greeted()
        .say("MAIL FROM:<ä@b>", "550 5.6.7")
        .say("MAIL FROM:<a@b> AUTH=+C3+A4@b", "550 5.6.7")
        .say("MAIL FROM:<a@b>", "250")
        .say("RCPT TO:<ä@b>", "553 5.6.7")
        .say("RSET", "250")
        .say("MAIL FROM:<ä@b> SMTPUTF8", "250")
        .say("RCPT TO:<ä@b>", "250 2.1.5");
}

#[test]
fn a_sender_refused_outside_leaves_no_transaction() {
    let scenario =
        Scenario::open().greeted().say("MAIL FROM:<forged@b>", "550 5.7.1").say("RCPT TO:<a@b>", "503 5.5.1");
    assert_eq!(scenario.asked("Abort"), 0);
    scenario.say("MAIL FROM:<a@b>", "250");
}

#[test]
fn the_transactions_of_a_session_are_numbered() {
    Scenario::with(|config| config.limits.transactions = 1)
        .greeted()
        .say("MAIL FROM:<a@b>", "250")
        .say("RSET", "250")
        .say("MAIL FROM:<a@b>", "421 4.7.0")
        .closed_by(CloseReason::BudgetSpent);
}

#[test]
fn one_refusal_too_many_ends_the_session() {
    Scenario::with(|config| config.limits.errors = 2)
        .greeted()
        .say("WHAT", "500")
        .say("DATA", "503")
        .say("WHAT", "421 4.7.0 Too many errors")
        .closed_by(CloseReason::TooManyErrors);
}

#[test]
fn the_commands_of_a_session_are_numbered() {
    Scenario::with(|config| config.limits.commands = 2)
        .say("NOOP", "250")
        .say("NOOP", "250")
        .say("NOOP", "421 4.7.0")
        .closed_by(CloseReason::BudgetSpent);
}
