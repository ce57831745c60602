//! Gatepost before another mail server: `backend = "relay"`.

use std::fs;
use std::path::PathBuf;

use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::ports;
use gatepost_tests::postfix::Postfix;
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Reply, stuffed};
use gatepost_tests::trust;
use rustix::process::Signal;
use tempfile::TempDir;

/// A file with those who are known, in a folder that the sandbox knows.
struct List {
    folder: TempDir,
}

// === impl List ===

impl List {
    fn new(text: &str) -> Self {
        let list = Self { folder: tempfile::tempdir().expect("a folder") };
        list.write(text);
        list
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("the list can be written");
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("recipients")
    }

    fn keys(&self) -> String {
        format!("recipients = \"list\"\nrecipient_file = {:?}", self.path())
    }
}

/// A server before these hops; `keys` are those of `[relay]`.
fn before(hops: &str, keys: &str) -> Server {
    let relay = format!(
        "[delivery.remote]\nenabled = true\n[relay]\ndomains = [\"behind.example\", \"*.behind.example\"]\nhops = [{hops}]\n{keys}\n"
    );
    Setup::new().open_listener().listener_keys("backend = \"relay\"").sections(&relay).start()
}

fn hop(hop: &NextHop) -> String {
    format!("\"{}\"", hop.address)
}

/// What a stranger hears to RCPT.
fn ask(server: &Server, recipient: &str) -> Reply {
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example> SMTPUTF8").must("250 2.1.0");
    let answer = stranger.say(&format!("RCPT TO:<{recipient}>"));
    stranger.quit();
    answer
}

fn send(server: &Server, to: &[&str], content: &[u8]) {
    let mut stranger = server.smtp_open();
    stranger.mail("someone@remote.example", to, content).must("250 2.0.0");
    stranger.quit();
}

#[test]
fn strangers_mail_for_the_domains_behind_arrives_there_as_it_came() {
    let behind = NextHop::start();
    let server = before(&hop(&behind), "recipients = \"any\"");
    let content = mail::small("for-behind");
    send(&server, &["ann@Behind.example", "bob@sub.behind.example", "me@localhost"], &content);
    let taken = behind.taken(1).remove(0);
    assert!(taken.sender.starts_with("<someone@remote.example>"), "{taken:?}");
    let recipients: Vec<_> = taken.recipients.iter().map(|path| path.split(' ').next().unwrap()).collect();
    assert_eq!(recipients, ["<ann@Behind.example>", "<bob@sub.behind.example>"]);
    mail::assert_same_octets(taken.below_trace(), &content);
    mail::assert_same_octets(mail::below_trace(&server.inbox(1)[0]), &content);
    server.wait_for_empty_queue();
}

#[test]
fn strangers_reach_nobody_else_and_users_reach_everybody() {
    let (behind, smart) = (NextHop::start(), NextHop::start());
    let route = format!("recipients = \"any\"\n[[route]]\ndomains = [\"*\"]\nhops = [{}]\n", hop(&smart));
    let server = before(&hop(&behind), &route);
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    for other in [
        "ann@other.example",
        "ann@notbehind.example",
        "ann@[127.0.0.1]",
        "ann%other.example@localhost",
        "ann%other.example@behind.example",
        "other.example!ann@behind.example",
        "\"ann@other.example\"@behind.example",
    ] {
        let answer = stranger.say(&format!("RCPT TO:<{other}>"));
        assert_eq!(answer.code, 550, "{other}");
    }
    stranger.quit();
    let mut user = server.smtp_as_me();
    user.mail("me@localhost", &["ann@other.example", "ann@behind.example"], &mail::small("out"))
        .must("250 2.0.0");
    user.quit();
    assert!(behind.said().iter().all(|line| !line.contains("other.example")), "{:?}", behind.said());
    assert!(behind.taken(1)[0].recipients[0].starts_with("<ann@behind.example>"));
    assert!(smart.taken(1)[0].recipients[0].starts_with("<ann@other.example>"));
}

#[test]
fn a_domain_that_lives_behind_is_not_delivered_here_although_its_users_log_in_here() {
    let behind = NextHop::start();
    let relay = format!(
        "[delivery.remote]\nenabled = true\n[relay]\ndomains = [\"localhost\"]\nhops = [{}]\nrecipients = \"any\"\n",
        hop(&behind)
    );
    let server = Setup::new().open_listener().listener_keys("backend = \"relay\"").sections(&relay).start();
    let mut user = server.smtp_as_me();
    user.mail("me@localhost", &["me@localhost", "colleague@localhost"], &mail::small("home"))
        .must("250 2.0.0");
    user.quit();
    assert_eq!(behind.taken(1)[0].recipients.len(), 2);
    server.assert_no_mail();
}

