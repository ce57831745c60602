//! Servers prove themselves by an account or a certificate: what they may do then, and users may not.

use gatepost_tests::authority::{Authority, ClientPair};
use gatepost_tests::clients::{curl_certified, swaks_with_certificate};
use gatepost_tests::mail;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use rustix::process::Signal;

#[test]
fn an_account_of_a_server_has_its_rights_and_a_users_has_not() {
    let server = with_relay();
    let mut relay = server.smtp_as(&server.users[1]);
    relay.say("XEXCH50 2 2").must("502 5.5.1");
    relay.say("XRDST x").must("502 5.5.1");
    relay.mail("someone@remote.example", &["me@localhost"], &mail::small("from a server")).must("250");
    relay.quit();
    let mut user = server.smtp_as_me();
    user.say("XEXCH50 2 2").must("504 5.7.0 Need to authenticate first");
    user.say("XRDST x").must("550 5.7.1");
    user.say("MAIL FROM:<someone@remote.example>").must("550 5.7.1");
    user.quit();
    assert_eq!(server.inbox(1).len(), 1);
}

/// Its rights follow the account: what its network was before counts no more.
#[test]
fn a_user_on_a_servers_network_is_a_user_once_he_has_logged_in() {
    let keys = "peers = [{ class = \"server\", networks = [\"127.0.0.0/8\"] }]";
    let server = Setup::new().listener_keys(keys).start();
    let mut smtp = server.smtp_in_tls();
    smtp.say("XEXCH50 2 2").must("502 5.5.1");
    smtp.auth(server.me());
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.quit();
}

#[test]
fn an_account_of_a_server_is_no_mailbox() {
    let server = with_relay();
    let mut smtp = server.smtp_as_me();
    smtp.say("MAIL FROM:<me@localhost>").must("250");
    smtp.say("RCPT TO:<relay@localhost>").must("550 5.1.1");
    smtp.quit();
    let relay = &server.users[1];
    let mut pop3 = Pop3::connect_tls(server.ports.pop3s, server.trust());
    pop3.say(&format!("USER {}", relay.name));
    let right = pop3.say(&format!("PASS {}", relay.password));
    pop3.say(&format!("USER {}", relay.name));
    let wrong = pop3.say("PASS wrong");
    assert!(right.starts_with("-ERR [AUTH]"), "{right}");
    assert_eq!(right, wrong);
    server.wait_for_log("an account of this class has no mailbox to read");
}

#[test]
fn an_account_that_becomes_a_user_is_one_at_its_next_log_in() {
    let server = with_relay();
    server.cli(["user", "set", "relay@localhost", "--class", "user"]).succeed();
    server.wait_for_recipient("relay@localhost");
    let mut smtp = server.smtp_as(&server.users[1]);
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.quit();
}

fn with_relay() -> Server {
    Setup::new().account("relay@localhost", "server").start()
}

#[test]
fn a_server_hands_in_larger_mail_than_a_user() {
    let limits = "[limits]\nmessage = \"1 MiB\"\nmessage_bypass = \"2 MiB\"";
    let server = Setup::new().account("relay@localhost", "server").sections(limits).start();
    let large = mail::large("large", 1_500_000);
    let mut relay = server.smtp_as(&server.users[1]);
    assert!(relay.say("EHLO relay.example").offers("SIZE 2097152"));
    relay.say("MAIL FROM:<relay@example.org> SIZE=2097153").must("552 5.3.4");
    relay.mail("relay@example.org", &["me@localhost"], &large).must("250");
    relay.quit();
    let mut user = server.smtp_as_me();
    assert!(user.say("EHLO client.example").offers("SIZE 1048576"));
    user.say("MAIL FROM:<me@localhost> SIZE=1048577").must("552 5.3.4");
    user.mail("me@localhost", &["me@localhost"], &large).must("552 5.3.4");
    user.quit();
    assert_eq!(server.inbox(1).len(), 1);
}

#[test]
fn routing_headers_stay_unless_the_right_is_taken_away() {
    let server = Setup::new().listener_keys("rights = { server = [\"submit\", \"accept-any-sender\"] }");
    let server = server.account("relay@localhost", "server").start();
    let content = [b"Received: from elsewhere\r\n", mail::small("routed").as_slice()].concat();
    let traces = |mail: &[u8]| String::from_utf8_lossy(mail).matches("Received: from elsewhere").count();
    server.smtp_as(&server.users[1]).mail("a@example.org", &["me@localhost"], &content).must("250");
    assert_eq!(traces(&server.inbox(1)[0]), 0);
    server.smtp_as_me().mail("me@localhost", &["me@localhost"], &content).must("250");
    assert_eq!(traces(&server.inbox(2)[1]), 1);
}

