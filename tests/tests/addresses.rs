//! Who is meant: spellings of an address, domains in their two alphabets, limits of an envelope.

use gatepost_tests::mail;
use gatepost_tests::setup::Setup;

#[test]
fn a_domain_is_the_same_in_both_of_its_alphabets() {
    let mut server = Setup::new().open_listener().start();
    server.cli(["domain", "add", "bücher.example"]).succeed();
    server.add_user("leser@bücher.example");
    server.wait_for_recipient("leser@xn--bcher-kva.example");
    let mut smtp = server.smtp_open();
    let content = mail::small("idn");
    for (parameters, recipient) in [
        ("", "leser@xn--bcher-kva.example"),
        ("", "LESER@XN--BCHER-KVA.example"),
        (" SMTPUTF8", "leser@bücher.example"),
    ] {
        smtp.say(&format!("MAIL FROM:<a@b.example>{parameters}")).must("250 2.1.0");
        smtp.say(&format!("RCPT TO:<{recipient}>")).must("250 2.1.5");
        smtp.say("DATA").must("354");
        smtp.send(&gatepost_tests::smtp::stuffed(&content));
        smtp.reply().must("250 2.0.0");
    }
    for stored in server.inbox_of(&server.users[1], 3) {
        mail::assert_same_octets(mail::below_trace(&stored), &content);
    }
}

#[test]
fn a_utf8_mailbox_needs_smtputf8() {
    let server = Setup::new().user("jürgen@localhost").open_listener().start();
    let mut smtp = server.smtp_open();
    let reply = smtp.say("MAIL FROM:<jürgen@b.example>");
    assert!(matches!(reply.code, 550 | 553) && reply.is(&format!("{} 5.6.7", reply.code)), "{reply:?}");
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    let reply = smtp.say("RCPT TO:<jürgen@localhost>");
    assert!(matches!(reply.code, 550 | 553) && reply.is(&format!("{} 5.6.7", reply.code)), "{reply:?}");
    smtp.say("RSET").must("250 2.0.0");
    smtp.say("MAIL FROM:<jürgen@b.example> SMTPUTF8").must("250 2.1.0");
    smtp.say("RCPT TO:<jürgen@localhost>").must("250 2.1.5");
}

#[test]
fn more_recipients_than_allowed_are_told_to_come_later() {
    let server = Setup::new().open_listener().sections("[limits]\nrecipients = 100").start();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example>").must("250 2.1.0");
    for _ in 0..100 {
        smtp.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    }
    smtp.say("RCPT TO:<me@localhost>").must("452 4.5.3");
    smtp.say("DATA").must("354");
    smtp.send(b"Subject: many\r\n\r\nx\r\n.\r\n");
    smtp.reply().must("250 2.0.0");
}

#[test]
fn a_mail_that_has_been_through_too_many_servers_is_refused() {
    let server = Setup::new().open_listener().start();
    let mut smtp = server.smtp_open();
    let mut looping =
        b"Received: from a.example by b.example; Mon, 05 Jan 2026 10:00:00 +0000\r\n".repeat(150);
    looping.extend(mail::small("loop"));
    smtp.mail("a@b.example", &["me@localhost"], &looping).must("554 5.4.6");
    server.assert_no_mail();
}

#[test]
fn the_parameters_of_dsn_size_and_auth_are_taken() {
    let server = Setup::new().open_listener().start();
    let mut smtp = server.smtp_open();
    smtp.say("MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ314159 AUTH=<>")
        .must("250 2.1.0");
    smtp.say("RCPT TO:<me@localhost> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;me@localhost").must("250 2.1.5");
    smtp.say("RSET").must("250 2.0.0");
    smtp.say("MAIL FROM:<a@b.example> ret=full envid=x+20y auth=e+3Dmc2@b.example").must("250 2.1.0");
    smtp.say("RCPT TO:<me@localhost> NOTIFY=NEVER").must("250 2.1.5");
    smtp.say("RCPT TO:<me@localhost> NOTIFY=NEVER,SUCCESS").must("501 5.5.4");
    smtp.say("RCPT TO:<me@localhost> ORCPT=me@localhost").must("501 5.5.4");
}
