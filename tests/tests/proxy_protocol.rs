//! Behind a real balancer: whose address counts, and who may say so.

use gatepost_tests::balancer::{BALANCER, Balancer, Way};
use gatepost_tests::command::Run;
use gatepost_tests::mail;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::Smtp;
use gatepost_tests::wait_until;
use gatepost_tests::wire::Wire;

/// Mail through every version of the header and every way of TLS arrives with the client's own address in its trace.
#[test]
fn the_client_behind_a_balancer_is_the_one_in_received() {
    let server = behind_a_balancer();
    let ways = [
        Way { to: server.ports.open, options: "send-proxy" },
        Way { to: server.ports.open, options: "send-proxy-v2" },
        Way { to: server.ports.open, options: "send-proxy-v2 proxy-v2-options crc32c,unique-id" },
        Way { to: server.ports.implicit, options: "send-proxy" },
        Way { to: server.ports.implicit, options: "send-proxy-v2" },
    ];
    let balancer = Balancer::start(&server, ways);
    let [v1, v2, checksum, ..] = balancer.ports;
    for port in [v1, v2, checksum] {
        send(&server, port, &["--tls"]);
    }
    let [.., v1_tls, v2_tls] = balancer.ports;
    for port in [v1_tls, v2_tls] {
        let user = server.me();
        let password = &user.password;
        send(&server, port, &["--tls-on-connect", "--auth-user", &user.name, "--auth-password", password]);
    }
    for stored in server.inbox(5) {
        let received = mail::field(&stored, "Received").expect("a trace field");
        assert!(received.contains(&format!("[{CLIENT}]")), "{received}");
        assert!(!received.contains(BALANCER), "{received}");
    }
    assert!(server.log().contains(&format!("peer={CLIENT}:")), "the log shows the client");
}

/// A check of the balancer's own says LOCAL or UNKNOWN, and is served like any connection from the balancer's address.
#[test]
fn the_health_checks_of_a_balancer_are_answered() {
    let server = behind_a_balancer();
    let ways = [
        Way { to: server.ports.open, options: "send-proxy check inter 200ms" },
        Way { to: server.ports.open, options: "send-proxy-v2 check inter 200ms" },
    ];
    let _balancer = Balancer::start(&server, ways);
    wait_until("health checks are counted", || {
        let (_, metrics) = server.http("/metrics");
        let sample = "gatepost_edge_proxy_headers_total{listener=\"edge\",result=\"local\"} ";
        metrics.lines().filter_map(|line| line.strip_prefix(sample)).any(|count| count != "0" && count != "1")
    });
    assert!(!server.log().contains("a balancer's connection is closed"), "nothing is wrong with them");
}

#[test]
fn a_balancer_that_sends_no_header_is_closed_unheard() {
    let server = behind_a_balancer();
    let balancer = Balancer::start(&server, [Way { to: server.ports.open, options: "" }]);
    let mut wire = Wire::connect(balancer.ports[0]);
    wire.send(b"EHLO client.example\r\n");
    assert_eq!(wire.rest(), b"", "no greeting, no reply");
    server.wait_for_log("no PROXY header, although one is required of this network");
}

#[test]
fn a_header_from_anybody_else_is_a_bad_command() {
    let server = behind_a_balancer();
    let mut smtp = Smtp::connect(server.ports.open);
    smtp.say("PROXY TCP4 192.0.2.1 127.0.0.1 4660 25").must("500");
    smtp.say("EHLO client.example").must("250");
    smtp.mail("someone@remote.example", &["me@localhost"], &mail::small("direct")).must("250 2.0.0");
    let stored = server.inbox(1);
    let received = mail::field(&stored[0], "Received").expect("a trace field");
    assert!(received.contains("[127.0.0.1]"), "{received}");
}

fn behind_a_balancer() -> Server {
    Setup::new().open_listener().listener_keys(&format!("proxy_protocol_from = [\"{BALANCER}\"]")).start()
}

/// swaks sends a mail from `CLIENT`.
fn send(server: &Server, port: u16, arguments: &[&str]) {
    Run::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port.to_string(), "--local-interface", CLIENT])
        .args(["--ehlo", "client.example", "--from", "me@localhost", "--to", "me@localhost"])
        .arg("--tls-verify")
        .arg("--tls-ca-path")
        .arg(server.certificate())
        .args(arguments)
        .succeed();
}

/// Of the client, so that it is told apart from everything else on this machine.
const CLIENT: &str = "127.0.0.9";
