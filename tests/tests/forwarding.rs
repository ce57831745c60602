//! Aliases that lead to other servers.

use std::net::Ipv4Addr;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction, Taken};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

/// `to.example` and `other.example`, whose mail exchanger is the next hop on loopback.
fn exchangers() -> NameServer {
    NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("other.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ])
}

/// A server from which `away@localhost` leads to `ann@to.example`, and `all@localhost` to her, to `bob@other.example` and
/// to the user.
fn forwarder(dns: &NameServer, hop: &NextHop, more: &str) -> Server {
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {}\n{more}",
        dns.address,
        hop.address.port()
    );
    Setup::new()
        .open_listener()
        .sections(&sections)
        .alias("away@localhost", "ann@to.example")
        .alias("all@localhost", "away@localhost")
        .alias("all@localhost", "bob@other.example")
        .alias("all@localhost", "me@localhost")
        .start()
}

fn stranger_sends(server: &Server, to: &[&str], content: &[u8]) {
    let mut smtp = server.smtp_open();
    smtp.mail("someone@remote.example", to, content).must("250 2.0.0");
    smtp.quit();
}

/// Who got it, behind angle brackets, by name.
fn recipients(taken: &[Taken]) -> Vec<String> {
    let mut paths: Vec<String> = taken.iter().flat_map(|taken| taken.recipients.clone()).collect();
    paths.sort();
    paths
}

#[test]
fn a_stranger_reaches_everybody_behind_an_alias_and_nobody_else() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let server = forwarder(&dns, &hop, "");
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    stranger.say("RCPT TO:<ann@to.example>").must("550 5.7.1");
    stranger.quit();

    let content = mail::small("to-all");
    stranger_sends(&server, &["all@localhost"], &content);
    let taken = hop.taken(2);
    let got = recipients(&taken);
    assert!(got[0].starts_with("<ann@to.example>") && got[1].starts_with("<bob@other.example>"), "{got:?}");
    for taken in &taken {
        assert!(taken.sender.starts_with("<someone@remote.example>"), "{}", taken.sender);
        let text = String::from_utf8_lossy(&taken.octets);
        assert!(text.starts_with("Delivered-To: all@localhost\r\nReceived: "), "{text}");
        assert!(!text.contains("to.example") && !text.contains("other.example"), "who else gets it: {text}");
    }
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
    server.wait_for_empty_queue();
}

#[test]
fn each_target_has_its_own_end_and_the_sender_hears_of_the_address_that_he_knows() {
    let (dns, hop) = (exchangers(), NextHop::start().times(1, At::Rcpt, Reaction::Say("550 5.1.1 nobody")));
    let server = forwarder(&dns, &hop, "");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("refused")).must("250 2.0.0");
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("taken")).must("250 2.0.0");
    smtp.quit();
    let notification = server.inbox(1).remove(0);
    let text = String::from_utf8_lossy(&notification);
    assert!(text.contains("\r\nFinal-Recipient: rfc822; away@localhost\r\n"), "{text}");
    assert!(text.contains("\r\nStatus: 5.1.1\r\n"), "{text}");
    assert_eq!(hop.taken(1).len(), 1);
    server.wait_for_empty_queue();
}

#[test]
fn a_mail_that_comes_back_to_its_alias_is_returned() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let server = forwarder(&dns, &hop, "");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("round")).must("250 2.0.0");
    let round = hop.taken(1).remove(0).octets;
    smtp.mail("me@localhost", &["AWAY@localhost"], &round).must("250 2.0.0");
    smtp.quit();
    let notification = server.inbox(1).remove(0);
    let text = String::from_utf8_lossy(&notification);
    assert!(text.contains("\r\nStatus: 5.4.6\r\n"), "{text}");
    server.wait_for_empty_queue();
    assert_eq!(hop.taken(1).len(), 1, "it did not go on again");
}

#[test]
fn an_alias_leads_nowhere_where_no_mail_leaves_the_server() {
    let server = Setup::new().open_listener().start();
    let refused = server.cli(["alias", "add", "away@localhost", "ann@to.example"]).outcome();
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.contains("ann@to.example") && refused.stderr.contains("[delivery.remote]"),
        "{refused}"
    );
}
