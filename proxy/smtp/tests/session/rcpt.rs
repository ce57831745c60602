use crate::scenario::Scenario;

fn begun() -> Scenario {
    Scenario::open().greeted().say("MAIL FROM:<a@b>", "250")
}

#[test]
fn rcpt_wants_a_transaction() {
    Scenario::open().greeted().say("RCPT TO:<a@b>", "503 5.5.1");
}

#[test]
fn recipients_are_accepted_and_refused_one_by_one() {
    let scenario = begun()
        .say("RCPT TO:<nobody@x.example>", "550 5.1.1")
        .say("RCPT TO:<Postmaster>", "250 2.1.5")
        .say("RCPT TO:<@relay.example:joe@x.example>", "250 2.1.5")
        .say("RCPT TO:<joe@x.example> ORCPT=rfc822;joe@x.example NOTIFY=FAILURE", "250 2.1.5")
        .say("RCPT TO: <joe@x.example>", "501 5.5.4")
        .say("RCPT TO:<joe>", "501 5.1.3")
        .say("RCPT TO:<>", "501 5.1.3")
        .say("RCPT TO:<joe@x.example> SIZE=1", "555 5.5.4");
    let scenario = scenario.say("DATA", "354");
    assert!(format!("{:?}", scenario.events).contains("Postmaster"));
}

#[test]
fn more_recipients_than_the_limit_are_told_to_come_later_and_are_no_errors() {
    let mut scenario = Scenario::with(|config| {
        config.limits.recipients = 2;
        config.limits.errors = 1;
    })
    .ready_for_body()
    .say("RCPT TO:<joe@x.example>", "250");
    for _ in 0..5 {
        scenario = scenario.say("RCPT TO:<joe@x.example>", "452 4.5.3");
    }
    scenario.say("DATA", "354").still_open();
}

#[test]
fn a_body_without_recipients_is_refused() {
    begun().say("DATA", "503 5.5.1").say("RCPT TO:<nobody@x.example>", "550").say("DATA", "554 5.5.1");
}

#[test]
fn a_pipelined_group_is_answered_in_one_write() {
    let group = b"MAIL FROM:<a@b>\r\nRCPT TO:<nobody@x>\r\nRCPT TO:<joe@x>\r\nDATA\r\n";
    let (scenario, codes) = Scenario::open().greeted().send(group).codes();
    assert_eq!(codes, ["250", "550", "250", "354"]);
    scenario.send(b"x\r\n.\r\n").hears("250 2.0.0 Queued as 01Q|");
}
