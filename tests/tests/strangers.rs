//! What strangers meet before the greeting: block lists and a silence. They come by PROXY headers, since this machine itself
//! is trusted.

use std::time::{Duration, Instant};

use gatepost_tests::dns::NameServer;
use gatepost_tests::ports;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::wire::Wire;

#[test]
fn a_peer_on_the_block_lists_is_turned_away_and_the_log_says_by_which() {
    let dns = NameServer::start(&[
        ("1.2.0.192.bl.example", &[[127, 0, 0, 2]]),
        ("1.2.0.192.more.example", &[[127, 0, 0, 4]]),
        ("2.2.0.192.bl.example", &[[127, 0, 0, 2]]),
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example", &[[127, 0, 0, 2]]),
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.more.example", &[[127, 0, 0, 5]]),
    ]);
    let mx = Mx::start("", &lists(&dns, ""));
    assert_turned_away(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    mx.server.wait_for_log("score 3 of 3: bl.example says 127.0.0.2 (+2), more.example says 127.0.0.4 (+1)");
    assert_turned_away(&mx.greeting("TCP6 2001:db8::1 ::1"));
    assert_welcome(&mx.greeting("TCP4 192.0.2.2 127.0.0.1"));
    assert_welcome(&mx.greeting("TCP4 192.0.2.3 127.0.0.1"));

    let asked = dns.queries();
    assert_turned_away(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    assert_welcome(&mx.greeting("TCP4 192.0.2.3 127.0.0.1"));
    assert_eq!(dns.queries(), asked, "what the lists have said is remembered");
}

#[test]
fn lists_that_do_not_answer_keep_nobody_out() {
    let dns = NameServer::start(&[("1.2.0.192.bl.example", &[[127, 0, 0, 2]])]);
    let mx = Mx::start("", &lists(&dns, ""));
    dns.fall_silent();
    let started_at = Instant::now();
    assert_welcome(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    assert!(started_at.elapsed() < Duration::from_secs(4), "the lists are asked at the same time");
    let failed =
        mx.server.http("/metrics").1.lines().filter(|line| line.contains("result=\"timed_out\"")).count();
    assert_eq!(failed, 2, "both lists are counted");
    for host in 2..=5 {
        assert_welcome(&mx.greeting(&format!("TCP4 192.0.2.{host} 127.0.0.1")));
    }
    mx.server.wait_for_log("a block list does not answer, and is skipped until it does");
    let started_at = Instant::now();
    assert_welcome(&mx.greeting("TCP4 192.0.2.6 127.0.0.1"));
    assert!(started_at.elapsed() < Duration::from_secs(2), "dead lists cost the next one nothing");
}

#[test]
fn a_dry_run_tells_and_lets_in() {
    let dns = NameServer::start(&[
        ("1.2.0.192.bl.example", &[[127, 0, 0, 2]]),
        ("1.2.0.192.more.example", &[[127, 0, 0, 4]]),
    ]);
    let mx = Mx::start("", &lists(&dns, "[admission.rules]\ndnsbl = \"detect\"\n"));
    assert_welcome(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    mx.server.wait_for_log("would refuse");
}

#[test]
fn who_speaks_before_the_greeting_is_turned_away() {
    let mx = Mx::start("pregreet_wait = \"2s\"", "");
    let mut early = mx.connect("TCP4 192.0.2.1 127.0.0.1");
    early.send(b"EHLO client.example\r\n");
    assert_turned_away(&early.line());
    mx.server.wait_for_log("spoke before the greeting: EHLO or HELO");

    let started_at = Instant::now();
    assert_welcome(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    assert!(started_at.elapsed() >= Duration::from_secs(2), "a stranger waits");

    let started_at = Instant::now();
    assert_welcome(&mx.greeting("TCP4 192.0.2.1 127.0.0.1"));
    assert!(started_at.elapsed() < Duration::from_secs(2), "but not twice");

    let started_at = Instant::now();
    let mut trusted = mx.connect("UNKNOWN");
    trusted.send(b"EHLO client.example\r\n");
    assert_welcome(&trusted.line());
    assert!(started_at.elapsed() < Duration::from_secs(2), "a trusted network does not");
}

#[test]
fn a_ban_survives_a_restart_and_a_damaged_file_is_told() {
    let mut mx = Mx::start("", "[admission]\nunknown_recipient_rate = 1\ntarpit_delay = \"10ms\"\n");
    let header = "TCP4 192.0.2.1 127.0.0.1";
    let mut guesser = mx.connect(header);
    guesser.send(b"EHLO a.example\r\nMAIL FROM:<a@example.org>\r\n");
    guesser.send(&b"RCPT TO:<nobody@localhost>\r\n".repeat(3));
    guesser.send(b"QUIT\r\n");
    let said = String::from_utf8_lossy(&guesser.rest()).into_owned();
    assert!(said.contains("550 5.1.1"), "{said}");
    assert!(!mx.greeting(header).starts_with(b"220"), "banned");
    mx.server.stop();
    mx.server.restart();
    assert!(!mx.greeting(header).starts_with(b"220"), "banned still");
    assert_welcome(&mx.greeting("TCP4 192.0.2.2 127.0.0.1"));
    mx.server.stop();
    std::fs::write(mx.server.data().join("admission.state"), "rubbish").expect("the file");
    mx.server.restart();
    mx.server.wait_for_log("their file is damaged");
    assert_welcome(&mx.greeting(header));
}

/// A listener that takes mail from strangers, behind a balancer on this machine.
struct Mx {
    server: Server,
    port: u16,
}

impl Mx {
    fn start(keys: &str, sections: &str) -> Self {
        let [port] = ports::free();
        let listener = format!(
            "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:{port}\"\nprotocol = \"smtp\"\ntls = \"none\"\n\
             require_auth = false\nproxy_protocol_from = [\"127.0.0.1\"]\n{keys}\n{sections}"
        );
        Self { server: Setup::new().sections(&listener).start(), port }
    }

    /// Connects as the client that this header names.
    fn connect(&self, header: &str) -> Wire {
        let mut wire = Wire::connect(self.port);
        let ports = if header == "UNKNOWN" { "" } else { " 4660 25" };
        wire.send(format!("PROXY {header}{ports}\r\n").as_bytes());
        wire
    }

    fn greeting(&self, header: &str) -> Vec<u8> {
        self.connect(header).line()
    }
}

fn lists(dns: &NameServer, more: &str) -> String {
    format!(
        "[dns]\nservers = [\"{}\"]\n[dnsbl]\nthreshold = 3\ntimeout = \"2s\"\n\
         [[dnsbl.list]]\nzone = \"bl.example\"\nweight = 2\n[[dnsbl.list]]\nzone = \"more.example\"\n{more}",
        dns.address
    )
}

fn assert_welcome(greeting: &[u8]) {
    assert!(greeting.starts_with(b"220 gatepost.test"), "{}", greeting.escape_ascii());
}

fn assert_turned_away(greeting: &[u8]) {
    assert!(greeting.starts_with(b"554 5.7.1 gatepost.test"), "{}", greeting.escape_ascii());
}
