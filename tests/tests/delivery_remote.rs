//! Mail leaves the server: by MX, by smart host, past servers that misbehave.

use std::net::{Ipv4Addr, Ipv6Addr};

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::dovecot::Dovecot;
use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::trust;
use gatepost_tests::wait_until;
use gatepost_tests::web::WebServer;

/// A server whose users may send anywhere: names are those of `dns`, mail exchangers listen at `port`.
fn outbound(dns: &NameServer, port: u16, more: &str) -> Server {
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {port}\n{more}",
        dns.address
    );
    Setup::new().open_listener().sections(&sections).start()
}

/// `to.example` with one mail exchanger on loopback.
fn one_exchanger() -> NameServer {
    NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ])
}

fn send(server: &Server, to: &[&str], content: &[u8]) {
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", to, content).must("250 2.0.0");
    smtp.quit();
}

/// The sender has got so many notifications of a failure, all with this status.
fn assert_returned(server: &Server, count: usize, status: &str) {
    for notification in server.inbox(count) {
        let text = String::from_utf8_lossy(&notification);
        assert!(text.contains("\r\nAction: failed\r\n"), "{text}");
        assert!(text.contains(&format!("\r\nStatus: {status}\r\n")), "{text}");
    }
}

/// Why the only mail in the queue waits.
fn reason(server: &Server) -> String {
    let started = std::time::Instant::now();
    loop {
        let list = server.cli(["queue", "list", "--json"]).succeed().text();
        let queued: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        if let Some(reason) = queued[0]["last_reason"].as_str() {
            return reason.to_owned();
        }
        assert!(started.elapsed().as_secs() < 60, "no attempt: {list}\n{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_users_mail_goes_to_the_mail_exchanger_of_its_domain_and_its_local_copy_stays_here() {
    let (dns, hop) = (one_exchanger(), NextHop::start());
    let server = outbound(&dns, hop.address.port(), "");
    let content = mail::small("outward");
    send(&server, &["ann@to.example", "me@localhost", "bob@To.Example"], &content);
    let taken = hop.taken(1).remove(0);
    assert!(taken.sender.starts_with("<me@localhost>"), "{}", taken.sender);
    let recipients: Vec<_> = taken.recipients.iter().map(|path| path.split(' ').next().unwrap()).collect();
    assert_eq!(recipients, ["<ann@to.example>", "<bob@To.Example>"]);
    mail::assert_same_octets(taken.below_trace(), &content);
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
    server.wait_for_empty_queue();
    assert_eq!(server.metric("gatepost_remote_recipients_total"), 2.0);
}

#[test]
fn nobody_but_users_may_send_elsewhere_and_not_to_hosts_inside_unless_that_is_meant() {
    let (dns, hop) = (one_exchanger(), NextHop::start());
    let server = outbound(&dns, hop.address.port(), "");
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    stranger.say("RCPT TO:<ann@to.example>").must("550 5.7.1");
    stranger.say("RCPT TO:<ann@[127.0.0.1]>").must("550 5.7.1");
    stranger.quit();

    let strict = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\nport = {}",
        dns.address,
        hop.address.port()
    );
    let server = Setup::new().sections(&strict).start();
    let mut user = server.smtp_as_me();
    user.say("MAIL FROM:<me@localhost>").must("250 2.1.0");
    user.say("RCPT TO:<ann@[127.0.0.1]>").must("550 5.7.1");
    user.quit();
    send(&server, &["ann@to.example"], &mail::small("inside"));
    server.wait_for_log("5.4.4 the mail exchangers of to.example have no public address");
    assert_eq!(hop.connections(), 0);
}

#[test]
fn a_mail_exchanger_that_is_down_is_passed_over() {
    let hop = NextHop::start_at(Ipv4Addr::new(127, 0, 0, 2).into(), 0);
    let dns = NameServer::start_with([
        (
            "to.example",
            vec![Record::Mx(20, "up.example"), Record::Mx(10, "down.example"), Record::Mx(5, "gone.example")],
        ),
        ("down.example", vec![Record::A(Ipv4Addr::new(127, 0, 0, 3))]),
        ("up.example", vec![Record::A(Ipv4Addr::new(127, 0, 0, 2))]),
    ]);
    let server = outbound(&dns, hop.address.port(), "");
    send(&server, &["ann@to.example"], &mail::small("second-choice"));
    assert_eq!(hop.taken(1)[0].recipients.len(), 1);
    server.wait_for_empty_queue();
}

#[test]
fn a_host_that_does_not_answer_by_ipv6_is_reached_by_ipv4() {
    let hop = NextHop::start();
    let dns = NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST), Record::Aaaa(Ipv6Addr::LOCALHOST)]),
    ]);
    let server = outbound(&dns, hop.address.port(), "");
    send(&server, &["ann@to.example"], &mail::small("by-ipv4"));
    assert_eq!(hop.taken(1).len(), 1);
    server.wait_for_log("a next hop could not be used");
    server.wait_for_empty_queue();
}

