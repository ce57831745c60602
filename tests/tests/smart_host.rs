//! A smart host that knows us: another Gatepost, in front of the world.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::wait_until;

fn name_server() -> NameServer {
    NameServer::start_with([("localhost", vec![Record::A(Ipv4Addr::LOCALHOST)])])
}

/// Takes mail of its users for anywhere, which is `world`.
fn smart_host(world: &NextHop, keys: &str) -> Server {
    let way = format!(
        "[delivery.remote]\nenabled = true\ninternal_addresses = true\n\
         [[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\n{keys}",
        world.address
    );
    Setup::new().sections(&way).start()
}

/// Gives all mail for elsewhere to `host`, where it has this account.
fn branch(dns: &NameServer, host: &Server, name: &str, password: &str) -> Server {
    let credentials = host.folder().join("credentials");
    fs::write(&credentials, format!("{name}\n{password}\n")).expect("a file");
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).expect("a mode");
    let way = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\nauthorities = {:?}\n\
         [[route]]\ndomains = [\"*\"]\nhops = [\"localhost:{}\"]\ntls = \"verified\"\ncredentials = {credentials:?}",
        dns.address,
        host.certificate(),
        host.ports.starttls,
    );
    Setup::new().sections(&way).start()
}

fn send(server: &Server, subject: &str) {
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["ann@to.example"], &mail::small(subject)).must("250 2.0.0");
    smtp.quit();
}

/// How the server was logged in to, and what came of it.
fn logins(host: &Server) -> Vec<String> {
    let (_, text) = host.http("/metrics");
    let logins = text.lines().filter(|line| line.contains("authentications_total{"));
    logins.filter_map(|line| Some(line.split_once("mechanism=")?.1.to_owned())).collect()
}

#[test]
fn a_smart_host_with_scram_is_logged_in_to_without_the_password_and_on_this_connection_alone() {
    let (dns, world) = (name_server(), NextHop::start());
    let host = smart_host(&world, "");
    let branch = branch(&dns, &host, "me@localhost", &host.me().password);
    send(&branch, "by-smart-host");
    let taken = world.taken(1).remove(0);
    assert!(taken.sender.starts_with("<me@localhost>"), "{}", taken.sender);
    branch.wait_for_empty_queue();
    assert_eq!(logins(&host), ["\"SCRAM-SHA-256-PLUS\",result=\"ok\"} 1"]);
    for server in [&branch, &host] {
        assert!(!server.log().contains(&host.me().password), "a password in the log");
    }
}

#[test]
fn a_smart_host_that_does_not_know_the_password_is_not_told_it() {
    let (dns, world) = (name_server(), NextHop::start());
    let host = smart_host(&world, "");
    let branch = branch(&dns, &host, "me@localhost", "not the password");
    send(&branch, "unwelcome");
    let waits = || branch.cli(["queue", "list", "--json"]).succeed().text();
    wait_until("the mail waits for whoever sets the password right", || {
        waits().contains("4.7.0 localhost: AUTH refused: 535 5.7.8")
    });
    let logins = logins(&host);
    assert!(logins.iter().all(|login| login.starts_with("\"SCRAM-SHA-256-PLUS\",")), "{logins:?}");
    assert!(world.taken(0).is_empty());
}

#[test]
fn a_smart_host_without_scram_is_logged_in_to_as_before() {
    let (dns, world) = (name_server(), NextHop::start());
    let host = smart_host(&world, "[auth]\nscram = false\n");
    let branch = branch(&dns, &host, "me@localhost", &host.me().password);
    send(&branch, "by-plain");
    assert_eq!(world.taken(1).len(), 1);
    assert_eq!(logins(&host), ["\"PLAIN\",result=\"ok\"} 1"]);
}
