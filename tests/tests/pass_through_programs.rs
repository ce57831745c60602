//! Real mail programs in front of Gatepost, real mail servers behind it.

use std::net::SocketAddr;

use gatepost_tests::aiosmtpd::Aiosmtpd;
use gatepost_tests::clients::{self, Tls};
use gatepost_tests::exim::Exim;
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::pass_through::before;
use gatepost_tests::plain_clients::{Client, Errand};
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;

/// Each program sends a mail of its own through Gatepost; answers what they sent.
fn send_by_all(server: &Server) -> Vec<Vec<u8>> {
    let send = |client: Client| {
        let content = mail::eight_bit(&format!("from-{client:?}"));
        let (port, to, folder) = (server.ports.open, ["ann@to.example"], server.folder());
        let errand = Errand { port, from: "me@remote.example", to: &to, content: &content, folder };
        client.run(&errand).succeed();
        content
    };
    Client::ALL.map(send).into()
}

/// Each is there, with nothing of ours on top of it.
fn assert_arrived(sent: &[Vec<u8>], stored: &[Vec<u8>]) {
    for content in sent {
        let subject = mail::field(content, "Subject");
        let stored = stored.iter().find(|stored| mail::field(stored, "Subject") == subject);
        let stored = stored.unwrap_or_else(|| panic!("{subject:?} is not there"));
        assert!(stored.len() >= content.len(), "{subject:?} has lost octets");
        let (trace, below) = stored.split_at(stored.len() - content.len());
        mail::assert_same_octets(below, content);
        let trace = String::from_utf8_lossy(trace);
        assert!(!trace.contains("by gatepost.test"), "{trace}");
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn every_program_reaches_postfix() {
    let behind = Postfix::start();
    let server = before(local(behind.port)).start();
    let sent = send_by_all(&server);
    assert_arrived(&sent, &behind.mails(sent.len()));
}

#[test]
fn every_program_reaches_exim() {
    let behind = Exim::start();
    let server = before(local(behind.port)).start();
    let sent = send_by_all(&server);
    assert_arrived(&sent, &behind.mails(sent.len()));
}

#[test]
fn every_program_reaches_aiosmtpd() {
    let behind = Aiosmtpd::start();
    let server = before(local(behind.port)).start();
    let sent = send_by_all(&server);
    let kept: Vec<_> = behind.mails(sent.len()).into_iter().map(|kept| kept.octets).collect();
    assert_arrived(&sent, &kept);
    assert!(kept.iter().all(|octets| sent.contains(octets)), "not an octet was added");
}

/// They log in with us; the server behind knows nothing of it.
#[test]
fn users_send_by_their_programs_inside_tls() {
    let behind = NextHop::start();
    let server = before(behind.address).start();
    let content = mail::small("by-a-user");
    for tls in [Tls::StartTls, Tls::Implicit] {
        let told = clients::swaks(&server, tls, "PLAIN", "ann@to.example", &content);
        assert_eq!(told.code(), 0, "{told}");
        clients::curl_send(&server, tls, &["ann@to.example"], &content).succeed();
        let told = clients::msmtp(&server, tls, "scram-sha-256", &["ann@to.example"], &content);
        assert_eq!(told.code(), 0, "{told}");
    }
    let line = clients::exim(&server, Tls::StartTls, "ann@to.example", &content);
    assert!(line.contains(" K "), "{line}");
    let taken = behind.taken(7);
    for taken in &taken[..6] {
        mail::assert_same_octets(&taken.octets, &content);
        assert!(taken.sender.starts_with("<me@localhost>"), "{taken:?}");
    }
    assert!(taken[6].octets.ends_with(&content));
    assert!(behind.said().iter().all(|line| !line.starts_with("AUTH")), "{:?}", behind.said());
}