#[test]
fn what_the_dns_says_decides_between_now_later_and_never() {
    let hop = NextHop::start();
    let dns = NameServer::start_with([
        ("null.example", vec![Record::Mx(0, "")]),
        ("silent.example", vec![Record::Failure]),
        ("bare.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
        ("odd.example", vec![Record::Mx(10, "127.0.0.1")]),
    ]);
    let server = outbound(&dns, hop.address.port(), "");
    for (domain, log) in [
        ("null.example", "5.1.10 the domain null.example takes no mail"),
        ("no-such.example", "5.1.2 the domain no-such.example does not exist"),
        ("odd.example", "5.4.4 no mail exchanger of odd.example can be used"),
    ] {
        send(&server, &[&format!("ann@{domain}")], &mail::small("by-dns"));
        server.wait_for_log(log);
    }
    send(&server, &["ann@bare.example"], &mail::small("implicit-mx"));
    assert_eq!(hop.taken(1).len(), 1);
    server.wait_for_empty_queue();
    send(&server, &["ann@silent.example"], &mail::small("later"));
    assert_eq!(reason(&server), "4.4.3 the DNS has no answer for silent.example now");
}

#[test]
fn a_mail_exchanger_that_is_this_server_is_a_loop() {
    let dns = NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example"), Record::Mx(20, "other.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
        ("other.example", vec![Record::A(Ipv4Addr::new(127, 0, 0, 2))]),
    ]);
    let port = gatepost_tests::ports::free::<1>()[0];
    let listener = format!(
        "[[listener]]\nname = \"exchanger\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:{port}\"\ntls = \"none\"\nrequire_auth = false\n"
    );
    let server = outbound(&dns, port, &listener);
    send(&server, &["ann@to.example"], &mail::small("loop"));
    server.wait_for_log("5.4.6 the mail exchanger of to.example is this server");
}

#[test]
fn a_refusal_is_final_and_a_delay_is_not_at_every_stage() {
    for at in [At::Mail, At::Rcpt, At::Data, At::Dot] {
        let (dns, hop) =
            (one_exchanger(), NextHop::start().always(at, Reaction::Say("451 4.7.1 come back later")));
        let server = outbound(&dns, hop.address.port(), "");
        send(&server, &["ann@to.example"], &mail::small("delayed"));
        let waits = reason(&server);
        assert!(waits.starts_with("4.7.1 ") && waits.contains("come back later"), "{at:?}: {waits}");
        assert!(hop.taken(0).is_empty());

        let (dns, hop) = (one_exchanger(), NextHop::start().always(at, Reaction::Say("550 5.7.1 never")));
        let server = outbound(&dns, hop.address.port(), "");
        send(&server, &["ann@to.example"], &mail::small("refused"));
        assert_returned(&server, 1, "5.7.1");
        assert!(hop.taken(0).is_empty());
    }
}

#[test]
fn a_server_that_goes_away_at_any_stage_costs_no_mail() {
    for at in [At::Greeting, At::Hello, At::Mail, At::Rcpt, At::Data, At::Dot] {
        let (dns, hop) = (one_exchanger(), NextHop::start().always(at, Reaction::Drop));
        let server = outbound(&dns, hop.address.port(), "");
        send(&server, &["ann@to.example"], &mail::small("dropped"));
        let waits = reason(&server);
        assert!(waits.starts_with("4.4.2 hop.example: "), "{at:?}: {waits}");
        // Behind the final dot the server had the mail: it comes again, which is the one duplicate that SMTP leaves.
        assert_eq!(hop.taken(usize::from(at == At::Dot)).len(), usize::from(at == At::Dot));
    }
}

