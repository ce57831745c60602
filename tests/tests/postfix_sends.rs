//! Postfix sends to us, with the extensions that the two have in common.

use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Smtp, stuffed};
use gatepost_tests::{mail, ports, wait_until};

/// A server that Postfix sends to, and that knows the way back to Postfix's own `ann@to.example`.
fn pair(sections: &str) -> (Server, Postfix) {
    let [way_back] = ports::free();
    let route = format!(
        "{sections}\n[delivery.remote]\nenabled = true\n\
         [[route]]\ndomains = [\"to.example\"]\nhops = [\"127.0.0.1:{way_back}\"]\n"
    );
    let server = Setup::new().user("b\u{fc}cher@localhost").open_listener().sections(&route).start();
    let postfix = Postfix::start_before(way_back, server.ports.open, &server.certificate());
    (server, postfix)
}

/// Hands a mail of ann's to Postfix; with parameters of MAIL, and of RCPT behind the path.
fn hand_in(postfix: &Postfix, mail: &str, rcpt: &str, content: &[u8]) {
    let mut smtp = Smtp::connect(postfix.port);
    smtp.say("EHLO client.example").must("250");
    smtp.say(&format!("MAIL FROM:<ann@to.example>{mail}")).must("250 2.1.0");
    smtp.say(&format!("RCPT TO:{rcpt}")).must("250 2.1.5");
    smtp.say("DATA").must("354");
    smtp.send(&stuffed(content));
    smtp.reply().must("250 2.0.0");
}

#[test]
fn what_postfix_sends_arrives_octet_by_octet_and_in_tls() {
    let (server, postfix) = pair("");
    let contents =
        [mail::small("small"), mail::eight_bit("eight-bit"), mail::large("large", 6 * 1024 * 1024)];
    for content in &contents {
        hand_in(&postfix, " BODY=8BITMIME", "<me@localhost>", content);
    }
    let inbox = server.inbox(contents.len());
    for content in &contents {
        let subject = mail::field(content, "Subject");
        let stored = inbox.iter().find(|stored| mail::field(stored, "Subject") == subject);
        let stored = stored.unwrap_or_else(|| panic!("{subject:?} is not there"));
        assert!(stored.ends_with(content), "{subject:?}: the content differs");
        let trace = mail::field(stored, "Received").expect("a trace");
        assert!(trace.contains("from hop.example") && trace.contains("with ESMTPS"), "{trace}");
    }
    assert!(postfix.log().contains("Verified TLS connection established"));
}

#[test]
fn addresses_outside_of_ascii_come_by_smtputf8() {
    let (server, postfix) = pair("");
    hand_in(&postfix, " SMTPUTF8", "<b\u{fc}cher@localhost>", &mail::small("utf-8"));
    let stored = server.inbox_of(&server.users[1], 1).remove(0);
    let trace = mail::field(&stored, "Received").expect("a trace");
    assert!(trace.contains("with UTF8SMTPS"), "{trace}");
}

#[test]
fn what_postfix_asks_to_hear_of_its_mail_it_hears_from_us() {
    let (_server, postfix) = pair("");
    let rcpt = "<me@localhost> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;somebody@to.example";
    hand_in(&postfix, " RET=HDRS ENVID=order-66", rcpt, &mail::small("asked"));
    let notice = String::from_utf8(postfix.mails(1).remove(0)).expect("ASCII");
    for field in [
        "Reporting-MTA: dns; gatepost.test",
        "Original-Envelope-Id: order-66",
        "Original-Recipient: rfc822; somebody@to.example",
        "Action: delivered",
    ] {
        assert!(notice.contains(&format!("\r\n{field}\r\n")), "{field}: {notice}");
    }
}

#[test]
fn what_we_refuse_postfix_returns() {
    let (server, postfix) = pair("[limits]\nmessage = \"1 MiB\"");
    hand_in(&postfix, "", "<nobody@localhost>", &mail::small("unknown"));
    let notice = String::from_utf8_lossy(&postfix.mails(1)[0]).into_owned();
    assert!(notice.contains("Status: 5.1.1") && notice.contains("said: 550 5.1.1"), "{notice}");
    // It has read our SIZE, and does not even try.
    hand_in(&postfix, "", "<me@localhost>", &mail::large("large", 2 * 1024 * 1024));
    let is_told = |mail: &Vec<u8>| String::from_utf8_lossy(mail).contains("exceeds size limit 1048576");
    assert_eq!(postfix.mails(2).iter().filter(|mail| is_told(mail)).count(), 1);
    server.assert_no_mail();
}

#[test]
fn what_we_put_off_postfix_sends_again() {
    let (server, postfix) = pair("[queue]\ndomain_messages = 1");
    server.cli(["queue", "hold", "--domain", "localhost"]).succeed();
    hand_in(&postfix, "", "<me@localhost>", &mail::small("first"));
    wait_until("the first waits here", || server.metric("gatepost_queue_messages") == 1.0);
    hand_in(&postfix, "", "<me@localhost>", &mail::small("second"));
    wait_until("the second is put off", || {
        let log = postfix.log();
        log.contains("status=deferred") && log.contains("said: 452 4.3.1")
    });
    server.cli(["queue", "release", "--domain", "localhost"]).succeed();
    let mut subjects: Vec<_> =
        server.inbox(2).iter().filter_map(|stored| mail::field(stored, "Subject")).collect();
    subjects.sort();
    assert_eq!(subjects, ["first", "second"]);
}
