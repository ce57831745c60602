//! DANE: what a domain says of its mail exchangers' certificates, in a DNS that signs it; and what a sender asks for besides.

use std::net::Ipv4Addr;

use aws_lc_rs::digest::{SHA256, digest};
use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::trust;
use gatepost_tests::web::WebServer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

/// A mail exchanger with a certificate of its own making, which is for another name than its own.
struct Exchanger {
    hop: NextHop,
    folder: TempDir,
}

impl Exchanger {
    fn start() -> Self {
        Self::named("unrelated.example")
    }

    fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        trust::write_certificate_for(&["mta-sts.to.example", name], &certificate, &key);
        Self { hop: NextHop::start_tls(&certificate, &key), folder }
    }

    fn port(&self) -> u16 {
        self.hop.address.port()
    }

    /// Its TLSA record.
    fn record(&self) -> Record {
        let certificate =
            CertificateDer::from_pem_file(self.folder.path().join("cert.pem")).expect("a certificate");
        Record::Tlsa(3, 0, 1, digest(&SHA256, &certificate).as_ref().to_vec())
    }

    /// `to.example` with this exchanger, `hop.example`, that has these records.
    fn zone(&self, tlsa: Vec<Record>) -> Zone {
        vec![
            ("to.example".to_owned(), vec![Record::Mx(10, "hop.example")]),
            ("hop.example".to_owned(), vec![Record::A(Ipv4Addr::LOCALHOST)]),
            (format!("_{}._tcp.hop.example", self.port()), tlsa),
        ]
    }

    /// Its mail, from a server that believes this DNS.
    fn outbound(&self, dns: &NameServer, more: &str) -> Server {
        let anchor = self.folder.path().join("root.key");
        std::fs::write(&anchor, dns.trust_anchor()).expect("the trust anchor can be written");
        let sections = format!(
            "[dns]\nservers = [\"{}\"]\ntrust_anchor = {anchor:?}\n[delivery.remote]\nenabled = true\n\
             internal_addresses = true\nport = {}\n{more}",
            dns.address,
            self.port()
        );
        Setup::new().open_listener().sections(&sections).start()
    }
}

type Zone = Vec<(String, Vec<Record>)>;

fn signed(zone: &Zone, unsigned: &[&'static str]) -> NameServer {
    NameServer::start_signed(zone.iter().map(|(name, records)| (name.as_str(), records.clone())), unsigned)
}

fn send(server: &Server) {
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["ann@to.example"], &mail::small("by-dane")).must("250 2.0.0");
    smtp.quit();
}

/// Sends a mail that arrives, and tells by which policy.
fn arrives(exchanger: &Exchanger, dns: &NameServer, more: &str) -> String {
    let server = exchanger.outbound(dns, more);
    send(&server);
    let taken = exchanger.hop.taken(1);
    server.wait_for_empty_queue();
    let policies = ["dane", "mta-sts", "none"];
    let log = server.log();
    let policy = policies.iter().find(|policy| log.contains(&format!("tls_policy=\"{policy}\"")));
    format!("{} {}", policy.unwrap_or(&"unknown"), if taken[0].in_tls { "in TLS" } else { "in the clear" })
}