#[test]
fn a_server_with_a_certificate_has_the_rights_of_its_class_by_external() {
    let (server, authority) = asking_for_certificates();
    let mut smtp = certified(&server, &authority.issue("mx2.example.org"));
    let hello = smtp.say("EHLO mx2.example.org");
    assert!(hello.offers("AUTH EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{hello:?}");
    smtp.say("XEXCH50 2 2").must("504 5.7.0");
    smtp.say("AUTH EXTERNAL bWVAbG9jYWxob3N0").must("535 5.7.8");
    smtp.say("AUTH EXTERNAL =").must("235 2.7.0");
    smtp.say("XEXCH50 2 2").must("502 5.5.1");
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::small("from a server")).must("250");
    smtp.quit();
    let pair = authority.issue("mx2.example.org");
    let content = mail::small("from curl");
    curl_certified(&server, &pair, "mx2.example.org", "someone@remote.example", &content).succeed();
    assert_eq!(server.inbox(2).len(), 2);
}

#[test]
fn a_good_certificate_of_an_unknown_name_lets_nobody_in() {
    let (server, authority) = asking_for_certificates();
    let client = authority.issue("mx3.example.org").client(&server.certificate());
    let mut smtp = Smtp::connect_tls(server.ports.implicit, client);
    assert!(smtp.say("EHLO mx3.example.org").lines.iter().any(|line| line.starts_with("AUTH EXTERNAL ")));
    smtp.say("AUTH EXTERNAL =").must("535 5.7.8");
    smtp.say("MAIL FROM:<someone@remote.example>").must("530 5.7.0");
    smtp.auth(server.me());
    smtp.quit();
    let (_, metrics) = server.http("/metrics");
    let failed = "mechanism=\"EXTERNAL\",result=\"failed\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
}

#[test]
fn without_a_good_certificate_there_is_no_external_and_everything_else() {
    let (server, authority) = asking_for_certificates();
    let stranger = Authority::new().issue("mx2.example.org");
    let expired = authority.issue_expired("mx2.example.org");
    for (client, who) in [
        (server.trust(), "no certificate"),
        (stranger.client(&server.certificate()), "of another authority"),
        (expired.client(&server.certificate()), "expired"),
    ] {
        let mut smtp = server.smtp();
        smtp.starttls(client);
        let hello = smtp.say("EHLO client.example");
        assert!(hello.offers("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{who}: {hello:?}");
        smtp.say("AUTH EXTERNAL =").must("504 5.5.4");
        smtp.auth(server.me());
        smtp.quit();
    }
    let swaks = swaks_with_certificate(&server, &stranger, "me@localhost", &mail::small("from swaks"));
    assert_eq!(swaks.code(), 0, "{swaks}");
}

#[test]
fn a_reload_takes_new_authorities_over() {
    let (server, old) = asking_for_certificates();
    let new = Authority::new();
    new.write(&server.folder().join("clients.pem"));
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was reloaded");
    certified(&server, &new.issue("mx2.example.org")).say("AUTH EXTERNAL =").must("235");
    certified(&server, &old.issue("mx2.example.org")).say("AUTH EXTERNAL =").must("504");
    std::fs::write(server.folder().join("clients.pem"), "").unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was not reloaded");
    certified(&server, &new.issue("mx2.example.org")).say("AUTH EXTERNAL =").must("235");
    let checked = server.cli(["config", "check"]).outcome();
    assert_eq!(checked.code(), 78, "{checked}");
    assert!(checked.stderr.contains("no usable PEM certificate of an authority"), "{checked}");
}

/// Else whoever stands behind the relay would have the rights of the relay.
#[test]
fn the_client_of_a_relay_cannot_use_the_relays_certificate() {
    let (server, authority) = asking_for_certificates_with("xclient_from = [\"127.0.0.1\"]");
    let mut smtp = certified(&server, &authority.issue("mx2.example.org"));
    smtp.say("XCLIENT ADDR=127.0.0.9").must("220");
    let hello = smtp.say("EHLO stranger.example");
    assert!(hello.lines.iter().all(|line| !line.contains("EXTERNAL")), "{hello:?}");
    smtp.say("AUTH EXTERNAL =").must("504 5.5.4");
    smtp.quit();
}

fn certified(server: &Server, pair: &ClientPair) -> Smtp {
    let mut smtp = server.smtp();
    smtp.starttls(pair.client(&server.certificate()));
    smtp
}

fn asking_for_certificates() -> (Server, Authority) {
    asking_for_certificates_with("")
}

/// `mx2.example.org` is a server, as the authority says.
fn asking_for_certificates_with(keys: &str) -> (Server, Authority) {
    let folder = tempfile::Builder::new().prefix("gatepost-test-").tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    let authority = Authority::new();
    authority.write(&path);
    let clients = format!(
        "client_certificates = {{ authorities = {path:?}, peers = [\
         {{ class = \"server\", names = [\"mx2.example.org\"] }}] }}"
    );
    (Setup::new().listener_keys(&clients).listener_keys(keys).start_in(folder), authority)
}
