//! Aliases that lead to other servers.

use std::net::Ipv4Addr;

use gatepost_tests::dns::{NameServer, Record};
use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction, Taken};
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;

/// `to.example` and `other.example`, whose mail exchanger is the next hop on loopback.
fn exchangers() -> NameServer {
    NameServer::start_with([
        ("to.example", vec![Record::Mx(10, "hop.example")]),
        ("other.example", vec![Record::Mx(10, "hop.example")]),
        ("hop.example", vec![Record::A(Ipv4Addr::LOCALHOST)]),
    ])
}

/// A server from which `away@localhost` leads to `ann@to.example`, and `all@localhost` to her, to `bob@other.example` and
/// to the user.
fn forwarder(dns: &NameServer, hop: &NextHop, more: &str) -> Server {
    let sections = format!(
        "[dns]\nservers = [\"{}\"]\n[delivery.remote]\nenabled = true\ninternal_addresses = true\nport = {}\n{more}",
        dns.address,
        hop.address.port()
    );
    Setup::new()
        .open_listener()
        .sections(&sections)
        .alias("away@localhost", "ann@to.example")
        .alias("all@localhost", "away@localhost")
        .alias("all@localhost", "bob@other.example")
        .alias("all@localhost", "me@localhost")
        .start()
}

fn stranger_sends(server: &Server, to: &[&str], content: &[u8]) {
    let mut smtp = server.smtp_open();
    smtp.mail("someone@remote.example", to, content).must("250 2.0.0");
    smtp.quit();
}

/// Who got it, behind angle brackets, by name.
fn recipients(taken: &[Taken]) -> Vec<String> {
    let mut paths: Vec<String> = taken.iter().flat_map(|taken| taken.recipients.clone()).collect();
    paths.sort();
    paths
}

#[test]
fn a_stranger_reaches_everybody_behind_an_alias_and_nobody_else() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let server = forwarder(&dns, &hop, "");
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    stranger.say("RCPT TO:<ann@to.example>").must("550 5.7.1");
    stranger.quit();

    let content = mail::small("to-all");
    stranger_sends(&server, &["all@localhost"], &content);
    let taken = hop.taken(2);
    let got = recipients(&taken);
    assert!(got[0].starts_with("<ann@to.example>") && got[1].starts_with("<bob@other.example>"), "{got:?}");
    for taken in &taken {
        assert!(taken.sender.starts_with("<someone@remote.example>"), "{}", taken.sender);
        let text = String::from_utf8_lossy(&taken.octets);
        assert!(text.starts_with("Delivered-To: all@localhost\r\nReceived: "), "{text}");
        assert!(!text.contains("to.example") && !text.contains("other.example"), "who else gets it: {text}");
    }
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
    server.wait_for_empty_queue();
}

#[test]
fn each_target_has_its_own_end_and_the_sender_hears_of_the_address_that_he_knows() {
    let (dns, hop) = (exchangers(), NextHop::start().times(1, At::Rcpt, Reaction::Say("550 5.1.1 nobody")));
    let server = forwarder(&dns, &hop, "");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("refused")).must("250 2.0.0");
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("taken")).must("250 2.0.0");
    smtp.quit();
    let notification = server.inbox(1).remove(0);
    let text = String::from_utf8_lossy(&notification);
    assert!(text.contains("\r\nFinal-Recipient: rfc822; away@localhost\r\n"), "{text}");
    assert!(text.contains("\r\nStatus: 5.1.1\r\n"), "{text}");
    assert_eq!(hop.taken(1).len(), 1);
    server.wait_for_empty_queue();
}

#[test]
fn a_mail_that_comes_back_to_its_alias_is_returned() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let server = forwarder(&dns, &hop, "");
    let mut smtp = server.smtp_as_me();
    smtp.mail("me@localhost", &["away@localhost"], &mail::small("round")).must("250 2.0.0");
    let round = hop.taken(1).remove(0).octets;
    smtp.mail("me@localhost", &["AWAY@localhost"], &round).must("250 2.0.0");
    smtp.quit();
    let notification = server.inbox(1).remove(0);
    let text = String::from_utf8_lossy(&notification);
    assert!(text.contains("\r\nStatus: 5.4.6\r\n"), "{text}");
    server.wait_for_empty_queue();
    assert_eq!(hop.taken(1).len(), 1, "it did not go on again");
}

/// Notifications once went to whoever a stranger had named as the sender.
#[test]
fn a_stranger_is_not_told_of_what_an_alias_s_server_refuses_and_a_user_is() {
    let (dns, hop) = (exchangers(), NextHop::start().always(At::Rcpt, Reaction::Say("550 5.1.1 nobody")));
    let world = NextHop::start();
    let route = format!("[[route]]\ndomains = [\"remote.example\"]\nhops = [\"{}\"]\n", world.address);
    let server = forwarder(&dns, &hop, &route);
    stranger_sends(&server, &["away@localhost"], &mail::small("unwanted"));
    server.wait_for_log("its sender is a stranger, and is not told");
    server.wait_for_log("a mail that nobody can be told of is among the bad mail");
    server.wait_for_empty_queue();
    assert_eq!(world.connections(), 0, "no notification to whoever was named as the sender");
    assert_eq!(server.metric("gatepost_delivery_unreported_total"), 1.0);
    let mut user = server.smtp_as_me();
    user.mail("me@localhost", &["away@localhost"], &mail::small("mine")).must("250 2.0.0");
    user.quit();
    let notification = server.inbox(1).remove(0);
    let text = String::from_utf8_lossy(&notification);
    assert!(text.contains("\r\nAction: failed\r\n"), "{text}");
    server.wait_for_empty_queue();
}

