//! The servers and programs that pass-through is tried with, without anything between them: what they do by themselves is
//! no finding against what comes between later.

use gatepost_tests::aiosmtpd::Aiosmtpd;
use gatepost_tests::corpus::{self, Content, Specimen, Way};
use gatepost_tests::exim::Exim;
use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::plain_clients::{Client, Errand};
use gatepost_tests::postfix::Postfix;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::wire::Wire;

const WAYS: [Way; 3] = [Way::Data, Way::Pieces(4_093), Way::Chunks(4_093)];

fn connect(port: u16) -> Smtp {
    let mut smtp = Smtp::connect(port);
    smtp.say("EHLO client.example").must("250");
    smtp
}

fn send(port: u16, specimen: &Specimen, way: Way) {
    let mut smtp = connect(port);
    specimen.send(&mut smtp, way, "someone@remote.example", &["ann@to.example"]).must("250");
    smtp.say("QUIT").must("221");
}

#[test]
fn the_recording_server_keeps_the_corpus_octet_by_octet() {
    for way in WAYS {
        for specimen in corpus::lines() {
            let server = NextHop::start().offering("CHUNKING");
            send(server.address.port(), &specimen, way);
            mail::assert_same_octets(&server.taken(1)[0].octets, &specimen.octets);
        }
    }
    for specimen in corpus::binaries() {
        let server = NextHop::start().offering("CHUNKING").offering("BINARYMIME");
        send(server.address.port(), &specimen, Way::Chunks(1_000));
        mail::assert_same_octets(&server.taken(1)[0].octets, &specimen.octets);
    }
}

#[test]
fn aiosmtpd_keeps_the_corpus_octet_by_octet() {
    let server = Aiosmtpd::start();
    let specimens = corpus::lines();
    for specimen in &specimens {
        send(server.port, specimen, Way::Data);
    }
    for (kept, specimen) in server.mails(specimens.len()).iter().zip(&specimens) {
        mail::assert_same_octets(&kept.octets, &specimen.octets);
        assert_eq!((kept.sender.as_str(), kept.recipients.len()), ("someone@remote.example", 1));
        let is_declared = kept.parameters.iter().any(|parameter| parameter == "BODY=8BITMIME");
        assert_eq!(is_declared, specimen.content == Content::EightBit, "{specimen:?}");
    }
}

#[test]
fn exim_and_postfix_take_mail_with_their_own_trace_on_top() {
    let specimen = corpus::lines().into_iter().find(|specimen| specimen.name == "dots").expect("a mail");
    let (exim, postfix) = (Exim::start(), Postfix::start());
    for way in [Way::Data, Way::Chunks(10_000)] {
        send(exim.port, &specimen, way);
    }
    send(postfix.port, &specimen, Way::Data);
    for stored in exim.mails(2).iter().chain(&postfix.mails(1)) {
        let below = stored.len() - specimen.octets.len();
        mail::assert_same_octets(&stored[below..], &specimen.octets);
    }
    let mut smtp = connect(exim.port);
    smtp.say("MAIL FROM:<someone@remote.example>").must("250");
    smtp.say("RCPT TO:<bob@to.example>").must("550");
    smtp.say("QUIT").must("221");
}

#[test]
fn each_mail_program_sends_to_a_server_without_a_password() {
    let folder = tempfile::tempdir().expect("a folder");
    for client in Client::ALL {
        let server = NextHop::start();
        let content = mail::small("from-a-program");
        let to = ["ann@to.example", "bob@to.example"];
        let port = server.address.port();
        let errand =
            Errand { port, from: "me@client.example", to: &to, content: &content, folder: folder.path() };
        client.run(&errand).succeed();
        let taken = server.taken(1).remove(0);
        assert!(taken.sender.starts_with("<me@client.example>"), "{client:?}: {taken:?}");
        assert!(taken.is_for("ann@to.example") && taken.is_for("bob@to.example"), "{client:?}: {taken:?}");
        mail::assert_same_octets(&taken.octets, &content);
    }
}

#[test]
fn a_hop_breaks_a_connection_at_the_octet_that_a_test_names() {
    let hop = NextHop::start();
    let greeting = b"220 hop.example ESMTP\r\n";
    for written in 1..greeting.len() {
        hop.break_after(written, usize::MAX);
        let mut wire = Wire::connect(hop.address.port());
        assert_eq!(wire.rest(), &greeting[..written]);
    }
    hop.break_after(usize::MAX, 3);
    let mut smtp = Smtp::connect(hop.address.port());
    smtp.send(b"EHLO");
    assert_eq!(smtp.rest(), "");
}

#[test]
fn a_hop_drips_a_reply() {
    let hop = NextHop::start().always(At::Hello, Reaction::Drip(b"250-x\r\n"));
    let mut wire = Wire::connect(hop.address.port());
    wire.line();
    wire.send(b"EHLO client.example\r\n");
    for _ in 0..2 {
        assert_eq!(wire.line(), b"250-x");
    }
}
