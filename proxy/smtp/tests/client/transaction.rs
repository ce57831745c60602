use gatepost_smtp::client::{Config, Content, Mail};
use gatepost_smtp::wire::params::{BodyKind, MailParams};

use crate::dialog::{Dialog, config, mail};

const BODY: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";

fn one() -> Mail {
    mail(&["b@mx.example"], BODY)
}

fn two() -> Mail {
    mail(&["b@mx.example", "c@mx.example"], BODY)
}

fn with_params(params: &str) -> Mail {
    let mut mail = mail(&["b@mx.example NOTIFY=DELAY ORCPT=rfc822;o@x"], BODY);
    mail.envelope.params = MailParams::parse(params).unwrap();
    mail
}

#[test]
fn a_mail_is_sent_command_by_command() {
    Dialog::offered(&[])
        .sends(two(), BODY)
        .says("MAIL FROM:<a@us.example>")
        .hears("250 ok")
        .says("RCPT TO:<b@mx.example>")
        .hears("250 ok")
        .says("RCPT TO:<c@mx.example>")
        .hears("251 forwarded")
        .says("DATA")
        .hears("354 go")
        .says("Subject: x\n\n..dot\n.")
        .hears("250 2.0.0 queued")
        .comes_to(&["accepted 250 2.0.0 queued", "accepted 250 2.0.0 queued"])
        .gets_ready()
        .says_nothing();
}

#[test]
fn a_mail_is_sent_in_one_group_where_pipelining_is_offered() {
    Dialog::offered(&["PIPELINING"])
        .sends(two(), BODY)
        .says("MAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>\nRCPT TO:<c@mx.example>\nDATA")
        .hears("250 ok\n550 5.1.1 no\n250 ok")
        .says_nothing()
        .hears("354 go")
        .says("Subject: x\n\n..dot\n.")
        .hears("250 queued")
        .comes_to(&["permanent 550 5.1.1 no", "accepted 250 queued"]);
}

