//! What a real Postfix behind a live front learns of the client: by XCLIENT, or by the PROXY protocol.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gatepost_tests::authority::Authority;
use gatepost_tests::mail;
use gatepost_tests::next_hop::NextHop;
use gatepost_tests::pass_through::before_with;
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::smtp::{Reply, Smtp};
use gatepost_tests::wait_until;
use rustix::process::Signal;

const PROXY: &str = "smtpd_upstream_proxy_protocol = haproxy\n";
const XCLIENT: &str = "smtpd_authorized_xclient_hosts = 127.0.0.1\n";

fn before(postfix: &Postfix, keys: &str) -> Server {
    before_with(([127, 0, 0, 1], postfix.port).into(), keys, "").start()
}

fn from(client: Ipv4Addr, server: &Server) -> Smtp {
    let mut smtp = Smtp::connect_from(client, server.ports.open).expect("a greeting");
    smtp.say("EHLO client.example").must("250");
    smtp
}

fn send(client: &mut Smtp, name: &str) -> Reply {
    client.mail("someone@remote.example", &["ann@to.example"], &mail::small(name))
}

fn received(mail: &[u8]) -> String {
    mail::field(mail, "Received").expect("a trace field of Postfix")
}

fn is_idle(server: &Server) -> bool {
    server.metric("gatepost_upstream_connections") == 0.0
}

#[test]
fn postfix_sees_the_client_and_what_he_calls_himself() {
    let postfix = Postfix::start_set(XCLIENT);
    for tls in ["none", "required"] {
        let server = before(&postfix, &format!("tls = \"{tls}\"\nidentity = \"xclient\""));
        let mut client = from(CLIENT, &server);
        send(&mut client, tls).must("250");
        client.say("EHLO another.example").must("250");
        send(&mut client, tls).must("250");
        client.quit();
        wait_until("the session behind is over", || is_idle(&server));
    }
    let mails = postfix.mails(4);
    for name in ["client.example", "another.example"] {
        let from = format!("from {name} (unknown [{CLIENT}])");
        assert_eq!(mails.iter().filter(|mail| received(mail).starts_with(&from)).count(), 2, "{mails:?}");
    }
    let log = postfix.log();
    assert_eq!(log.matches(&format!("client=unknown[{CLIENT}]")).count(), 4, "{log}");
    assert!(!log.contains("lost connection after DATA"), "sessions are ended with a word: {log}");
}

#[test]
fn a_login_here_is_told() {
    let postfix = Postfix::start_set(XCLIENT);
    let server = before(&postfix, "tls = \"none\"\nidentity = \"xclient\"");
    let mut me = server.smtp_as_me();
    me.mail("me@localhost", &["ann@to.example"], &mail::small("mine")).must("250");
    me.quit();
    assert_eq!(postfix.mails(1).len(), 1);
    let log = postfix.log();
    assert!(log.contains("sasl_username=me@localhost"), "{log}");
}

#[test]
fn connections_that_speak_of_a_client_serve_nobody_else() {
    let postfix = Postfix::start_set(XCLIENT);
    let server = before(&postfix, "tls = \"none\"\nidentity = \"xclient\"");
    let others = [CLIENT, Ipv4Addr::new(127, 0, 0, 10), Ipv4Addr::new(127, 0, 0, 11)];
    for round in 0..2 {
        for client in others {
            let mut smtp = from(client, &server);
            for mail in 0..2 {
                send(&mut smtp, &format!("{client}-{round}-{mail}")).must("250");
            }
            smtp.quit();
        }
    }
    let mails = postfix.mails(12);
    for client in others {
        let count = mails.iter().filter(|mail| received(mail).contains(&format!("[{client}]"))).count();
        assert_eq!(count, 4, "{client}");
    }
    wait_until("connections are closed", || is_idle(&server));
}

