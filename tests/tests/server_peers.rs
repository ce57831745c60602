//! Servers prove themselves by an account: what they may do then, and users may not.

use gatepost_tests::mail;
use gatepost_tests::pop3::Pop3;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

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
