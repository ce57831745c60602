//! Text of a peer that elsewhere became a command, a template or a look-up.

use gatepost_tests::mail;

use super::arena::Arena;
use super::table::{Row, row, run};

pub const ROWS: &[Row] = &[
    row!(
        "CVE-2019-10149",
        "Exim 4.87 to 4.91",
        "The local part of a recipient was expanded as a template that may run programs.",
        a_template_as_recipient_is_nobody,
    ),
    row!(
        "CVE-2020-7247",
        "OpenSMTPD 6.6.1",
        "A sender's local part with shell characters reached the command line of the delivery agent.",
        a_command_as_sender_is_no_mailbox,
    ),
    row!(
        "CVE-2007-4560, CVE-2010-1132",
        "clamav-milter 0.91.1, spamass-milter 0.3.1",
        "The recipient was put into a command line.",
        a_command_as_recipient_is_nobody,
    ),
    row!(
        "CVE-1999-0163, CVE-1999-0203",
        "sendmail",
        "A sender or recipient that began with a pipe was a program, run for the mail or its bounce.",
        a_pipe_is_nobody,
    ),
    row!(
        "CVE-2014-6271",
        "bash, behind qmail, procmail and others",
        "Addresses and headers in the environment of a shell were executed as functions.",
        no_text_of_a_mail_reaches_a_shell,
    ),
    row!(
        "CVE-2021-44228",
        "Log4j, behind James and others",
        "Text that was logged called up a server of the attacker's.",
        nothing_that_is_logged_calls_anybody,
    ),
    row!(
        "CVE-2014-2957, CVE-2011-1764",
        "Exim 4.82, 4.75",
        "A From field was expanded as a template, a DKIM signature used as a format string for the log.",
        headers_are_neither_templates_nor_formats,
    ),
    row!(
        "CVE-2016-1000282",
        "Haraka 2.8.8",
        "The name of a file in a zip archive was put into a command line.",
        the_name_of_an_attachment_is_no_command,
    ),
];

#[test]
fn programs_and_callbacks() {
    run(ROWS, Arena::open("[limits]\nerrors = 200"));
}

fn a_template_as_recipient_is_nobody(arena: &Arena) {
    let command = arena.command();
    let hex: String = command.bytes().map(|octet| format!("\\x{octet:02x}")).collect();
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<>").must("250 2.1.0");
    for recipient in [
        "${run{/bin/true}}@localhost".to_owned(),
        format!("${{run{{{hex}}}}}@localhost"),
        format!("\"${{run{{{command}}}}}\"@localhost"),
        "root+${run{x}}@localhost".to_owned(),
    ] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert!(matches!(reply.code, 501 | 550 | 553), "{recipient}: {reply:?}");
    }
    smtp.quit();
}

fn a_command_as_sender_is_no_mailbox(arena: &Arena) {
    let command = arena.command();
    let mut smtp = arena.smtp();
    for sender in [
        format!(";{command};"),
        format!("|{command}"),
        format!("`{command}`"),
        format!("$({command})@b.example"),
    ] {
        smtp.say(&format!("MAIL FROM:<{sender}>")).must("501 5.");
    }
    // Quoted it is legal, and a name like any other.
    smtp.say(&format!("MAIL FROM:<\";{};\"@b.example>", "touch x")).must("250 2.1.0");
    smtp.say("RCPT TO:<you@localhost>").must("250 2.1.5");
    smtp.bdat(&mail::small("from-a-command"), true).must("250 2.0.0");
    smtp.quit();
    arena.expect_mail();
    assert_eq!(mail::field(&arena.collect(), "Return-Path").as_deref(), Some("<\";touch x;\"@b.example>"));
}

fn a_command_as_recipient_is_nobody(arena: &Arena) {
    let command = arena.command();
    let mut smtp = arena.smtp();
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    for recipient in [
        format!("\"|{command}\""),
        format!("root+:\"|{command}\""),
        format!("\"me;{command}\"@localhost"),
        format!("\"me`{command}`\"@localhost"),
    ] {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}>"));
        assert!(matches!(reply.code, 500 | 501 | 550 | 553), "{recipient}: {reply:?}");
    }
    smtp.quit();
}

fn a_pipe_is_nobody(arena: &Arena) {
    let command = arena.command();
    let mut smtp = arena.smtp();
    smtp.say(&format!("MAIL FROM:<|{command}>")).must("501 5.");
    smtp.say(&format!("MAIL FROM: |{command}")).must("501 5.");
    smtp.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    for recipient in [
        format!("|{command}"),
        format!("<|{command}>"),
        format!("<\"|{command}\"@localhost>"),
        "<:include:/etc/passwd>".to_owned(),
        "</etc/passwd>".to_owned(),
    ] {
        let reply = smtp.say(&format!("RCPT TO:{recipient}"));
        assert!(matches!(reply.code, 500 | 501 | 550 | 553), "{recipient}: {reply:?}");
    }
    smtp.quit();
}

fn no_text_of_a_mail_reaches_a_shell(arena: &Arena) {
    let function = format!("() {{ :; }}; {}", arena.command());
    let mut smtp = arena.smtp();
    smtp.say(&format!("EHLO {function}")).must("501 5.");
    smtp.say(&format!("MAIL FROM:<{function}>")).must("501 5.");
    smtp.quit();
    let fields = ["From", "To", "Subject", "Message-ID", "X-Original-To", "Comments"];
    let header: String = fields.iter().map(|field| format!("{field}: {function}\r\n")).collect();
    let content = format!("{header}\r\n{function}\r\n").into_bytes();
    mail::assert_same_octets(&arena.deliver(&content), &content);
}

fn nothing_that_is_logged_calls_anybody(arena: &Arena) {
    let lookup = format!("${{jndi:ldap://{}/x}}", arena.trap());
    let mut smtp = arena.smtp();
    for line in [
        format!("EHLO {lookup}"),
        lookup.clone(),
        format!("MAIL FROM:<{lookup}@b.example>"),
        format!("VRFY {lookup}"),
        format!("NOOP {lookup}"),
    ] {
        let _ = smtp.say(&line);
    }
    smtp.say("RSET").must("250 2.0.0");
    smtp.say("EHLO client.example").must("250");
    smtp.quit();
    let mut pop3 = arena.server.pop3_as(arena.you());
    assert!(pop3.say(&lookup).starts_with("-ERR"));
    pop3.quit();
    let content = format!("Subject: {lookup}\r\nX-Api-Version: {lookup}\r\n\r\n{lookup}\r\n").into_bytes();
    mail::assert_same_octets(&arena.deliver(&content), &content);
}

fn headers_are_neither_templates_nor_formats(arena: &Arena) {
    let command = arena.command();
    let content = format!(
        "From: ${{run{{{command}}}}}@b.example\r\nSubject: %s%s%s%n%n%x{{}}\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; d=%s%n.example; i=%n%n%n@b.example; s=${{run{{{command}}}}}; bh=; b=%s\r\n\r\n%n\r\n"
    );
    mail::assert_same_octets(&arena.deliver(content.as_bytes()), content.as_bytes());
}

fn the_name_of_an_attachment_is_no_command(arena: &Arena) {
    let command = arena.command();
    for name in [format!("a\";{command};echo \"a.zip"), format!("a`{command}`.zip"), "../../../x".to_owned()]
    {
        let inside = mail::zip(&name, b"harmless");
        let content = mail::with_attachment("named", &name.replace('"', "\\\""), &inside);
        mail::assert_same_octets(&arena.deliver(&content), &content);
    }
}
