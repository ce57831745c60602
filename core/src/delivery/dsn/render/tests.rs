use gatepost_smtp::wire::params::RcptParams;
use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;

use super::*;
use crate::delivery::HopReport;
use crate::delivery::dsn::report::tests::message;

const BOUNDARY: &str = "=_0123456789abcdef";

fn render(message: &NewMessage, told: &[Told], returned: &Returned) -> String {
    let notification = Notification {
        id: QueueId(8),
        message,
        told,
        returned,
        hostname: "mx.example.org",
        now_ms: 1_700_000_060_000,
        expires_at_ms: 1_700_432_000_000,
        boundary: BOUNDARY,
    };
    String::from_utf8(notification.render()).unwrap()
}

fn whole(message: &NewMessage) -> Returned {
    Returned::read(&message.trace, &message.body, true).unwrap()
}

#[test]
fn a_sender_is_told_of_the_address_that_he_has_named() {
    let mut message = message("<sender@example.org>", "");
    message.submission.forwards.insert(1, "<sales@here.example>".parse().unwrap());
    let told =
        [Told::new(1, Action::Failed, "5.1.1 refused", None), Told::new(0, Action::Expanded, "2.0.0", None)];
    let text = render(&message, &told, &whole(&message));
    assert!(text.contains("\r\nFinal-Recipient: rfc822; sales@here.example\r\nAction: failed\r\n"), "{text}");
    assert!(text.contains("\r\nAction: expanded\r\nStatus: 2.0.0\r\n"), "{text}");
    assert!(!text.contains("two@localhost"), "{text}");
}

#[test]
fn a_failure_names_each_recipient_and_brings_the_mail_back() {
    let mut message = message("<sender@example.org>", " ENVID=QQ+2B1");
    message.submission.envelope.recipients[1].params =
        RcptParams::parse(" ORCPT=rfc822;zwei+40localhost").unwrap();
    let hop = HopReport {
        name: "mx.example.net".to_owned(),
        reply: Some("550 5.1.1 no\r\nsuch user".to_owned()),
        takes_dsn: false,
    };
    let told = [
        Told::new(0, Action::Failed, "5.1.1 the mailbox is gone", None),
        Told::new(1, Action::Failed, "5.1.1 refused", Some(hop)),
    ];
    let expected = "From: Mail Delivery System <MAILER-DAEMON@mx.example.org>\r\n\
        To: <sender@example.org>\r\n\
        Subject: Your mail could not be delivered\r\n\
        Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n\
        Message-ID: <0000000000008@mx.example.org>\r\n\
        In-Reply-To: <a@b.example>\r\n\
        References: <a@b.example>\r\n\
        Auto-Submitted: auto-replied\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=delivery-status;\r\n\
        \tboundary=\"=_0123456789abcdef\"\r\n\
        \r\n\
        --=_0123456789abcdef\r\n\
        Content-Type: text/plain; charset=us-ascii\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        This is the mail server mx.example.org.\r\n\
        \r\n\
        Your mail could not be delivered to these recipients. It has been given up for them:\r\n\
        \r\n  <one@localhost>: the mailbox is gone\r\n\
        \r\n  <two@localhost>: refused\r\n    mx.example.net said: 550 5.1.1 no\\x{D}\\x{A}such user\r\n\
        \r\n\
        Its name here is 0000000000007.\r\n\
        \r\n\
        --=_0123456789abcdef\r\n\
        Content-Type: message/delivery-status\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        Original-Envelope-Id: QQ+1\r\n\
        Reporting-MTA: dns; mx.example.org\r\n\
        Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
        \r\n\
        Final-Recipient: rfc822; one@localhost\r\n\
        Action: failed\r\n\
        Status: 5.1.1\r\n\
        Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n\
        \r\n\
        Original-Recipient: rfc822; zwei@localhost\r\n\
        Final-Recipient: rfc822; two@localhost\r\n\
        Action: failed\r\n\
        Status: 5.1.1\r\n\
        Remote-MTA: dns; mx.example.net\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 no\\x{D}\\x{A}such user\r\n\
        Last-Attempt-Date: Tue, 14 Nov 2023 22:14:20 +0000\r\n\
        \r\n\
        --=_0123456789abcdef\r\n\
        Content-Type: message/rfc822\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        Received: from client.example.org\r\n\
        Message-ID: <a@b.example>\r\n\
        Subject: hi\r\n\
        \r\n\
        The text.\r\n\
        \r\n\
        --=_0123456789abcdef--\r\n";
    assert_eq!(render(&message, &told, &whole(&message)), expected);
}

