//! The verbs between servers get a stranger nothing, and a listed server no more than the backend can do.

use gatepost_tests::mail;
use gatepost_tests::setup::Setup;

/// The public check for MS03-046 (CVE-2003-0714): a server that answers 354 to the last line is open to it.
#[test]
fn xexch50_of_a_stranger_is_refused_before_its_size_is_read() {
    let server = Setup::new().open_listener().start();
    let mut smtp = server.smtp_open();
    let hello = smtp.say("EHLO scanner.example");
    assert!(
        hello.lines.iter().all(|line| !line.contains("XEXCH50") && !line.contains("X-LINK2STATE")),
        "{hello:?}"
    );
    smtp.say("MAIL FROM:<someone@remote.example>").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("250");
    for line in ["XEXCH50 2 2", "XEXCH50 -1 2", "XEXCH50 33554432 2", "xexch50"] {
        smtp.say(line).must("504 5.7.0 Need to authenticate first");
    }
    smtp.say(&format!("X-LINK2STATE CHUNK={}", "A".repeat(800))).must("504 5.7.0");
    smtp.say("DEBUG").must("500 5.5.1");
    // The octets behind a refused XEXCH50 are commands like any other.
    smtp.say("NOOP").must("250");
    smtp.quit();
    let (_, metrics) = server.http("/metrics");
    let attacks =
        "gatepost_edge_attacks_total{listener=\"edge\",rule=\"right.extension\",verb=\"XEXCH50\"} 4";
    assert!(metrics.contains(attacks), "{metrics}");
    server.wait_for_log("XEXCH50 -1 2");
}

#[test]
fn a_listed_server_hands_in_mail_without_a_password_and_has_no_verbs_that_nobody_serves() {
    let keys = "peers = [{ class = \"server\", networks = [\"127.0.0.0/8\"] }]\nswitched_off = [\"VRFY\"]";
    let server = Setup::new().listener_keys(keys).start();
    let mut smtp = server.smtp_in_tls();
    let hello = smtp.say("EHLO server.example");
    assert!(hello.lines.iter().all(|line| !line.contains("XEXCH50")), "{hello:?}");
    smtp.say("VRFY me").must("500 5.5.1");
    smtp.say("MAIL FROM:<someone@remote.example>").must("250");
    smtp.say("RCPT TO:<me@localhost>").must("250");
    smtp.say("XEXCH50 2 2").must("502 5.5.1");
    smtp.say("RCPT TO:<someone@remote.example>").must("550 5.7.1");
    smtp.quit();
    let mut smtp = server.smtp_in_tls();
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::small("from a server")).must("250");
    assert_eq!(server.inbox(1).len(), 1);
}
