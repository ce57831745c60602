//! Mail to other servers is paused by an operator, and does not age meanwhile.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::{mail, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// The only mail in the queue.
fn queued(server: &Server) -> Value {
    let text = server.cli(["queue", "list", "--json"]).succeed().text();
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{text}");
    list[0].clone()
}

#[test]
fn paused_mail_is_neither_told_of_nor_given_up_and_has_its_time_afterwards() {
    let hop = NextHop::start().times(2, At::Rcpt, Reaction::Say("451 4.2.0 later"));
    let dns = NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ]);
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {}\npaused = true\n\
         [delivery.outbound]\ndelay_notice = \"18s\"\nexpiry = \"20s\"",
        dns.address,
        hop.address.port()
    );
    let mut server = Setup::new().sections(&sections).start();
    let mut smtp = server.smtp_as_me();
    let content = mail::small("waits");
    let id =
        smtp.mail("me@localhost", &["ann@to.example", "me@localhost"], &content).must("250 2.0.0").queue_id();
    smtp.quit();
    assert_eq!(server.inbox(1).len(), 1, "local mail goes on");
    wait_until("the record of the local copy", || queued(&server)["last_reason"].is_string());
    assert!(queued(&server)["last_reason"].as_str().unwrap().starts_with("4.3.2 "));
    server.stop();
    server.restart();
    thread::sleep(Duration::from_secs(22));
    assert_eq!(
        (queued(&server)["id"].as_str(), &queued(&server)["attempts"]),
        (Some(id.as_str()), &0.into())
    );
    assert_eq!(hop.connections(), 0);

    let text = fs::read_to_string(server.config()).expect("the configuration");
    fs::write(server.config(), text.replace("paused = true", "paused = false")).expect("the configuration");
    server.signal(Signal::HUP);
    server.wait_for_log("goes out again");
    // It is older than its time, but has not had it. Without that, the second attempt would be the last.
    for attempts in 1..=2 {
        server.cli(["queue", "retry", "--all"]).succeed();
        wait_until("an attempt", || queued(&server)["attempts"] == attempts);
    }
    server.cli(["queue", "retry", "--all"]).succeed();
    assert!(hop.taken(1)[0].is_for("ann@to.example"));
    server.wait_for_empty_queue();
    assert_eq!(server.inbox(1).len(), 1, "its sender was told nothing");
}