#[test]
fn a_delay_says_until_when_and_a_relay_that_nobody_knows() {
    let message = message("<sender@example.org>", "");
    let hop = HopReport { name: "[192.0.2.1]".to_owned(), reply: None, takes_dsn: false };
    let told = [
        Told::new(0, Action::Delayed, "4.2.0 mailbox not ready", None),
        Told::new(1, Action::Relayed, "2.0.0", Some(hop)),
    ];
    let text = render(&message, &told, &Returned::trace_alone(&message.trace));
    assert!(text.contains("Subject: Your mail is late\r\n"), "{text}");
    assert!(text.contains("it is tried again until Sun, 19 Nov 2023 22:13:20 +0000."), "{text}");
    assert!(text.contains("Action: delayed\r\nStatus: 4.2.0\r\n"), "{text}");
    assert!(text.contains("Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n\r\n"), "{text}");
    assert!(
        text.contains("Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; [192.0.2.1]\r\nLast"),
        "{text}"
    );
    assert!(text.contains("Content-Type: text/rfc822-headers\r\n"), "{text}");
}

#[test]
fn an_internationalised_sender_gets_the_global_types() {
    let mut message = message("<j\u{f6}rg@example.org>", " SMTPUTF8");
    message.submission.envelope.recipients[0].path = "<k\u{e4}te@localhost>".parse().unwrap();
    let told = [Told::new(0, Action::Failed, "5.1.1 gone", None)];
    let text = render(&message, &told, &whole(&message));
    assert!(text.contains("To: <j\u{f6}rg@example.org>\r\n"), "{text}");
    assert!(
        text.contains("Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit"),
        "{text}"
    );
    assert!(text.contains("Final-Recipient: utf-8; k\u{e4}te@localhost\r\n"), "{text}");
    assert!(text.contains("Content-Type: message/global\r\n"), "{text}");
    let headers = render(&message, &told, &Returned::trace_alone(b"A: \xc3\xa4\r\n"));
    assert!(
        headers.contains("message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA:"),
        "{headers}"
    );
}

#[test]
fn only_a_message_id_that_is_one_is_answered() {
    let id = |text: &str| message_id(text.as_bytes());
    assert_eq!(id("Subject: x\r\nmessage-id:  <a@b> \r\n\r\n"), Some("<a@b>".to_owned()));
    for bad in [
        "",
        "Message-ID: a@b\r\n",
        "Message-ID: <>\r\n",
        "Message-ID: <a b>\r\n",
        "Message-ID: <a><b>\r\n",
        "Message-ID: <\u{e4}@b>\r\n",
        "X: y\r\n\r\nMessage-ID: <a@b>\r\n",
        "Message-ID: \r\nMessage-ID: <a@b>\r\n",
    ] {
        assert_eq!(id(bad), None, "{bad}");
    }
}

proptest! {
    /// Nothing that a sender or a next hop says makes another part, another field, or another recipient.
    #[test]
    fn what_others_say_stays_where_it_belongs(
        reason: String,
        name: String,
        reply: String,
        orcpt: String,
        envid in "[ -~]{1,100}",
        body: String,
        smtputf8: bool,
    ) {
        let mut message = message("<sender@example.org>", if smtputf8 { " SMTPUTF8" } else { "" });
        message.submission.envelope.params.envid = Some(envid);
        let original = gatepost_smtp::wire::params::OriginalRecipient { kind: "utf-8".into(), address: orcpt };
        message.submission.envelope.recipients[0].params.orcpt = Some(original);
        let hop = HopReport { name, reply: Some(reply), takes_dsn: false };
        let told = [Told::new(0, Action::Failed, &reason, Some(hop))];
        let returned = Returned::Whole(body.into_bytes());
        let text = render(&message, &told, &returned);
        let parsed = MessageParser::new().parse(text.as_bytes()).unwrap();
        prop_assert_eq!(parsed.parts[0].sub_parts().map(<[u32]>::len), Some(3));
        let kinds: Vec<_> = parsed.parts[1..3].iter()
            .map(|part| part.content_type().and_then(|kind| kind.c_subtype.clone()).unwrap_or_default())
            .collect();
        let expected = if smtputf8 { "global-delivery-status" } else { "delivery-status" };
        prop_assert_eq!(kinds, ["plain", expected]);
        let status = text.split("delivery-status\r\n").nth(1).unwrap();
        let status = status.split("\r\n--").next().unwrap();
        prop_assert_eq!(status.matches("\r\nFinal-Recipient: ").count(), 1);
        prop_assert_eq!(status.matches("\r\n\r\n").count(), 2);
        prop_assert_eq!(status.lines().filter(|line| line.contains('\r')).count(), 0);
    }
}