#[test]
fn the_recipients_of_one_mail_have_their_own_fates() {
    let (dns, hop) = (one_exchanger(), NextHop::start());
    let hop = hop.times(1, At::Rcpt, Reaction::Say("550 5.1.1 nobody here")).times(
        1,
        At::Rcpt,
        Reaction::Say("450 4.2.1 busy"),
    );
    let server = outbound(&dns, hop.address.port(), "");
    send(&server, &["gone@to.example", "busy@to.example", "ann@to.example"], &mail::small("three-fates"));
    let taken = hop.taken(1).remove(0);
    assert!(taken.recipients.len() == 1 && taken.recipients[0].starts_with("<ann@to.example>"), "{taken:?}");
    assert!(reason(&server).starts_with("4.2.1 "));
    let list = server.cli(["queue", "list", "--json"]).succeed().text();
    let queued: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let pending: Vec<_> = queued[0]["recipients"]
        .as_array()
        .expect("recipients")
        .iter()
        .map(|it| it["pending"].as_bool())
        .collect();
    assert_eq!(pending, [Some(false), Some(true), Some(false)], "{list}");
}

#[test]
fn mails_in_a_row_share_a_connection() {
    let (dns, hop) = (one_exchanger(), NextHop::start());
    let server = outbound(&dns, hop.address.port(), "");
    for round in 0..3 {
        send(&server, &["ann@to.example"], &mail::small(&format!("row-{round}")));
        assert_eq!(hop.taken(round + 1).len(), round + 1);
        server.wait_for_empty_queue();
    }
    assert_eq!(hop.connections(), 1);
}

#[test]
fn a_dead_destination_is_not_tried_for_each_of_its_mails_and_mailboxes_here_do_not_wait() {
    let (dns, hop) =
        (one_exchanger(), NextHop::start().always(At::Greeting, Reaction::Say("421 4.3.2 closed")));
    let server = outbound(&dns, hop.address.port(), "");
    let mut smtp = server.smtp_as_me();
    for round in 0..30 {
        smtp.mail("me@localhost", &["ann@to.example"], &mail::small(&format!("dead-{round}")))
            .must("250 2.0.0");
    }
    smtp.mail("me@localhost", &["me@localhost"], &mail::small("near")).must("250 2.0.0");
    smtp.quit();
    assert_eq!(server.inbox(1).len(), 1);
    server.wait_for_log("put off with all mail to to.example");
    let connections = hop.connections();
    assert!(connections <= 4, "{connections} connections for 30 mails");
    // What was put off with others was not tried, and is not taken for that.
    wait_until("attempts and connections agree", || attempts(&server) == hop.connections() as u64);
    // Whoever has mended the server need not wait until somebody finds that out.
    hop.mend();
    server.cli(["queue", "retry", "--all"]).succeed();
    assert_eq!(hop.taken(30).len(), 30);
    server.wait_for_empty_queue();
}

/// Of all mails in the queue, together.
fn attempts(server: &Server) -> u64 {
    let list = server.cli(["queue", "list", "--json"]).succeed().text();
    let queued: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    queued.iter().map(|mail| mail["attempts"].as_u64().expect("a number")).sum()
}

#[test]
fn a_stalled_server_keeps_no_mail_from_its_mailbox_here() {
    let (dns, hop) = (one_exchanger(), NextHop::start().always(At::Mail, Reaction::Stall));
    let server = outbound(&dns, hop.address.port(), "");
    let mut smtp = server.smtp_as_me();
    // More than may wait in memory for one destination: the rest goes back to the queue.
    for round in 0..70 {
        smtp.mail("me@localhost", &["ann@to.example"], &mail::small(&format!("stalled-{round}")))
            .must("250 2.0.0");
    }
    for round in 0..3 {
        smtp.mail("me@localhost", &["me@localhost"], &mail::small(&format!("near-{round}")))
            .must("250 2.0.0");
    }
    smtp.quit();
    assert_eq!(server.inbox(3).len(), 3);
    assert!(hop.connections() <= 2, "a server that was never met gets few connections at a time");
}