#[test]
fn groups_are_bounded() {
    let names: Vec<_> = (0..250).map(|n| format!("r{n}@mx.example")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut dialog = Dialog::offered(&["PIPELINING"]).sends(mail(&names, BODY), BODY);
    for commands in [100, 100, 52] {
        assert_eq!(dialog.said().lines().count(), commands);
        if commands == 52 {
            break;
        }
        dialog = dialog.receives(&b"250 ok\r\n".repeat(commands - 1)).says_nothing();
        dialog = dialog.hears("250 ok");
    }
    let outcomes =
        dialog.receives(&b"250 ok\r\n".repeat(51)).hears("354 go").hears("250 queued").outcomes.unwrap();
    assert!(
        outcomes.len() == 250
            && outcomes.iter().all(|it| matches!(it, gatepost_smtp::client::Outcome::Accepted(_)))
    );
}

#[test]
fn refused_recipients_do_not_cost_the_others_their_mail() {
    Dialog::offered(&[])
        .sends(two(), BODY)
        .hears("250 ok")
        .hears("450 4.2.1 later")
        .hears("250 ok")
        .hears("354 go")
        .hears("250 queued")
        .comes_to(&["temporary 450 4.2.1 later", "accepted 250 queued"]);
}

#[test]
fn a_refused_sender_is_refused_for_all_recipients() {
    for (reply, kind) in [("550 5.7.1 no", "permanent"), ("451 4.3.0 later", "temporary")] {
        let expected = format!("{kind} {reply}");
        let step_by_step =
            Dialog::offered(&[]).sends(two(), BODY).says("MAIL FROM:<a@us.example>").hears(reply);
        step_by_step.says_nothing().comes_to(&[&expected, &expected]).gets_ready();
        let group = Dialog::offered(&["PIPELINING"]).sends(two(), BODY);
        group.hears(reply).hears("503 no\n503 no\n503 no").comes_to(&[&expected, &expected]).gets_ready();
        let absurd = Dialog::offered(&["PIPELINING"]).sends(two(), BODY);
        let mut absurd = absurd.hears(reply).hears("250 ok\n250 ok\n354 go");
        assert!(absurd.said().ends_with("DATA\r\n.\r\n"), "the body that nobody shall get is empty");
        absurd.hears("250 queued").comes_to(&[&expected, &expected]).gets_ready();
    }
}

#[test]
fn where_all_recipients_are_refused_there_is_no_body() {
    let dialog = Dialog::offered(&[]).sends(two(), BODY).hears("250 ok").hears("550 no").hears("450 later");
    let mut dialog = dialog.comes_to(&["permanent 550 no", "temporary 450 later"]).gets_ready();
    assert!(!dialog.said().contains("DATA"));
    let mut dialog = dialog.sends(one(), BODY);
    assert_eq!(dialog.said(), "RSET\r\n", "the transaction is still open");
    dialog.hears("250 ok").says("MAIL FROM:<a@us.example>");
}

#[test]
fn a_group_whose_recipients_are_all_refused_ends_with_an_empty_body() {
    let group = || Dialog::offered(&["PIPELINING"]).sends(one(), BODY).hears("250 ok\n550 no").hears_all();
    group().hears("354 go").says(".").hears("554 no recipients").comes_to(&["permanent 550 no"]).gets_ready();
    group().hears("354 go").says(".").hears("250 taken for nobody").comes_to(&["permanent 550 no"]);
    group()
        .hears("503 no")
        .says_nothing()
        .comes_to(&["permanent 550 no"])
        .sends(one(), BODY)
        .says("RSET\nMAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>\nDATA");
    group()
        .hears("354 go")
        .says(".")
        .hears("250 ok")
        .sends(one(), BODY)
        .says("MAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>\nDATA");
}

#[test]
fn a_refused_data_is_refused_for_those_who_were_accepted() {
    let dialog = Dialog::offered(&[]).sends(two(), BODY).hears("250 ok").hears("250 ok").hears("550 no");
    dialog.hears("451 later").comes_to(&["temporary 451 later", "permanent 550 no"]).gets_ready();
}

#[test]
fn a_refused_body_is_refused_for_those_who_were_accepted() {
    let sent = || Dialog::offered(&[]).sends(one(), BODY).hears("250 ok").hears("250 ok").hears("354 go");
    sent().hears("554 5.7.1 spam").comes_to(&["permanent 554 5.7.1 spam"]).gets_ready();
    sent().hears("452 4.3.1 full").comes_to(&["temporary 452 4.3.1 full"]).gets_ready();
}

#[test]
fn many_mails_share_a_connection() {
    let mut dialog = Dialog::offered(&[]);
    for _ in 0..3 {
        dialog = dialog
            .sends(one(), BODY)
            .says("MAIL FROM:<a@us.example>")
            .hears("250 ok")
            .hears("250 ok")
            .hears("354 go");
        dialog = dialog.hears("250 queued").comes_to(&["accepted 250 queued"]);
        dialog.said();
    }
    dialog.quits().says("QUIT");
}

#[test]
fn too_many_recipients_are_tried_again() {
    let dialog = Dialog::offered(&[]).sends(one(), BODY).hears("250 ok").hears("552 too many");
    dialog.comes_to(&["temporary 552 too many"]);
}

#[test]
fn parameters_go_to_servers_that_know_them() {
    let params = " SIZE=7 BODY=8BITMIME AUTH=q@us.example RET=HDRS ENVID=id+2B";
    let none = Dialog::offered(&[]).sends(with_params(params), BODY);
    none.says("MAIL FROM:<a@us.example>").hears("250 ok").says("RCPT TO:<b@mx.example>");
    let all = Dialog::offered(&["DSN", "SIZE 1000", "8BITMIME", "AUTH PLAIN"]);
    all.sends(with_params(params), BODY)
        .says("MAIL FROM:<a@us.example> SIZE=20 AUTH=<> RET=HDRS ENVID=id+2B")
        .hears("250 ok")
        .says("RCPT TO:<b@mx.example> NOTIFY=DELAY ORCPT=rfc822;o@x");
}

#[test]
fn a_body_is_declared_as_what_it_is() {
    let eight_bit = Content { octets: 20, kind: BodyKind::EightBitMime, has_utf8_header: false };
    let dialog = Dialog::offered(&["8BITMIME"]).sends(Mail { content: eight_bit, ..one() }, BODY);
    dialog.says("MAIL FROM:<a@us.example> BODY=8BITMIME");
}

#[test]
fn what_a_server_cannot_take_is_not_begun() {
    let content = |kind, has_utf8_header| Content { octets: 20, kind, has_utf8_header };
    let with_content = |params, content| Mail { content, ..with_params(params) };
    let table: [(&[&str], Mail, &str); 7] = [
        (
            &[],
            with_content("", content(BodyKind::EightBitMime, false)),
            "5.6.3 the next hop takes no 8-bit content",
        ),
        (
            &["8BITMIME", "CHUNKING"],
            with_content("", content(BodyKind::BinaryMime, false)),
            "5.6.3 the next hop takes no binary content",
        ),
        (
            &["8BITMIME"],
            with_content(" SMTPUTF8", content(BodyKind::EightBitMime, true)),
            "5.6.9 the next hop takes no headers outside of ASCII",
        ),
        (&["SIZE 19"], one(), "5.3.4 the message is too large for the next hop"),
        (&["REQUIRETLS"], with_params(" REQUIRETLS"), "5.7.30 the next hop does not support REQUIRETLS"),
        (
            &["8BITMIME"],
            {
                let mut mail = one();
                mail.envelope.reverse_path = "<\u{e4}@us.example>".parse().unwrap();
                mail
            },
            "5.6.7 the next hop takes no addresses outside of ASCII",
        ),
        (
            &["8BITMIME"],
            mail(&["\u{e4}@mx.example"], BODY),
            "5.6.7 the next hop takes no addresses outside of ASCII",
        ),
    ];
    for (offered, mail, reason) in table {
        let dialog = Dialog::offered(offered).sends(mail, BODY).says_nothing();
        dialog.comes_to(&[&format!("unsuited {reason}")]).gets_ready();
    }
}

#[test]
fn what_a_server_can_take_is_sent() {
    for size in ["SIZE 20", "SIZE", "SIZE 0"] {
        Dialog::offered(&[size]).sends(one(), BODY).says("MAIL FROM:<a@us.example> SIZE=20");
    }
    let secured = Dialog::secured(config()).greeted(&["REQUIRETLS"]).sends(with_params(" REQUIRETLS"), BODY);
    secured.says("MAIL FROM:<a@us.example> REQUIRETLS");
}

#[test]
fn a_recipient_outside_of_ascii_does_not_cost_the_others_their_mail() {
    let both = mail(&["\u{e4}@mx.example", "b@mx.example"], BODY);
    let without = Dialog::offered(&["PIPELINING"]).sends(both.clone(), BODY);
    without
        .says("MAIL FROM:<a@us.example>\nRCPT TO:<b@mx.example>\nDATA")
        .hears("250 ok\n250 ok\n354 go")
        .hears("250 queued")
        .comes_to(&[
            "unsuited 5.6.7 the next hop takes no addresses outside of ASCII",
            "accepted 250 queued",
        ]);
    let with = Dialog::offered(&["PIPELINING", "SMTPUTF8", "8BITMIME"]).sends(both, BODY);
    with.says("MAIL FROM:<a@us.example> SMTPUTF8\nRCPT TO:<\u{e4}@mx.example>\nRCPT TO:<b@mx.example>\nDATA");
}

#[test]
fn an_original_recipient_outside_of_ascii_is_spelt_in_it_where_it_must_be() {
    let orcpt = || mail(&["b@mx.example ORCPT=utf-8;\u{e4}@x"], BODY);
    let ascii =
        Dialog::offered(&["DSN"]).sends(orcpt(), BODY).says("MAIL FROM:<a@us.example>").hears("250 ok");
    ascii.says("RCPT TO:<b@mx.example> ORCPT=utf-8;\\x{E4}@x");
    let utf8 = Dialog::offered(&["DSN", "SMTPUTF8"])
        .sends(orcpt(), BODY)
        .says("MAIL FROM:<a@us.example>")
        .hears("250 ok");
    utf8.says("RCPT TO:<b@mx.example> ORCPT=utf-8;\u{e4}@x");
}

#[test]
fn a_mail_in_the_middle_of_another_is_not_begun() {
    let mut dialog = Dialog::new(Config { ..config() });
    let now = std::time::Instant::now();
    assert!(dialog.session().begin(now, one()).is_err());
    assert!(dialog.session().quit(now).is_err());
    let mut dialog = Dialog::offered(&[]).sends(one(), BODY);
    assert!(dialog.session().begin(now, one()).is_err());
    assert!(dialog.is_open());
}

impl Dialog {
    /// What was said before is of no interest.
    fn hears_all(mut self) -> Self {
        self.said();
        self
    }
}