/// An alias of the directory was once followed for whoever came by another listener or the pickup folder.
#[test]
fn what_lives_behind_goes_there_whichever_way_it_comes_in() {
    let behind = NextHop::start();
    let outer = tempfile::tempdir().expect("a folder");
    let pickup = outer.path().join("pickup");
    let [port] = ports::free();
    let sections = format!(
        "[[listener]]\nname = \"before\"\naddress = \"127.0.0.1:{}\"\nprotocol = \"smtp\"\ntls = \"starttls\"\n\
         require_auth = false\nbackend = \"relay\"\n[pickup]\nfolder = {pickup:?}\n[delivery.remote]\nenabled = true\n\
         [relay]\ndomains = [\"localhost\"]\nhops = [{}]\nrecipients = \"any\"\n",
        port,
        hop(&behind)
    );
    let server =
        Setup::new().open_listener().alias("all@localhost", "ann@other.example").sections(&sections).start();
    let to = ["all@localhost", "only-behind@localhost"];
    let mut user = server.smtp_as_me();
    user.mail("me@localhost", &to, &mail::small("by-submission")).must("250 2.0.0");
    user.quit();
    let draft = outer.path().join("draft");
    let text = format!("From: me@localhost\nTo: {}\nSubject: by-pickup\n\nHi\n", to.join(", "));
    fs::write(&draft, text).expect("a draft can be written");
    fs::rename(draft, pickup.join("mail.eml")).expect("it can be dropped");
    for taken in behind.taken(2) {
        let paths: Vec<_> = taken.recipients.iter().map(|path| path.split(' ').next().unwrap()).collect();
        assert_eq!(paths, ["<all@localhost>", "<only-behind@localhost>"], "{taken:?}");
    }
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 2.1.0");
    stranger.say("RCPT TO:<me@localhost>").must("550 5.7.1");
    stranger.quit();
    server.assert_no_mail();
}

#[test]
fn a_list_says_who_is_known_and_a_reload_reads_it_again() {
    let behind = NextHop::start();
    let list = List::new("ann@behind.example\n@sub.behind.example\n");
    let server = before(&hop(&behind), &list.keys());
    let ask = |recipient: &str| ask(&server, recipient);
    ask("Ann@behind.example").must("250 2.1.5");
    ask("anybody@sub.behind.example").must("250 2.1.5");
    ask("bob@behind.example").must("550 5.1.1");
    assert_eq!(behind.connections(), 0, "nobody was asked");
    list.write("not a recipient\n");
    server.signal(Signal::HUP);
    server.wait_for_log("recipients:1: not a recipient");
    ask("Ann@behind.example").must("250 2.1.5");
    list.write("bob@behind.example\n");
    server.signal(Signal::HUP);
    server.wait_for_log("the configuration was reloaded");
    ask("bob@behind.example").must("250 2.1.5");
    ask("ann@behind.example").must("550 5.1.1");
}

#[test]
fn the_server_behind_is_asked_whom_it_knows_and_asked_once() {
    let behind = NextHop::start().times(1, At::Rcpt, Reaction::Say("550 5.1.1 no such user"));
    let server = before(&hop(&behind), "");
    for _ in 0..2 {
        ask(&server, "gone@behind.example").must("550 5.1.1");
    }
    for _ in 0..2 {
        ask(&server, "ann@behind.example").must("250 2.1.5");
    }
    assert_eq!(behind.connections(), 2);
    let said = behind.said().join("\n");
    assert!(said.contains("MAIL FROM:<>") && !said.contains("DATA"), "{said}");
    assert_eq!(server.metric("gatepost_remote_probes_total"), 2.0);
    send(&server, &["ann@behind.example"], &mail::small("known"));
    assert_eq!(behind.taken(1)[0].recipients.len(), 1);
}

#[test]
fn while_nobody_behind_answers_mail_comes_again_unless_all_of_it_is_to_be_taken() {
    let gone = format!("\"127.0.0.1:{}\"", ports::free::<1>()[0]);
    ask(&before(&gone, ""), "ann@behind.example").must("451 4.4.3");
    ask(&before(&gone, "accept_unverified = true"), "ann@behind.example").must("250 2.1.5");
    for reply in ["550 5.7.1 not from you", "503 5.5.1 what", "450 4.2.1 later", "421 4.3.2 closing"] {
        let behind = NextHop::start().always(At::Rcpt, Reaction::Say(reply));
        ask(&before(&hop(&behind), ""), "ann@behind.example").must("451 4.4.3");
    }
    let behind = NextHop::start().always(At::Mail, Reaction::Say("550 5.1.1 no null sender"));
    ask(&before(&hop(&behind), ""), "ann@behind.example").must("451 4.4.3");
}

