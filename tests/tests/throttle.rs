//! How much of us destinations and domains get, and what may be done with mail that waits for its turn.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use serde_json::Value;

/// A server whose users may send to `slow.example` and `fast.example`, which have the same mail exchanger.
fn start(hop: &NextHop, routes: &str) -> (NameServer, Server) {
    let mx = || vec![Record::Mx(10, "hop.example")];
    let dns = NameServer::start_with([
        ("slow.example", mx()),
        ("fast.example", mx()),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ]);
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {}\n{routes}",
        dns.address,
        hop.address.port()
    );
    let server = Setup::new().sections(&sections).start();
    (dns, server)
}

fn send(server: &Server, to: &[&str]) -> String {
    let mut smtp = server.smtp_as_me();
    let id = smtp.mail("me@localhost", to, &mail::small("x")).must("250 2.0.0").queue_id();
    smtp.quit();
    id
}

fn json<const N: usize>(server: &Server, args: [&str; N]) -> Value {
    let text = server.cli(args).arg("--json").succeed().text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn ids(server: &Server) -> Vec<String> {
    let list = json(server, ["queue", "list"]);
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// How many mails wait, none of them tried and none of them with a worker, for this reason.
fn waiting(server: &Server, reason: &str) -> usize {
    let list = json(server, ["queue", "list", "--state", "deferred"]);
    let waits = |item: &&Value| {
        item["attempts"] == 0 && item["last_reason"].as_str().is_some_and(|why| why.contains(reason))
    };
    list.as_array().unwrap().iter().filter(waits).count()
}

fn assert_soon_over(server: &mut Server) {
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?} to stop\n{}", started.elapsed(), server.log());
}

#[test]
fn a_throttled_domain_slows_no_other_and_its_mail_waits_on_the_schedule() {
    let hop = NextHop::start();
    let (_dns, mut server) = start(&hop, "[[route]]\ndomains = [\"slow.example\"]\nrate = 2");
    for _ in 0..5 {
        send(&server, &["ann@slow.example"]);
    }
    for _ in 0..10 {
        send(&server, &["bob@fast.example"]);
    }
    let count = |address: &str| hop.taken_so_far().iter().filter(|taken| taken.is_for(address)).count();
    wait_until("all of the other domain's mail", || count("bob@fast.example") == 10);
    assert_eq!(count("ann@slow.example"), 2);
    let reason = "4.4.5 waits for its turn: slow.example gets 2 mails a minute";
    wait_until("three mails that wait", || waiting(&server, reason) == 3);
    assert_eq!(json(&server, ["queue", "stats"])["in_delivery"], 0);
    assert!(server.metric("gatepost_remote_throttled_total") >= 3.0);

    let left = ids(&server);
    let [_, held, deleted] = left.as_slice() else { panic!("three wait: {left:?}") };
    let reached = json(&server, ["queue", "delete", "--silent", deleted]);
    assert_eq!((&reached["messages"], &reached["in_delivery"]), (&1.into(), &0.into()));
    let reached = json(&server, ["queue", "hold", held]);
    assert_eq!((&reached["messages"], &reached["in_delivery"]), (&1.into(), &0.into()));
    assert_soon_over(&mut server);
    assert!(!server.log().contains("are broken off"));

    server.restart();
    wait_until("what was neither held nor deleted", || count("ann@slow.example") == 3);
    wait_until("the held one alone", || ids(&server) == [held.as_str()]);
}

#[test]
fn a_domain_behind_a_smart_host_has_a_rate_of_its_own() {
    let hop = NextHop::start();
    let route = format!("[[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\ndomain_rate = 1", hop.address);
    let (_dns, server) = start(&hop, &route);
    send(&server, &["ann@slow.example"]);
    let _first = hop.taken(1);
    let both = send(&server, &["cid@slow.example", "bob@fast.example"]);
    let taken = hop.taken(2);
    assert!(taken[1].is_for("bob@fast.example") && !taken[1].is_for("cid@slow.example"), "{taken:?}");
    wait_until("the rest of the mail", || {
        let list = json(&server, ["queue", "list", "--state", "deferred"]);
        list[0]["id"] == both.as_str() && list[0]["recipients"][1]["pending"] == false
    });
    let list = json(&server, ["queue", "list"]);
    assert_eq!(list[0]["recipients"][0]["pending"], true);
    let reason = list[0]["last_reason"].as_str().unwrap();
    let expected = format!("turn: slow.example by {} gets 1 mails a minute", hop.address);
    assert!(reason.contains(&expected), "{reason}");
}

#[test]
fn a_destination_gets_no_more_connections_than_its_route_says() {
    let hop = NextHop::start().times(1, At::Data, Reaction::Stall);
    let (_dns, mut server) = start(&hop, "[[route]]\ndomains = [\"slow.example\"]\nconnections = 1");
    for _ in 0..6 {
        send(&server, &["ann@slow.example"]);
    }
    wait_until("some that are not held in memory", || {
        waiting(&server, "4.4.5 waits for other mail to slow.example") == 3
    });
    assert_eq!(json(&server, ["queue", "stats"])["in_delivery"], 3);
    assert_eq!(hop.connections(), 1);
    send(&server, &["bob@fast.example"]);
    assert!(hop.taken(1)[0].is_for("bob@fast.example"));
    server.kill();
}
