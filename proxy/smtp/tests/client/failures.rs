use std::time::Duration;

use gatepost_smtp::client::{Failure, Fault, Outcome, Stage};

use crate::dialog::{Dialog, config, mail};

const BODY: &[u8] = b"x\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// What a server says that takes one mail, step by step, and where the session stands before each.
const STEPS: [(Stage, &str); 6] = [
    (Stage::Greeting, "220 hello"),
    (Stage::Hello, "250 mx"),
    (Stage::Mail, "250 ok"),
    (Stage::Rcpt, "250 ok"),
    (Stage::Data, "354 go"),
    (Stage::EndOfData, "250 queued"),
];

/// A session that has heard so many of them, with a mail on its way where there can be one.
fn heard(steps: usize) -> Dialog {
    let mut dialog = Dialog::new(config());
    for (number, (_, reply)) in STEPS.iter().take(steps).enumerate() {
        dialog = dialog.hears(reply);
        if number == 1 {
            dialog = dialog.sends(mail(&["b@mx.example"], BODY), BODY);
        }
    }
    dialog
}

#[test]
fn a_connection_that_is_lost_at_any_step_loses_no_mail() {
    for (steps, (stage, _)) in STEPS.iter().enumerate() {
        let dialog = heard(steps).cut().ends(&format!("connection lost at {stage}"));
        if steps >= 2 {
            dialog.comes_to(&[&format!("lost connection lost at {stage}")]);
        }
    }
}

#[test]
fn a_server_that_stalls_at_any_step_is_given_up_in_time() {
    let patience = config().patience;
    for (steps, (stage, _)) in STEPS.iter().enumerate() {
        let time = match stage {
            Stage::Greeting => patience.greeting,
            Stage::Data => patience.data,
            Stage::EndOfData => patience.end_of_data,
            _ => patience.command,
        };
        let waiting = heard(steps).waits(time - SECOND);
        assert!(waiting.is_open(), "{stage}");
        waiting.receives(b"25").waits(SECOND).ends(&format!("timed out at {stage}"));
    }
}

#[test]
fn a_server_that_closes_at_any_step_puts_the_mail_off() {
    for (steps, (stage, _)) in STEPS.iter().enumerate() {
        let dialog = heard(steps).hears("421 4.3.2 going down");
        let dialog = dialog.ends(&format!("closed by the next hop at {stage}: 421 4.3.2 going down"));
        if steps >= 2 {
            dialog.comes_to(&["temporary 421 4.3.2 going down"]);
        }
    }
}

#[test]
fn no_mail_is_lost_to_a_reply_that_a_command_cannot_have() {
    for (steps, (stage, good)) in STEPS.iter().enumerate().skip(2) {
        let odd = if good.starts_with("354") { "250 ok" } else { "354 go" };
        let dialog = heard(steps).hears(odd).ends(&format!("unexpected reply to {stage}: {odd}"));
        dialog.comes_to(&[&format!("lost unexpected reply to {stage}: {odd}")]);
        let dialog = heard(steps).receives(b"250-ok\r\n550 no\r\n");
        dialog.comes_to(&[&format!("lost a reply of two codes at {stage}")]);
    }
}

#[test]
fn replies_that_are_said_ahead_of_their_commands_are_not_taken() {
    let ahead = "250 ok\n250 ok\n354 go\n250 queued";
    heard(2).hears(ahead).comes_to(&["lost a reply without a command at RCPT"]);
    let group = Dialog::offered(&["PIPELINING"]).sends(mail(&["b@mx.example"], BODY), BODY);
    group.hears(ahead).comes_to(&["lost a reply without a command at the body"]);
}

#[test]
fn a_good_end_and_421_behind_it_are_both_heard() {
    let dialog = heard(5).hears("250 queued\n421 that was enough");
    dialog.comes_to(&["accepted 250 queued"]).ends("closed by the next hop at rest: 421 that was enough");
}

#[test]
fn a_server_that_answers_one_command_after_the_other_very_slowly_is_given_up() {
    let names: Vec<_> = (0..1_000).map(|n| format!("r{n}@mx.example")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut dialog = Dialog::offered(&[]).sends(mail(&names, BODY), BODY);
    let patience = config().patience;
    let mut waited = Duration::ZERO;
    while dialog.is_open() {
        dialog = dialog.waits(patience.command - SECOND);
        waited += patience.command - SECOND;
        if dialog.is_open() {
            dialog = dialog.hears("250 ok");
        }
    }
    assert!(waited <= patience.transaction + patience.command, "{waited:?}");
    dialog.ends("timed out at RCPT");
}

#[test]
fn only_behind_the_whole_body_may_a_mail_have_been_delivered_unheard() {
    for (steps, (stage, _)) in STEPS.iter().enumerate().skip(2) {
        let Some(outcomes) = heard(steps).cut().outcomes else { panic!("no outcomes") };
        let [Outcome::Lost(failure)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!(failure.may_have_delivered(), *stage == Stage::EndOfData);
        assert_eq!(failure.fault(), Fault::Network);
    }
    assert!(!Failure::NoTls.may_have_delivered());
}

#[test]
fn a_server_that_refuses_the_body_before_its_end_is_believed() {
    let mut dialog =
        Dialog::offered(&[]).sends(mail(&["b@mx.example"], BODY), BODY).hears("250 ok").hears("250 ok");
    dialog.said();
    let mut dialog = dialog.hears("354 go\n552 5.3.4 too large").comes_to(&["permanent 552 5.3.4 too large"]);
    assert!(!dialog.said().contains("QUIT"), "it would be a line of the body");
    dialog.ends("the body refused: 552 5.3.4 too large");
}