#[test]
fn postfix_sees_the_client_by_the_proxy_protocol() {
    let plain = Postfix::start_set(PROXY);
    let wrapped = Postfix::start_set(&format!("{PROXY}smtpd_tls_wrappermode = yes\n"));
    let implicit = format!(
        "tls = \"implicit\"\ntls_name = \"hop.example\"\nauthorities = \"{}\"",
        wrapped.certificate().display()
    );
    let ways = [(&plain, "tls = \"none\""), (&plain, "tls = \"required\""), (&wrapped, &implicit)];
    for (postfix, keys) in ways {
        for version in ["proxy-v1", "proxy-v2"] {
            let server = before(postfix, &format!("{keys}\nidentity = \"{version}\""));
            assert_eq!(server.metric("gatepost_upstream_up"), 1.0, "the probe is understood");
            for client in [CLIENT, Ipv4Addr::new(127, 0, 0, 10)] {
                let mut smtp = from(client, &server);
                send(&mut smtp, version).must("250");
                send(&mut smtp, version).must("250");
                smtp.quit();
            }
            wait_until("the sessions behind are over", || is_idle(&server));
        }
    }
    for (postfix, count) in [(&plain, 16), (&wrapped, 8)] {
        let mails = postfix.mails(count);
        let of = |client| {
            mails.iter().filter(|mail| received(mail).contains(&format!("(unknown [{client}])"))).count()
        };
        assert_eq!([of("127.0.0.9"), of("127.0.0.10")], [count / 2; 2]);
    }
}

/// Without that it would take the header for a command, and each of its replies for one to the command after it.
#[test]
fn a_server_that_does_not_expect_the_header_gets_no_mail() {
    let postfix = Postfix::start();
    for version in ["proxy-v1", "proxy-v2"] {
        let server = before(&postfix, &format!("tls = \"none\"\nidentity = \"{version}\""));
        let mut client = from(CLIENT, &server);
        client.say("MAIL FROM:<someone@remote.example>").must("451 4.4.1");
        client.quit();
        assert_eq!(server.metric("gatepost_upstream_up"), 0.0);
    }
    assert!(!postfix.log().contains("from=<someone"), "nothing was handed in");
}

/// Whom the server behind does not want hears it in its words, and is nobody else's trouble.
#[test]
fn a_client_that_is_turned_away_behind_hears_why_and_others_are_served() {
    let postfix = Postfix::start_set(&format!(
        "{XCLIENT}smtpd_delay_reject = no\n\
         smtpd_client_restrictions = check_client_access inline:{{ {{ 127.0.0.66 = 554 5.7.1 not from there }} }}\n"
    ));
    let server = before(&postfix, "tls = \"none\"\nidentity = \"xclient\"");
    let mut unwanted = from(Ipv4Addr::new(127, 0, 0, 66), &server);
    for _ in 0..2 {
        let reply = unwanted.say("MAIL FROM:<someone@remote.example>");
        reply.must("554 5.7.1 ");
        assert!(format!("{reply:?}").contains("not from there"), "{reply:?}");
    }
    assert_eq!(server.metric("gatepost_upstream_up"), 1.0);
    send(&mut from(CLIENT, &server), "wanted").must("250");
    assert!(received(&postfix.mails(1)[0]).contains(&format!("[{CLIENT}]")));
    unwanted.say("NOOP").must("250");
}

/// Otherwise the server would take every client for us, and us for somebody it trusts.
#[test]
fn a_server_that_does_not_listen_to_it_gets_no_mail() {
    let postfix = Postfix::start();
    let server = before(&postfix, "tls = \"none\"\nidentity = \"xclient\"");
    let mut client = from(CLIENT, &server);
    client.say("MAIL FROM:<someone@remote.example>").must("451 4.4.1");
    client.quit();
    server.wait_for_log("XCLIENT with ADDR is required and was not offered");
    assert_eq!(server.metric("gatepost_upstream_up"), 0.0);
    assert!(!postfix.log().contains("from=<someone"), "nothing was handed in");
}

