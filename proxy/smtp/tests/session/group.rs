//! MAIL and RCPTs that are asked about together.

use gatepost_smtp::server::Refusal;
use proptest::prelude::*;

use crate::scenario::Scenario;

fn in_groups() -> Scenario {
    Scenario::with(|config| config.asks_in_groups = true).greeted()
}

#[test]
fn the_commands_of_a_group_are_asked_about_before_the_first_is_answered() {
    let group =
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<joe@x.example>\r\nRCPT TO:<nobody@x.example>\r\nDATA\r\n";
    let scenario = in_groups().hold_answers().send(group);
    assert_eq!((scenario.asked("Mail"), scenario.asked("Recipient"), scenario.asked("Body")), (1, 2, 0));
    let (scenario, codes) = scenario.answer_held().codes();
    assert_eq!(codes, ["250", "250", "550", "354"]);
    assert_eq!(scenario.rules(), [Refusal::UnknownRecipient.rule()]);
    let alone = Scenario::open().greeted().hold_answers().send(group);
    assert_eq!((alone.asked("Mail"), alone.asked("Recipient")), (1, 0));
}

#[test]
fn what_is_no_plain_rcpt_waits_for_the_answers() {
    for line in ["NOOP", "RSET", "RCPT TO:<joe>", "RCPT TO:<joe@x.example> NOTIFY=x", "XYZ", "MAIL FROM:<>"] {
        let group = format!("MAIL FROM:<a@b.example>\r\n{line}\r\nRCPT TO:<joe@x.example>\r\n");
        let scenario = in_groups().hold_answers().send(group.as_bytes());
        assert_eq!(scenario.asked("Recipient"), 0, "{line}");
        let (_, heard) = scenario.heard();
        assert_eq!(heard.lines().filter(|line| !line.starts_with("250-")).count(), 0, "{line}: {heard}");
    }
}

#[test]
fn recipients_behind_a_refused_mail_are_out_of_place() {
    let (scenario, codes) =
        in_groups().send(b"MAIL FROM:<forged@b.example>\r\nRCPT TO:<joe@x.example>\r\nNOOP\r\n").codes();
    assert_eq!(codes, ["550", "503", "250"]);
    scenario.say("MAIL FROM:<a@b.example>", "250").still_open();
}

#[test]
fn a_session_that_ends_within_a_group_answers_no_more() {
    let scenario = in_groups().hold_answers().send(b"MAIL FROM:<a@b>\r\nRCPT TO:<joe@x.example>\r\nNOOP\r\n");
    let (_, heard) = scenario.eof().answer_held().heard();
    assert_eq!(heard, "");
}

/// Lines that have their place in a group, and lines that have not.
fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "MAIL FROM:<a@b.example>",
        "MAIL FROM:<a@b.example>",
        "MAIL FROM:<a",
        "RCPT TO:<joe@x.example>",
        "RCPT TO:<joe@x.example>",
        "RCPT TO:<joe@x.example>",
        "RCPT TO:<nobody@x.example>",
        "RCPT TO:<joe>",
        "RCPT TO:<\u{e4}@x.example>",
        "NOOP",
        "RSET",
        "EHLO client.example",
        "DATA",
        "BDAT 0",
        "BDAT 0 LAST",
        "XEXCH50 1 2",
        "QUIT",
        "bare\nLF",
        "X-LONG",
    ])
}

proptest! {
    /// Groups change when something is asked, and nothing of what is heard.
    #[test]
    fn a_peer_hears_the_same_whether_it_is_asked_about_in_groups_or_not(
        lines in prop::collection::vec(line(), 0..25),
        cut in 1_usize..400,
    ) {
        let long = "X".repeat(5_000);
        let octets: String =
            lines.iter().map(|line| format!("{}\r\n", if *line == "X-LONG" { &long } else { *line })).collect();
        let hear = |asks_in_groups| {
            let mut scenario = Scenario::with(|config| {
                config.asks_in_groups = asks_in_groups;
                config.limits.recipients = 3;
                config.limits.errors = 6;
                config.limits.commands = 20;
            })
            .greeted();
            for part in octets.as_bytes().chunks(cut) {
                scenario = scenario.send(part);
            }
            let (scenario, heard) = scenario.heard();
            (heard, scenario.rules(), scenario.close_reason(), scenario.stored)
        };
        prop_assert_eq!(hear(true), hear(false));
    }
}