/// Sends a mail that does not arrive, and tells why it waits.
fn waits(exchanger: &Exchanger, dns: &NameServer, more: &str) -> String {
    let server = exchanger.outbound(dns, more);
    send(&server);
    let started = std::time::Instant::now();
    loop {
        let list = server.cli(["queue", "list", "--json"]).succeed().text();
        let queued: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        if let Some(reason) = queued[0]["last_reason"].as_str() {
            assert!(exchanger.hop.taken(0).is_empty(), "nothing has arrived");
            return reason.to_owned();
        }
        assert!(started.elapsed().as_secs() < 60, "no attempt: {list}\n{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn mail_goes_to_whom_the_signed_record_means_whatever_name_his_certificate_has() {
    let exchanger = Exchanger::start();
    let dns = signed(&exchanger.zone(vec![exchanger.record()]), &[]);
    assert_eq!(arrives(&exchanger, &dns, ""), "dane in TLS");
}

#[test]
fn nobody_else_gets_it_encrypted_or_not() {
    let (exchanger, other) = (Exchanger::start(), Exchanger::start());
    let dns = signed(&exchanger.zone(vec![other.record()]), &[]);
    let reason = waits(&exchanger, &dns, "");
    assert!(reason.starts_with("4.7.5 hop.example: certificate not accepted: no TLSA record"), "{reason}");

    let plain = Exchanger { hop: NextHop::start(), folder: tempfile::tempdir().expect("a folder") };
    let dns = signed(&plain.zone(vec![other.record()]), &[]);
    let reason = waits(&plain, &dns, "");
    assert!(reason.starts_with("4.7.5 hop.example: TLS is required and was not offered"), "{reason}");
}

#[test]
fn a_record_that_cannot_be_checked_still_asks_for_tls() {
    let unusable = || vec![Record::Tlsa(1, 0, 1, vec![0; 32])];
    let exchanger = Exchanger::start();
    let dns = signed(&exchanger.zone(unusable()), &[]);
    assert_eq!(arrives(&exchanger, &dns, ""), "dane in TLS");

    let plain = Exchanger { hop: NextHop::start(), folder: tempfile::tempdir().expect("a folder") };
    let dns = signed(&plain.zone(unusable()), &[]);
    assert!(waits(&plain, &dns, "").starts_with("4.7.5 hop.example: TLS is required"));
}

#[test]
fn what_is_not_signed_asks_for_nothing() {
    // The way to the host, and the host itself.
    for unsigned in ["to.example", "hop.example"] {
        let (exchanger, other) = (Exchanger::start(), Exchanger::start());
        let dns = signed(&exchanger.zone(vec![other.record()]), &[unsigned]);
        assert_eq!(arrives(&exchanger, &dns, ""), "none in TLS", "{unsigned}");
    }
    let exchanger = Exchanger::start();
    let dns = signed(&exchanger.zone(Vec::new()), &[]);
    assert_eq!(arrives(&exchanger, &dns, ""), "none in TLS", "no record");
}

#[test]
fn mail_waits_where_somebody_has_his_hands_in_the_dns() {
    for (index, what) in [(0, "to.example"), (1, "to.example"), (2, "hop.example")] {
        for tampered in [Record::Forged, Record::Denied, Record::Diverted, Record::Failure] {
            let exchanger = Exchanger::start();
            let mut zone = exchanger.zone(vec![exchanger.record()]);
            zone[index].1.push(tampered.clone());
            let dns = signed(&zone, &["elsewhere.example"]);
            let reason = waits(&exchanger, &dns, "");
            let is_told = match tampered {
                Record::Failure => reason.starts_with("4.4.3") || index == 2,
                _ => reason.starts_with("4.7.5") && reason.contains("fails DNSSEC validation"),
            };
            assert!(is_told && reason.contains(what), "{tampered:?} at {index}: {reason}");
        }
    }
}

#[test]
fn an_alias_may_lead_to_nothing_in_a_zone_without_signatures() {
    let exchanger = Exchanger::start();
    let mut zone = exchanger.zone(Vec::new());
    zone[2].1.push(Record::Cname("nowhere.plain.example"));
    let dns = signed(&zone, &["plain.example"]);
    assert_eq!(arrives(&exchanger, &dns, ""), "none in TLS");
}

#[test]
fn an_alias_may_have_the_records_at_either_end() {
    let exchanger = Exchanger::start();
    let base = format!("_{}._tcp", exchanger.port());
    for (host, policy) in [("real.example", "dane"), ("hop.example", "dane"), ("other.example", "none")] {
        let exchanger_zone = vec![
            ("to.example".to_owned(), vec![Record::Mx(10, "hop.example")]),
            ("hop.example".to_owned(), vec![Record::Cname("real.example")]),
            ("real.example".to_owned(), vec![Record::A(Ipv4Addr::LOCALHOST)]),
            (format!("{base}.{host}"), vec![exchanger.record()]),
        ];
        let dns = signed(&exchanger_zone, &[]);
        let server = exchanger.outbound(&dns, "");
        send(&server);
        server.wait_for_log(&format!("tls_policy=\"{policy}\""));
        server.wait_for_empty_queue();
    }
}

#[test]
fn tlsa_records_count_where_the_policy_of_the_domain_says_otherwise() {
    let policy = "version: STSv1\nmode: enforce\nmx: hop.example\nmax_age: 86400\n";
    let sts = |exchanger: &Exchanger, tlsa: Record| {
        let (certificate, key) =
            (exchanger.folder.path().join("cert.pem"), exchanger.folder.path().join("key.pem"));
        let web = WebServer::start(&certificate, &key, "200 OK", "Content-Type: text/plain\r\n", policy);
        let mut zone = exchanger.zone(vec![tlsa]);
        zone.push(("_mta-sts.to.example".to_owned(), vec![Record::Txt("v=STSv1; id=1;".to_owned())]));
        zone.push(("mta-sts.to.example".to_owned(), vec![Record::A(Ipv4Addr::LOCALHOST)]));
        let keys = format!("authorities = {certificate:?}\nhttps_port = {}\n", web.address.port());
        (signed(&zone, &[]), keys, web)
    };
    // Its certificate is for another name: the policy would keep the mail back.
    let exchanger = Exchanger::start();
    let (dns, keys, _web) = sts(&exchanger, exchanger.record());
    assert_eq!(arrives(&exchanger, &dns, &keys), "dane in TLS");
    // Its certificate is all that the policy wants, but not the one of the record.
    let (exchanger, other) = (Exchanger::named("hop.example"), Exchanger::start());
    let (dns, keys, _web) = sts(&exchanger, other.record());
    let reason = waits(&exchanger, &dns, &keys);
    assert!(reason.starts_with("4.7.5 hop.example: certificate not accepted"), "{reason}");
}

#[test]
fn without_signatures_there_is_no_dane_unless_it_is_demanded() {
    let exchanger = Exchanger::start();
    let zone = exchanger.zone(Vec::new());
    let zone = || zone.iter().map(|(name, records)| (name.as_str(), records.clone()));
    let sections = |dns: &NameServer, dane: &str| {
        let port = exchanger.port();
        format!(
            "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\n\
             port = {port}\ndane = \"{dane}\"\n",
            dns.address
        )
    };
    let dns = NameServer::start_with(zone());
    let server = Setup::new().open_listener().sections(&sections(&dns, "on")).start();
    send(&server);
    server.wait_for_log("4.7.5 what the DNS says of to.example fails DNSSEC validation");
    assert!(exchanger.hop.taken(0).is_empty());
    let server = Setup::new().open_listener().sections(&sections(&dns, "auto")).start();
    send(&server);
    assert_eq!(exchanger.hop.taken(1).len(), 1);
    server.wait_for_log("the name servers hand out no DNSSEC signatures that hold");
}

/// EHLO's reply of an exchanger that undertakes to keep mail in TLS.
const OFFERS_REQUIRETLS: Reaction = Reaction::Say("250-hop.example\r\n250-STARTTLS\r\n250 REQUIRETLS");

/// Sends a mail that must stay in TLS.
fn send_with(server: &Server, params: &str, content: &[u8]) {
    let mut smtp = server.smtp_as_me();
    smtp.say(&format!("MAIL FROM:<me@localhost>{params}")).must("250 2.1.0");
    smtp.say("RCPT TO:<ann@to.example>").must("250 2.1.5");
    smtp.say("DATA").must("354");
    smtp.send(content);
    smtp.say(".").must("250 2.0.0");
    smtp.quit();
}

/// What the sender hears of a mail that must stay in TLS.
fn bounce(exchanger: &Exchanger, dns: &NameServer) -> String {
    let server = exchanger.outbound(dns, "");
    send_with(&server, " REQUIRETLS RET=FULL", &mail::small("stays-in-tls"));
    let notification = String::from_utf8(server.inbox(1).remove(0)).expect("text");
    assert!(exchanger.hop.taken(0).is_empty(), "nothing has arrived");
    assert!(notification.contains("Content-Type: text/rfc822-headers"), "headers alone: {notification}");
    notification
}

#[test]
fn a_mail_that_must_stay_in_tls_goes_to_proven_servers_that_undertake_it() {
    let mut exchanger = Exchanger::start();
    let dns = signed(&exchanger.zone(vec![exchanger.record()]), &[]);
    exchanger.hop = exchanger.hop.always(At::SecuredHello, OFFERS_REQUIRETLS);
    let server = exchanger.outbound(&dns, "");
    send_with(&server, " REQUIRETLS", &mail::small("stays-in-tls"));
    let taken = exchanger.hop.taken(1).remove(0);
    assert!(taken.in_tls && taken.sender.ends_with(" REQUIRETLS"), "{taken:?}");
}

#[test]
fn without_such_a_server_the_mail_comes_back_without_its_content() {
    // It does not undertake it.
    let exchanger = Exchanger::start();
    let dns = signed(&exchanger.zone(vec![exchanger.record()]), &[]);
    let told = bounce(&exchanger, &dns);
    assert!(told.contains("Status: 5.7.30\r\n") && told.contains("REQUIRETLS is not supported"), "{told}");
    // Nobody vouches for its name.
    let mut exchanger = Exchanger::start();
    exchanger.hop = exchanger.hop.always(At::SecuredHello, OFFERS_REQUIRETLS);
    let dns = signed(&exchanger.zone(vec![exchanger.record()]), &["to.example"]);
    let told = bounce(&exchanger, &dns);
    assert!(told.contains("Status: 5.7.30\r\n") && told.contains("neither DNSSEC nor MTA-STS"), "{told}");
    // Its name is known, but its certificate is of nobody.
    let dns = signed(&exchanger.zone(Vec::new()), &[]);
    let told = bounce(&exchanger, &dns);
    assert!(told.contains("Status: 5.7.30\r\n") && told.contains("certificate not accepted"), "{told}");
}

#[test]
fn a_mail_that_should_rather_arrive_goes_past_the_policy() {
    let (exchanger, other) = (Exchanger::start(), Exchanger::start());
    let dns = signed(&exchanger.zone(vec![other.record()]), &[]);
    let server = exchanger.outbound(&dns, "");
    let content = [b"TLS-Required: No\r\n".as_slice(), &mail::small("rather-arrives")].concat();
    send_with(&server, "", &content);
    assert!(exchanger.hop.taken(1)[0].in_tls);
    // Its connection was kept once, and other mail went to whoever had answered.
    send_with(&server, "", &mail::small("asks-for-the-policy"));
    server.wait_for_log("hop.example: certificate not accepted");
    // Unless it must stay in TLS all the same.
    let server = exchanger.outbound(&dns, "");
    send_with(&server, " REQUIRETLS", &content);
    server.wait_for_log("5.7.30 hop.example: certificate not accepted");
    // That says nothing to mail that asks for less: its destination was put off for everybody once.
    send_with(&server, "", &content);
    assert_eq!(exchanger.hop.taken(2).len(), 2);
}
