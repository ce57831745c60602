//! Listed relays say on whose behalf they speak (XCLIENT).

use gatepost_tests::command::Run;
use gatepost_tests::dns::NameServer;
use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;

#[test]
fn the_client_of_a_listed_relay_is_the_one_in_received() {
    let server = relay_listed().start();
    let outcome = Run::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &server.ports.open.to_string()])
        .args(["--from", "someone@remote.example", "--to", "me@localhost", "--ehlo", "client.example"])
        .args(["--xclient-addr", "IPV6:2001:db8::9", "--xclient-name", "client.example"])
        .args(["--xclient-helo", "client.example", "--xclient-proto", "ESMTP"])
        .succeed();
    assert!(outcome.text().contains("XCLIENT ADDR=IPV6:2001:db8::9"), "{outcome}");
    let stored = server.inbox(1);
    let received = mail::field(&stored[0], "Received").expect("a trace field");
    assert!(received.contains("2001:db8::9"), "{received}");
    assert!(server.log().contains("a relay speaks on behalf of a client"));
}

#[test]
fn the_session_begins_anew_and_may_change_its_client_again() {
    let server = relay_listed().start();
    let mut smtp = server.smtp_open();
    for client in ["192.0.2.1", "192.0.2.2"] {
        smtp.say(&format!("XCLIENT ADDR={client} PORT=4660 LOGIN=[UNAVAILABLE]")).must("220 gatepost.test");
        smtp.say("MAIL FROM:<someone@remote.example>").must("503");
        smtp.say("EHLO client.example").must("250");
    }
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::small("second")).must("250 2.0.0");
    let stored = server.inbox(1);
    let received = mail::field(&stored[0], "Received").expect("a trace field");
    assert!(received.contains("[192.0.2.2]"), "{received}");
}

#[test]
fn nobody_is_logged_in_on_hearsay() {
    let server = relay_listed().start();
    let mut smtp = Smtp::connect(server.ports.starttls);
    smtp.say("EHLO relay.example").must("250");
    smtp.say("XCLIENT ADDR=192.0.2.1 LOGIN=me@localhost").must("550 5.7.1");
    smtp.say("XCLIENT ADDR=192.0.2.1").must("220");
    smtp.say("EHLO relay.example").must("250");
    smtp.say("MAIL FROM:<me@localhost>").must("530 5.7.0");
}

#[test]
fn the_client_is_looked_up_in_the_block_lists() {
    let dns = NameServer::start(&[("1.2.0.192.bl.example", &[[127, 0, 0, 2]])]);
    let lists = format!("[dns]\nservers = [\"{}\"]\n[[dnsbl.list]]\nzone = \"bl.example\"\n", dns.address);
    let server = relay_listed().sections(&lists).start();
    let mut smtp = server.smtp_open();
    smtp.say("XCLIENT ADDR=192.0.2.1").must("550 5.7.1");
    server.wait_for_log("score 1 of 1: bl.example says 127.0.0.2 (+1)");
    smtp.say("XCLIENT ADDR=192.0.2.2").must("220");
}

#[test]
fn who_is_not_listed_may_not_speak_for_others() {
    let server = Setup::new().open_listener().start();
    let mut smtp = server.smtp_open();
    assert!(!smtp.say("EHLO client.example").offers("XCLIENT"), "it is not offered either");
    for attributes in ["ADDR=192.0.2.1", "LOGIN=me@localhost", "nonsense"] {
        smtp.say(&format!("XCLIENT {attributes}")).must("530 5.7.0");
    }
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::small("as-it-is")).must("250 2.0.0");
    assert!(mail::field(&only(&server), "Received").is_some_and(|field| field.contains("[127.0.0.1]")));
}

fn only(server: &Server) -> Vec<u8> {
    server.inbox(1).remove(0)
}

fn relay_listed() -> Setup {
    Setup::new().open_listener().listener_keys("xclient_from = [\"127.0.0.1\"]")
}