#[test]
fn a_spare_hop_is_asked_where_the_first_is_down() {
    let (first, spare) = (NextHop::start().always(At::Greeting, Reaction::Drop), NextHop::start());
    let server = before(&format!("{}, {}", hop(&first), hop(&spare)), "");
    ask(&server, "ann@behind.example").must("250 2.1.5");
    assert_eq!((first.connections(), spare.connections()), (1, 1));
}

#[test]
fn a_stranger_is_not_told_of_what_the_server_behind_refuses_and_a_user_is() {
    let (behind, world) =
        (NextHop::start().always(At::Dot, Reaction::Say("550 5.7.1 no such content")), NextHop::start());
    let keys = format!("recipients = \"any\"\n[[route]]\ndomains = [\"*\"]\nhops = [{}]\n", hop(&world));
    let server = before(&hop(&behind), &keys);
    send(&server, &["ann@behind.example"], &mail::small("unwanted"));
    server.wait_for_log("its sender is a stranger, and is not told");
    server.wait_for_empty_queue();
    assert_eq!(world.connections(), 0, "no notification to whoever was named as the sender");
    assert_eq!(server.metric("gatepost_delivery_unreported_total"), 1.0);
    server.wait_for_log("a mail that nobody can be told of is among the bad mail");
    let mut user = server.smtp_as_me();
    user.mail("me@localhost", &["ann@behind.example"], &mail::small("mine")).must("250 2.0.0");
    user.quit();
    let notice = server.inbox(1).remove(0);
    assert!(String::from_utf8_lossy(&notice).contains("no such content"));
}

/// `to.example` is Postfix's domain, where nobody but ann lives.
#[test]
fn postfix_behind_says_whom_it_knows_and_gets_their_mail_as_it_came() {
    let postfix = Postfix::start();
    let relay = format!(
        "[delivery.remote]\nenabled = true\n[relay]\ndomains = [\"to.example\"]\nhops = [\"127.0.0.1:{}\"]\n",
        postfix.port
    );
    let server = Setup::new().open_listener().listener_keys("backend = \"relay\"").sections(&relay).start();
    ask(&server, "nobody@to.example").must("550 5.1.1");
    ask(&server, "b\u{fc}cher@to.example").must("550 5.1.1");
    let contents = [mail::small("seven"), mail::eight_bit("eight"), mail::large("large", 300_000)];
    for content in &contents {
        send(&server, &["ann@to.example"], content);
    }
    server.wait_for_empty_queue();
    let arrived = postfix.mails(contents.len());
    for content in &contents {
        let is_this =
            |mail: &&Vec<u8>| mail.windows(content.len()).any(|octets| octets == content.as_slice());
        assert_eq!(arrived.iter().filter(is_this).count(), 1, "{}", String::from_utf8_lossy(&content[..60]));
    }
}

#[test]
fn addresses_outside_of_ascii_are_refused_in_the_session_where_the_server_behind_takes_none() {
    let behind = NextHop::start();
    let server = before(&hop(&behind), "");
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<b\u{fc}cher@remote.example> SMTPUTF8").must("250 2.1.0");
    stranger.say("RCPT TO:<ann@behind.example>").must("553 5.6.7");
    // Other recipients are not behind.
    stranger.say("RCPT TO:<me@localhost>").must("250 2.1.5");
    stranger.quit();
    ask(&server, "b\u{fc}cher@behind.example").must("553 5.6.7");
    ask(&server, "ann@behind.example").must("250 2.1.5");
    assert!(behind.taken(0).is_empty());

    let behind = NextHop::start().offering("SMTPUTF8");
    let server = before(&hop(&behind), "");
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<b\u{fc}cher@remote.example> SMTPUTF8").must("250 2.1.0");
    stranger.say("RCPT TO:<j\u{fc}rgen@behind.example>").must("250 2.1.5");
    stranger.say("DATA").must("354");
    stranger.send(&stuffed(&mail::eight_bit("outside")));
    stranger.reply().must("250 2.0.0");
    stranger.quit();
    let taken = behind.taken(1).remove(0);
    assert!(taken.is_for("j\u{fc}rgen@behind.example") && taken.sender.contains(" SMTPUTF8"), "{taken:?}");
    mail::assert_same_octets(taken.below_trace(), &mail::eight_bit("outside"));
}