/// The front itself is behind another one, which says who the client is.
#[test]
fn whom_a_relay_before_us_speaks_for_is_told() {
    let postfix = Postfix::start_set(XCLIENT);
    let server =
        before_with(([127, 0, 0, 1], postfix.port).into(), "tls = \"none\"\nidentity = \"xclient\"", "")
            .listener_keys("xclient_from = [\"127.0.0.0/8\"]")
            .start();
    let mut relay = from(CLIENT, &server);
    send(&mut relay, "its own").must("250");
    relay.say("XCLIENT ADDR=192.0.2.77 PORT=4711 NAME=[UNAVAILABLE]").must("220");
    relay.say("EHLO further.example").must("250");
    send(&mut relay, "of another").must("250");
    relay.quit();
    let mails = postfix.mails(2);
    let of_another = mails.iter().find(|mail| received(mail).contains("[192.0.2.77]")).expect("his");
    assert!(received(of_another).starts_with("from further.example (unknown [192.0.2.77])"));
}

/// A certificate of ours, as a server would keep it.
fn write(authority: &Authority, folder: &Path) -> [PathBuf; 2] {
    let pair = authority.issue("front.example").write(folder);
    fs::set_permissions(&pair[1], fs::Permissions::from_mode(0o600)).expect("the key's mode can be set");
    pair
}

fn keys_of([certificate, key]: [PathBuf; 2]) -> String {
    format!("certificate = \"{}\"\nkey = \"{}\"", certificate.display(), key.display())
}

/// The server behind takes mail only from whom an authority vouches for.
#[test]
fn a_server_that_wants_a_certificate_of_ours_gets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ca);
    let shown = keys_of(write(&authority, folder.path()));
    let postfix = Postfix::start_set(&format!(
        "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = {}\n\
         smtpd_tls_received_header = yes\n",
        ca.display()
    ));
    let proof = format!("tls_name = \"hop.example\"\nauthorities = \"{}\"", postfix.certificate().display());
    for tls in ["tls = \"required\"", &format!("tls = \"verified\"\n{proof}")] {
        let without = before(&postfix, tls);
        from(CLIENT, &without).say("MAIL FROM:<someone@remote.example>").must("451 4.4.1");
        let server = before(&postfix, &format!("{tls}\n{shown}"));
        send(&mut from(CLIENT, &server), "proven").must("250");
    }
    for mail in postfix.mails(2) {
        assert!(received(&mail).contains("verified OK"), "{}", received(&mail));
    }
}

/// A reload takes a new pair over; one that cannot be used leaves everything as it was.
#[test]
fn a_certificate_is_read_again_at_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ca);
    let shown = keys_of(write(&Authority::new(), folder.path()));
    let postfix = Postfix::start_set(&format!(
        "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\nsmtpd_tls_CAfile = {}\n",
        ca.display()
    ));
    let server = before(&postfix, &format!("tls = \"required\"\n{shown}"));
    from(CLIENT, &server).say("MAIL FROM:<someone@remote.example>").must("451 4.4.1");
    let [certificate, _] = write(&authority, folder.path());
    fs::write(&certificate, "no certificate").expect("a file");
    server.signal(Signal::HUP);
    server.wait_for_log("holds no usable PEM certificate");
    write(&authority, folder.path());
    server.signal(Signal::HUP);
    wait_until("the new certificate is shown", || server.metric("gatepost_upstream_up") == 1.0);
    send(&mut from(CLIENT, &server), "proven").must("250");
    assert_eq!(postfix.mails(1).len(), 1);
}

/// What nobody is told of goes on as before: one connection after the other's mail.
#[test]
fn without_an_identity_a_connection_serves_all() {
    let behind = NextHop::start();
    let server = before_with(behind.address, "tls = \"none\"", "").start();
    for client in [CLIENT, Ipv4Addr::new(127, 0, 0, 10)] {
        let mut smtp = from(client, &server);
        send(&mut smtp, "pooled").must("250");
        smtp.quit();
    }
    assert_eq!(behind.taken(2).len(), 2);
    assert!(
        behind.said().iter().all(|line| !line.starts_with("XCLIENT") && !line.contains("client.example"))
    );
}

/// Of the client, so that it is told apart from everything else on this machine.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