#[test]
fn tls_is_used_where_it_is_offered_and_its_failure_is_no_end_unless_it_is_demanded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    trust::write_certificate(&certificate, &key);
    let (dns, hop) = (one_exchanger(), NextHop::start_tls(&certificate, &key));
    let server = outbound(&dns, hop.address.port(), "");
    send(&server, &["ann@to.example"], &mail::small("in-tls"));
    assert!(hop.taken(1)[0].in_tls);

    let hop = NextHop::start_tls(&certificate, &key).always(At::StartTls, Reaction::Say("454 4.7.0 not now"));
    let server = outbound(&dns, hop.address.port(), "");
    send(&server, &["ann@to.example"], &mail::small("in-the-clear"));
    assert!(!hop.taken(1)[0].in_tls);

    let route = format!("[[route]]\ndomains = [\"*\"]\nhops = [\"{}\"]\ntls = \"encrypted\"", hop.address);
    let server = outbound(&dns, hop.address.port(), &route);
    send(&server, &["ann@to.example"], &mail::small("kept"));
    assert!(reason(&server).starts_with("4."), "{}", reason(&server));
    assert_eq!(hop.taken(1).len(), 1, "nothing more came");
}

#[test]
fn a_smart_host_must_prove_its_name_where_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    trust::write_certificate(&certificate, &key);
    let dns = NameServer::start_with([
        ("localhost", vec![Record::A(Ipv4Addr::LOCALHOST)]),
        ("other.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ]);
    let hop = NextHop::start_tls(&certificate, &key);
    let port = hop.address.port();
    let authorities = format!("authorities = {certificate:?}\n");
    let route = |host: &str| {
        format!("{authorities}[[route]]\ndomains = [\"*\"]\nhops = [\"{host}:{port}\"]\ntls = \"verified\"")
    };
    let server = outbound(&dns, 25, &route("localhost"));
    send(&server, &["ann@anywhere.example"], &mail::small("proven"));
    assert!(hop.taken(1)[0].in_tls);
    let secret = folder.path().join("credentials");
    std::fs::write(&secret, "us@hop.example\npass word\n").expect("a file");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let login = |host: &str| format!("{}\ncredentials = {secret:?}", route(host));
    let server = outbound(&dns, 25, &login("localhost"));
    send(&server, &["ann@anywhere.example"], &mail::small("logged-in"));
    assert_eq!(hop.taken(2).len(), 2);
    let auth = "AUTH PLAIN AHVzQGhvcC5leGFtcGxlAHBhc3Mgd29yZA==";
    assert!(hop.said().iter().any(|line| line == auth), "{:?}", hop.said());
    assert!(!server.log().contains("pass word"), "a password in the log");
    let said = hop.said().len();
    let server = outbound(&dns, 25, &login("other.example"));
    send(&server, &["ann@anywhere.example"], &mail::small("unproven"));
    assert!(
        reason(&server).starts_with("4.7.5 other.example: certificate not accepted"),
        "{}",
        reason(&server)
    );
    assert_eq!(hop.taken(2).len(), 2, "nothing more came");
    let not_said = |line: &String| !line.starts_with("AUTH") && !line.starts_with("MAIL");
    assert!(hop.said()[said..].iter().all(not_said), "{:?}", hop.said());
}

/// A domain that demands verified TLS with `hop.example`, whose certificate is one for `name`.
fn demanding(name: &str, status: &str, policy: &str) -> (Server, NextHop, WebServer) {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    trust::write_certificate_for(&["mta-sts.to.example", name], &certificate, &key);
    let hop = NextHop::start_tls(&certificate, &key);
    let fields =
        "Content-Type: text/plain; charset=us-ascii\r\nLocation: https://mta-sts.to.example/else\r\n";
    let web = WebServer::start(&certificate, &key, status, fields, policy);
    let dns = NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
        ("_mta-sts.to.example", vec![Record::Txt("v=STSv1; id=1;".to_owned())]),
        ("mta-sts.to.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ]);
    let keys = format!("authorities = {certificate:?}\nhttps_port = {}\n", web.address.port());
    let server = outbound(&dns, hop.address.port(), &keys);
    send(&server, &["ann@to.example"], &mail::small("demanding"));
    server.wait_for_log("tried to send on");
    assert_eq!(web.asked(), ["GET /.well-known/mta-sts.txt HTTP/1.1"]);
    (server, hop, web)
}

#[test]
fn a_policy_that_is_enforced_wants_an_exchanger_that_proves_its_name() {
    let policy = "version: STSv1\nmode: enforce\nmx: hop.example\nmax_age: 86400\n";
    let (_server, hop, _web) = demanding("hop.example", "200 OK", policy);
    assert!(hop.taken(1)[0].in_tls);

    let (server, hop, _web) = demanding("impostor.example", "200 OK", policy);
    let waits = reason(&server);
    assert!(waits.starts_with("4.7.5 hop.example: certificate not accepted"), "{waits}");
    assert!(hop.taken(0).is_empty());
}

#[test]
fn a_policy_that_is_tested_or_not_there_keeps_no_mail_back() {
    let policy = "version: STSv1\nmode: testing\nmx: other.example\nmax_age: 86400\n";
    let (_server, hop, _web) = demanding("impostor.example", "200 OK", policy);
    assert_eq!(hop.taken(1).len(), 1);
    let policy = "version: STSv1\nmode: enforce\nmx: hop.example\nmax_age: 86400\n";
    let (_server, hop, _web) = demanding("impostor.example", "302 Found", policy);
    assert_eq!(hop.taken(1).len(), 1, "nobody is followed elsewhere");
}

#[test]
fn postfix_takes_mail_in_tls_and_says_whom_it_does_not_know() {
    let postfix = Postfix::start();
    let (dns, port) = (one_exchanger(), postfix.port);
    let route = format!(
        "authorities = {:?}\n[[route]]\ndomains = [\"*\"]\nhops = [\"hop.example:{port}\"]\ntls = \"verified\"",
        postfix.certificate()
    );
    let server = outbound(&dns, port, &route);
    let contents =
        [mail::small("small"), mail::eight_bit("eight-bit"), mail::large("large", 2 * 1024 * 1024)];
    for content in &contents {
        send(&server, &["nobody@to.example", "ann@to.example"], content);
    }
    let mails = postfix.mails(contents.len());
    for (subject, content) in ["small", "eight-bit", "large"].into_iter().zip(&contents) {
        let has_subject = |mail: &&Vec<u8>| mail::field(mail, "Subject").as_deref() == Some(subject);
        let stored = mails.iter().find(has_subject).expect("a mail with this subject");
        assert!(stored.ends_with(content), "{subject}: the content differs");
        let trace = mail::field(stored, "Received").expect("a trace");
        assert!(trace.contains("(Postfix) with ESMTPS"), "{trace}");
    }
    server.wait_for_empty_queue();
    assert_returned(&server, contents.len(), "5.1.1");
}

#[test]
fn dovecot_takes_mail_by_lmtp_and_answers_for_each_recipient() {
    let dovecot = Dovecot::start();
    let route = format!(
        "[[route]]\ndomains = [\"inside.example\"]\nhops = [\"127.0.0.1:{}\"]\nprotocol = \"lmtp\"",
        dovecot.port
    );
    let server = outbound(&one_exchanger(), 25, &route);
    let contents = [mail::small("by-lmtp"), mail::large("large-by-lmtp", 1024 * 1024)];
    for content in &contents {
        send(&server, &["ann@inside.example", "nobody@inside.example", "bob@inside.example"], content);
    }
    for user in ["ann@inside.example", "bob@inside.example"] {
        let mails = dovecot.mails(user, contents.len());
        for content in &contents {
            assert!(mails.iter().any(|stored| stored.ends_with(content)), "{user}: the content differs");
        }
    }
    server.wait_for_empty_queue();
    assert_returned(&server, contents.len(), "5.1.1");
}

#[test]
fn domains_below_a_pattern_may_have_an_lmtp_server_of_their_own() {
    let hop = NextHop::start_lmtp();
    let dns = one_exchanger();
    let route = format!(
        "[[route]]\ndomains = [\"*.inside.example\"]\nhops = [\"{}\"]\nprotocol = \"lmtp\"",
        hop.address
    );
    let server = outbound(&dns, 25, &route);
    send(&server, &["ann@a.inside.example", "bob@b.inside.example"], &mail::small("lmtp"));
    assert_eq!(hop.taken(1)[0].recipients.len(), 2);
    assert!(hop.said()[0].starts_with("LHLO "), "{:?}", hop.said());
    server.wait_for_empty_queue();
}

#[test]
fn a_kill_while_a_mail_is_on_its_way_costs_nothing() {
    let (dns, hop) = (one_exchanger(), NextHop::start().times(1, At::Mail, Reaction::Stall));
    let mut server = outbound(&dns, hop.address.port(), "");
    send(&server, &["ann@to.example"], &mail::small("survives"));
    wait_until("the server is asked", || hop.said().iter().any(|line| line.starts_with("MAIL")));
    server.kill();
    server.restart();
    assert_eq!(hop.taken(1).len(), 1);
    server.wait_for_empty_queue();
}