/// Whatever was said of it in the session: what a list has let in, and the server behind cannot take, is not lost.
#[test]
fn what_a_list_lets_in_and_the_server_behind_cannot_take_is_kept() {
    let behind = NextHop::start();
    let list = List::new("@behind.example\n");
    let server = before(&hop(&behind), &list.keys());
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<b\u{fc}cher@remote.example> SMTPUTF8").must("250 2.1.0");
    stranger.say("RCPT TO:<ann@behind.example>").must("250 2.1.5");
    stranger.say("DATA").must("354");
    stranger.send(&stuffed(&mail::small("kept")));
    stranger.reply().must("250 2.0.0");
    stranger.quit();
    server.wait_for_log("a mail that nobody can be told of is among the bad mail");
    server.wait_for_empty_queue();
    let reasons = fs::read_dir(server.data().join("badmail")).expect("the folder").flatten();
    let reasons: String = reasons.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    assert!(reasons.contains("5.6.7") && reasons.contains("Subject: kept"), "{reasons}");
    assert!(behind.taken(0).is_empty());
}

#[test]
fn the_server_behind_is_asked_by_lmtp() {
    let behind = NextHop::start_lmtp().times(1, At::Rcpt, Reaction::Say("550 5.1.1 no such user"));
    let server = before(&hop(&behind), "protocol = \"lmtp\"");
    ask(&server, "gone@behind.example").must("550 5.1.1");
    send(&server, &["ann@behind.example", "bob@behind.example"], &mail::small("by-lmtp"));
    assert_eq!(behind.taken(1)[0].recipients.len(), 2);
    assert!(behind.said().iter().all(|line| !line.starts_with("EHLO")), "{:?}", behind.said());
    server.wait_for_empty_queue();
}

/// An impostor must not get to know who lives behind, nor say that nobody does.
#[test]
fn the_server_behind_is_asked_inside_tls_and_only_if_it_is_the_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    trust::write_certificate(&certificate, &key);
    let impostor = (folder.path().join("impostor.pem"), folder.path().join("impostor-key.pem"));
    trust::write_certificate(&impostor.0, &impostor.1);
    let behind = NextHop::start_tls(&certificate, &key);
    let demand = |authorities: &std::path::Path| {
        format!(
            "authorities = {authorities:?}\n[relay]\ndomains = [\"behind.example\"]\ntls = \"verified\"\n"
        )
    };
    for (authorities, answer) in [(&certificate, "250 2.1.5"), (&impostor.0, "451 4.4.3")] {
        let relay =
            format!("[delivery.remote]\nenabled = true\n{}hops = [{}]\n", demand(authorities), hop(&behind));
        let server =
            Setup::new().open_listener().listener_keys("backend = \"relay\"").sections(&relay).start();
        let asked = behind.said().len();
        ask(&server, "ann@behind.example").must(answer);
        let said = behind.said().split_off(asked);
        let named = said.iter().filter(|line| line.contains("ann@behind.example")).count();
        assert_eq!(named, usize::from(answer.starts_with('2')), "{said:?}");
    }
}

#[test]
fn a_hop_that_is_down_is_passed_over_and_then_asked_last() {
    let spare = NextHop::start();
    let gone = ports::free::<1>()[0];
    let hops = format!("{{ host = \"127.0.0.1:{gone}\", weight = 100 }}, {}", hop(&spare));
    let server = before(&hops, "recipients = \"any\"");
    for round in 0..3 {
        send(&server, &["ann@behind.example"], &mail::small(&format!("spared-{round}")));
        assert_eq!(spare.taken(round + 1).len(), round + 1);
    }
    server.wait_for_empty_queue();
    let failed = server.log().matches("a next hop could not be used").count();
    assert_eq!(failed, 1, "the hop that is down was asked {failed} times");
}

#[test]
fn the_example_is_a_configuration_that_works() {
    let server = Server::start();
    let example = gatepost_tests::binary::repository().join("deploy/relay.toml");
    let text = fs::read_to_string(example).expect("the example");
    let list = List::new("ann@example.org\n");
    let folder = server.folder().display().to_string();
    let text = text
        .replace("/etc/gatepost/recipients", &list.path().display().to_string())
        .replace("/etc/gatepost/", &format!("{folder}/"));
    let config = server.folder().join("relay.toml");
    fs::write(&config, text).expect("a configuration");
    let data = server.folder().join("other");
    let data = data.to_str().expect("UTF-8");
    let checked =
        server.cli(["config", "check", config.to_str().expect("UTF-8"), "--data", data]).succeed().text();
    assert!(checked.contains("anybody, for recipients here and behind"), "{checked}");
}