/// An alias that led to a mailbox here as well was refused as a whole.
#[test]
fn a_mailbox_here_gets_its_mail_where_its_alias_leads_elsewhere_too_and_no_mail_leaves() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let mut server = forwarder(&dns, &hop, "");
    server.stop();
    let config = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(
        server.config(),
        config.replace("[delivery.remote]\nenabled = true", "[delivery.remote]\nenabled = false"),
    )
    .unwrap();
    server.restart();
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    stranger.say("RCPT TO:<away@localhost>").must("550 5.7.1");
    stranger.quit();
    stranger_sends(&server, &["all@localhost"], &mail::small("for-those-here"));
    assert_eq!(server.inbox(1).len(), 1);
    server.wait_for_empty_queue();
    assert_eq!(hop.connections(), 0);
}

#[test]
fn an_alias_leads_nowhere_where_no_mail_leaves_the_server() {
    let server = Setup::new().open_listener().start();
    let refused = server.cli(["alias", "add", "away@localhost", "ann@to.example"]).outcome();
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.contains("ann@to.example") && refused.stderr.contains("[delivery.remote]"),
        "{refused}"
    );
}

/// The address in a path with angle brackets, parameters behind it.
fn address(path: &str) -> String {
    path.split('>').next().unwrap().trim_start_matches('<').to_owned()
}

#[test]
fn senders_from_elsewhere_are_rewritten_and_their_bounces_go_on_to_them() {
    let (dns, hop) = (exchangers(), NextHop::start());
    let server = forwarder(&dns, &hop, "[srs]\ndomain = \"back.example\"\n");
    stranger_sends(&server, &["away@localhost"], &mail::small("to-be-returned"));
    let rewritten = address(&hop.taken(1)[0].sender);
    assert!(
        rewritten.starts_with("SRS0=") && rewritten.ends_with("=remote.example=someone@back.example"),
        "{rewritten}"
    );

    let mut users = server.smtp_as_me();
    users.mail("me@localhost", &["away@localhost"], &mail::small("own")).must("250 2.0.0");
    users.quit();
    assert_eq!(address(&hop.taken(2)[1].sender), "me@localhost", "he lives here");

    let mut smtp = server.smtp_open();
    for (sender, recipient, expected) in [
        ("", rewritten.replace("=someone@", "=anyone@"), "550 5.7.1"),
        ("", rewritten.replacen("=remote.", "=other.", 1), "550 5.7.1"),
        ("", "SRS0=x@back.example".to_owned(), "550 5.7.1"),
        ("", "someone@back.example".to_owned(), "550 5.7.1"),
        ("someone@remote.example", rewritten.clone(), "550 5.1.1"),
        ("", rewritten.to_lowercase(), "250 2.1.5"),
    ] {
        smtp.say(&format!("MAIL FROM:<{sender}>")).must("250 2.1.0");
        smtp.say(&format!("RCPT TO:<{recipient}>")).must(expected);
        smtp.say("RSET").must("250 2.0.0");
    }
    for _ in 0..4 {
        server.cli(["srs", "rotate"]).succeed();
    }
    let rotated = std::time::Instant::now();
    loop {
        smtp.say("MAIL FROM:<>").must("250 2.1.0");
        let is_refused = smtp.say(&format!("RCPT TO:<{rewritten}>")).is("550 5.7.1");
        smtp.say("RSET").must("250 2.0.0");
        if is_refused {
            break;
        }
        assert!(rotated.elapsed().as_secs() < 30, "the old secret is still believed");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    smtp.quit();
}

/// Postfix takes the mail, finds that it cannot deliver it, and returns it to the sender that it was given.
#[test]
fn what_postfix_returns_finds_the_sender_by_way_of_us() {
    let [port] = gatepost_tests::ports::free();
    let (postfix, home) = (Postfix::start_returning("back.example", port), NextHop::start());
    let sections = format!(
        "[[listener]]\nname = \"exchanger\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:{port}\"\ntls = \"none\"\n\
         require_auth = false\n[delivery.remote]\nenabled = true\n[srs]\ndomain = \"back.example\"\n\
         [[route]]\ndomains = [\"to.example\"]\nhops = [\"127.0.0.1:{}\"]\n\
         [[route]]\ndomains = [\"remote.example\"]\nhops = [\"127.0.0.1:{}\"]\n",
        postfix.port,
        home.address.port()
    );
    let server =
        Setup::new().open_listener().sections(&sections).alias("away@localhost", "full@to.example").start();
    stranger_sends(&server, &["away@localhost"], &mail::small("comes-back"));
    let returned = home.taken(1).remove(0);
    assert!(returned.sender.starts_with("<>"), "{}", returned.sender);
    assert!(returned.recipients[0].starts_with("<someone@remote.example>"), "{:?}", returned.recipients);
    let text = String::from_utf8_lossy(&returned.octets);
    assert!(text.starts_with("Delivered-To: SRS0="), "{text}");
    assert!(text.contains("Reporting-MTA: dns; hop.example") && text.contains("comes-back"), "{text}");
    server.wait_for_empty_queue();
    assert!(postfix.mails(0).is_empty());
}
