//! Gatepost as a live front of another server: `backend = "pass-through"`.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use gatepost_tests::mail;
use gatepost_tests::next_hop::{At, NextHop, Reaction};
use gatepost_tests::server::Server;
use gatepost_tests::setup::Setup;
use gatepost_tests::smtp::{Reply, Smtp, stuffed};
use gatepost_tests::wait_until;
use rustix::process::Signal;

/// A front of these servers; `keys` are those of `[pass_through]`, `listener` those of each listener.
fn before_all(upstreams: &str, listener: &str, keys: &str) -> Server {
    let sections = format!(
        "[pass_through]\ndomains = [\"behind.example\"]\nprobe_interval = \"1s\"\n{keys}\n{upstreams}"
    );
    let listener = format!("backend = \"pass-through\"\n{listener}");
    Setup::new().open_listener().listener_keys(&listener).sections(&sections).start()
}

fn before(behind: &NextHop) -> Server {
    before_all(&upstream("one", behind, ""), "", "command_timeout = \"3s\"\ndata_timeout = \"3s\"")
}

fn upstream(name: &str, behind: &NextHop, keys: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\naddress = \"{}\"\n{keys}\n", behind.address)
}

fn send(server: &Server, to: &[&str], content: &[u8]) -> Reply {
    let mut stranger = server.smtp_open();
    let reply = stranger.mail("someone@remote.example", to, content);
    stranger.quit();
    reply
}

/// Up to the reply to RCPT.
fn ask(server: &Server, recipient: &str) -> (Reply, Smtp) {
    let mut stranger = server.smtp_open();
    stranger.say("MAIL FROM:<someone@remote.example>").must("250 ");
    let reply = stranger.say(&format!("RCPT TO:<{recipient}>"));
    (reply, stranger)
}

fn until_place(client: &mut Smtp) {
    let start = Instant::now();
    while client.say("MAIL FROM:<a@remote.example>").code != 250 {
        assert!(start.elapsed() < Duration::from_secs(30), "no place gets free");
        thread::sleep(Duration::from_millis(100));
    }
}

fn commands(behind: &NextHop, verb: &str) -> Vec<String> {
    behind.said().into_iter().filter(|line| line.starts_with(verb)).collect()
}

#[test]
fn a_mail_arrives_as_it_came_and_the_server_behind_answers() {
    let behind = NextHop::start();
    let server = before(&behind);
    let content = mail::small("live");
    let mut client = server.smtp_open();
    client.say("MAIL FROM:<someone@remote.example> BODY=8BITMIME SIZE=1234").must("250 2.1.0 sender ok");
    client.say("RCPT TO:<Ann@behind.example>").must("250 2.1.5 recipient ok");
    client.say("DATA").must("354 ");
    client.send(&stuffed(&content));
    client.reply().must("250 2.0.0 taken");
    client.quit();
    let taken = behind.taken(1).remove(0);
    assert_eq!(taken.octets, content, "no octet is added, none is lost");
    assert_eq!(taken.sender, "<someone@remote.example> SIZE=1234 BODY=8BITMIME");
    assert_eq!(taken.recipients, ["<Ann@behind.example>"]);
    server.wait_for_empty_queue();
}

#[test]
fn bodies_of_all_shapes_and_ways_arrive_as_they_were() {
    let behind = NextHop::start().offering("CHUNKING").offering("BINARYMIME");
    let server = before_all(&upstream("one", &behind, ""), "binarymime = true", "");
    let large = mail::large("pass", 3 * 1024 * 1024);
    let odd = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n..\r\n".to_vec();
    let bodies = [odd, b"\r\n".to_vec(), b"X: no body\r\n".to_vec(), large];
    let mut sent = Vec::new();
    for body in &bodies {
        send(&server, &["ann@behind.example"], body).must("250 2.0.0 taken");
        sent.push(body.clone());
        let mut client = server.smtp_open();
        client.begin("someone@remote.example", &["ann@behind.example"]);
        let half = body.len() / 2;
        client.bdat(&body[..half], false).must("250 ");
        client.bdat(&body[half..], true).must("250 2.0.0 taken");
        client.quit();
        sent.push(body.clone());
    }
    let binary: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = server.smtp_open();
    client.say("MAIL FROM:<someone@remote.example> BODY=BINARYMIME").must("250 ");
    client.say("RCPT TO:<ann@behind.example>").must("250 ");
    client.bdat(&binary[..70_000], false).must("250 ");
    client.bdat(&binary[70_000..], true).must("250 2.0.0 taken");
    client.quit();
    sent.push(binary);
    let taken: Vec<_> = behind.taken(sent.len()).into_iter().map(|taken| taken.octets).collect();
    for (taken, sent) in taken.iter().zip(&sent) {
        assert!(taken == sent, "{} octets instead of {}", taken.len(), sent.len());
    }
}

#[test]
fn refusals_are_those_of_the_server_behind_and_the_session_goes_on() {
    let behind = NextHop::start()
        .times(1, At::Mail, Reaction::Say("451 4.7.1 greylisted,\x1b[31m come again"))
        .times(1, At::Rcpt, Reaction::Say("550-5.1.1 nobody\r\n550 5.1.1 of that name"))
        .times(1, At::Data, Reaction::Say("554 5.7.0 not now"))
        .times(1, At::Dot, Reaction::Say("550 spam"));
    let server = before(&behind);
    let mut client = server.smtp_open();
    client.say("MAIL FROM:<a@remote.example>").must("451 4.7.1 greylisted,?[31m come again");
    client.say("MAIL FROM:<a@remote.example>").must("250 2.1.0");
    let refused = client.say("RCPT TO:<ann@behind.example>");
    refused.must("550 5.1.1 ");
    assert_eq!(refused.lines, ["5.1.1 nobody", "5.1.1 of that name"]);
    client.say("RCPT TO:<bob@behind.example>").must("250 2.1.5");
    client.say("DATA").must("554 5.7.0 not now");
    client.mail("a@remote.example", &["ann@behind.example"], b"X: 1\r\n\r\n").must("550 5.0.0 spam");
    client.mail("a@remote.example", &["ann@behind.example"], b"X: 2\r\n\r\n").must("250 2.0.0 taken");
    client.quit();
    assert_eq!(behind.taken(1)[0].octets, b"X: 2\r\n\r\n");
}

#[test]
fn a_group_goes_on_as_a_group_and_is_answered_in_order() {
    let behind = NextHop::start().times(1, At::Rcpt, Reaction::Say("550 5.1.1 no"));
    let server = before(&behind);
    let mut client = server.smtp_open();
    client.send(
        b"MAIL FROM:<a@remote.example>\r\nRCPT TO:<one@behind.example>\r\nRCPT TO:<two@elsewhere.example>\r\n\
          RCPT TO:<three@behind.example>\r\nRCPT TO:<>\r\nRCPT TO:<four@behind.example>\r\nNOOP\r\nDATA\r\n",
    );
    for start in
        ["250 2.1.0", "550 5.1.1 no", "550 5.7.1", "250 2.1.5", "501 ", "250 2.1.5", "250 2.0.0 OK", "354"]
    {
        client.reply().must(start);
    }
    client.send(
        b"X: 1\r\n\r\n.\r\nMAIL FROM:<b@remote.example>\r\nRCPT TO:<five@behind.example>\r\nRSET\r\nQUIT\r\n",
    );
    for start in ["250 2.0.0 taken", "250 2.1.0", "250 2.1.5", "250 2.0.0 OK", "221"] {
        client.reply().must(start);
    }
    let taken = behind.taken(1).remove(0);
    assert_eq!(taken.recipients, ["<three@behind.example>", "<four@behind.example>"]);
}

#[test]
fn strangers_reach_the_domains_behind_alone() {
    let behind = NextHop::start();
    let server = before(&behind);
    let (relayed, mut client) = ask(&server, "ann@elsewhere.example");
    relayed.must("550 5.7.1");
    client.say("RCPT TO:<postmaster>").must("250 ");
    client.quit();
    let said = commands(&behind, "RCPT");
    assert_eq!(said, ["RCPT TO:<Postmaster>"], "the server behind has not been asked");
}

#[test]
fn what_is_offered_is_what_the_server_behind_has() {
    let plain = NextHop::start();
    let rich = NextHop::start().offering("DSN").offering("SMTPUTF8");
    let hello = |behind: &NextHop| {
        let server = before(behind);
        let mut client = server.smtp_open();
        let hello = client.say("EHLO client.example");
        (hello, server, client)
    };
    let (offered, _server, mut client) = hello(&plain);
    for (keyword, is_offered) in
        [("8BITMIME", true), ("CHUNKING", true), ("DSN", false), ("SMTPUTF8", false), ("BINARYMIME", false)]
    {
        assert_eq!(offered.offers(keyword), is_offered, "{keyword}: {offered:?}");
    }
    client.say("MAIL FROM:<a@remote.example> RET=HDRS").must("555 5.5.4");
    client.say("MAIL FROM:<ä@remote.example> SMTPUTF8").must("555 5.5.4");
    let (offered, _server, mut client) = hello(&rich);
    assert!(offered.offers("DSN") && offered.offers("SMTPUTF8"), "{offered:?}");
    client.say("MAIL FROM:<ä@remote.example> SMTPUTF8 RET=HDRS ENVID=x").must("250 ");
    client.say("RCPT TO:<ö@behind.example> NOTIFY=NEVER ORCPT=rfc822;o@behind.example").must("250 ");
    client.quit();
    let said = rich.said().join("\n");
    assert!(said.contains("MAIL FROM:<ä@remote.example> SMTPUTF8 RET=HDRS ENVID=x"), "{said}");
    assert!(said.contains("RCPT TO:<ö@behind.example> NOTIFY=NEVER ORCPT=rfc822;o@behind.example"), "{said}");
}

#[test]
fn connections_are_kept_for_the_next_mail_whoever_sends_it() {
    let behind = NextHop::start();
    let server = before_all(&upstream("one", &behind, ""), "", "");
    for number in 0..5 {
        send(&server, &["ann@behind.example"], format!("X: {number}\r\n\r\n").as_bytes()).must("250 ");
    }
    let taken = behind.taken(5);
    assert!(taken.iter().all(|mail| mail.connection == taken[0].connection), "{taken:?}");
}

#[test]
fn where_connections_are_not_kept_each_mail_has_its_own() {
    let behind = NextHop::start();
    let server = before_all(&upstream("one", &behind, ""), "", "idle_time = \"0s\"");
    for _ in 0..3 {
        send(&server, &["ann@behind.example"], &mail::small("x")).must("250 ");
    }
    let taken = behind.taken(3);
    let connections: HashSet<_> = taken.iter().map(|mail| mail.connection).collect();
    assert_eq!(connections.len(), 3, "{taken:?}");
}

#[test]
fn a_line_about_the_client_is_added_only_where_it_is_asked_for() {
    let behind = NextHop::start();
    let server = before_all(&upstream("one", &behind, ""), "trace_header = true", "");
    send(&server, &["ann@behind.example"], &mail::small("traced")).must("250 ");
    let octets = behind.taken(1).remove(0).octets;
    let text = String::from_utf8(octets).unwrap();
    assert!(text.starts_with("Received: from "), "{text}");
    assert_eq!(text.matches("Received:").count(), 1, "{text}");
    assert!(text.ends_with(&String::from_utf8(mail::small("traced")).unwrap()), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_no_reason_to_give_up_and_another_one_takes_over() {
    let (gone, spare) = (NextHop::start(), NextHop::start());
    let gone_upstream = upstream("gone", &gone, "weight = 5");
    drop(gone);
    let nobody = before_all(&gone_upstream, "", "");
    let mut client = nobody.smtp_open();
    client.say("MAIL FROM:<someone@remote.example>").must("451 4.4.1");
    client.say("NOOP").must("250 ");
    client.quit();
    let (status, reasons) = nobody.http("/readyz");
    assert!(status == 503 && reasons.starts_with("listener edge: no server behind answers\n"), "{reasons}");
    let server = before_all(&(gone_upstream + &upstream("spare", &spare, "weight = 0")), "", "");
    for number in 0..3 {
        send(&server, &["ann@behind.example"], format!("X: {number}\r\n\r\n").as_bytes()).must("250 ");
    }
    assert_eq!(spare.taken(3).len(), 3);
    assert_eq!(server.http("/readyz").0, 200, "one is enough");
    let metrics = server.http("/metrics").1;
    assert!(metrics.contains("gatepost_upstream_up{upstream=\"gone\"} 0"), "{metrics}");
    assert!(metrics.contains("gatepost_upstream_up{upstream=\"spare\"} 1"), "{metrics}");
    assert!(
        metrics.contains("gatepost_upstream_mails_total{result=\"taken\",upstream=\"spare\"} 3"),
        "{metrics}"
    );
}

#[test]
fn mails_are_shared_by_weight() {
    let (one, three) = (NextHop::start(), NextHop::start());
    let server = before_all(&(upstream("one", &one, "") + &upstream("three", &three, "weight = 3")), "", "");
    for number in 0..8 {
        send(&server, &["ann@behind.example"], format!("X: {number}\r\n\r\n").as_bytes()).must("250 ");
    }
    assert_eq!((one.taken_so_far().len(), three.taken_so_far().len()), (2, 6));
}

#[test]
fn no_server_gets_more_connections_than_it_may_have() {
    let behind = NextHop::start();
    let server = before_all(&upstream("one", &behind, "connections = 2"), "", "");
    let (_, first) = ask(&server, "ann@behind.example");
    let (_, second) = ask(&server, "ann@behind.example");
    let mut third = server.smtp_open();
    third.say("MAIL FROM:<a@remote.example>").must("451 4.4.1");
    drop(first);
    until_place(&mut third);
    drop(second);
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_body_leaves_no_mail_behind() {
    let behind = NextHop::start();
    let server = before(&behind);
    for whole_lines in [true, false] {
        let mut client = server.smtp_open();
        client.begin_data("someone@remote.example", &["ann@behind.example"]);
        let body = b"Subject: half\r\n\r\nHello\r\n".repeat(if whole_lines { 10_000 } else { 1 });
        client.send(&body);
        drop(client);
    }
    send(&server, &["ann@behind.example"], b"X: whole\r\n\r\n").must("250 ");
    thread::sleep(Duration::from_millis(300));
    let taken = behind.taken_so_far();
    assert_eq!(taken.len(), 1, "{taken:?}");
}

#[test]
fn whatever_a_hostile_server_says_the_client_is_told_to_come_again() {
    let hostile: [(At, Reaction); 15] = [
        (At::Mail, Reaction::Drop),
        (At::Mail, Reaction::Stall),
        (At::Mail, Reaction::Say("354 go on")),
        (At::Mail, Reaction::Write(b"250 ok\n")),
        (At::Mail, Reaction::Write(b"250-x\r\n251 y\r\n")),
        (At::Mail, Reaction::Flood(b"250-and so on\r\n")),
        (At::Mail, Reaction::Flood(b"xxxxxxxxxxxxxxxx")),
        (At::Mail, Reaction::Say("421 4.3.2 going")),
        (At::Rcpt, Reaction::Twice),
        (At::Rcpt, Reaction::Drop),
        (At::Data, Reaction::Say("250 taken already")),
        (At::Data, Reaction::Say("354 go on\r\n250 taken already")),
        (At::Data, Reaction::Drop),
        (At::Dot, Reaction::Drop),
        (At::Dot, Reaction::Say("354 more")),
    ];
    let behind = NextHop::start();
    let server = before(&behind);
    for (at, reaction) in hostile {
        behind.do_once(at, reaction);
        let mut client = server.smtp_open();
        client.send(
            b"MAIL FROM:<a@remote.example>\r\nRCPT TO:<ann@behind.example>\r\nRCPT TO:<bob@behind.example>\r\n",
        );
        let mut codes: Vec<u16> = (0..3).map(|_| client.reply().code).collect();
        if codes[1..].contains(&250) {
            let data = client.say("DATA");
            if data.code == 354 {
                client.send(b"X: 1\r\n\r\n.\r\n");
                codes.push(client.reply().code);
            } else {
                codes.push(data.code);
            }
        }
        let last = codes.last().copied().unwrap_or_default();
        assert!((400..500).contains(&last), "{at:?} {reaction:?}: {codes:?}");
        client.say("RSET").must("250 ");
        client.mail("a@remote.example", &["ann@behind.example"], b"X: 2\r\n\r\n").must("250 ");
        client.quit();
    }
}

#[test]
fn where_it_is_asked_for_nothing_goes_through_unscanned_and_what_is_clean_arrives_as_it_came() {
    let behind = NextHop::start().times(1, At::Data, Reaction::Say("554 5.7.0 not now"));
    let server = before_all(&upstream("one", &behind, ""), "scan = { in_session = true }", "");
    let infected = mail::message("virus", mail::eicar().as_bytes());
    send(&server, &["ann@behind.example"], &infected).must("554 5.7.1");
    assert_eq!(commands(&behind, "DATA").len(), 0, "the server behind has not heard of a body");
    let bodies = [mail::small("clean"), mail::large("clean", 3 * 1024 * 1024)];
    send(&server, &["ann@behind.example"], &bodies[0]).must("554 5.7.0 not now");
    for body in &bodies {
        send(&server, &["ann@behind.example"], body).must("250 2.0.0 taken");
    }
    for (taken, body) in behind.taken(2).iter().zip(&bodies) {
        assert!(taken.octets == *body, "{} octets instead of {}", taken.octets.len(), body.len());
    }
    server.wait_for_empty_queue();
}

#[test]
fn where_it_is_asked_for_headers_without_a_right_to_them_are_taken_out() {
    for listener in ["header_firewall = true", "header_firewall = true\nscan = { in_session = true }"] {
        let behind = NextHop::start();
        let server = before_all(&upstream("one", &behind, ""), listener, "");
        let content = b"X-Gatepost-Scan: clean\r\n\tfolded\r\nSubject: hi\r\n\r\nX-Gatepost-Scan: body\r\n";
        send(&server, &["ann@behind.example"], content).must("250 2.0.0 taken");
        assert_eq!(behind.taken(1)[0].octets, b"Subject: hi\r\n\r\nX-Gatepost-Scan: body\r\n");
        let overflown = [b"X: y\r\n".repeat(200_000).as_slice(), b"\r\nx\r\n"].concat();
        send(&server, &["ann@behind.example"], &overflown).must("554 5.6.0");
        assert_eq!(behind.taken_so_far().len(), 1, "a body that is refused is not ended");
    }
}

#[test]
fn a_reload_leaves_a_mail_where_it_is_and_has_new_sessions_go_to_the_new_server() {
    let (old, new) = (NextHop::start(), NextHop::start().offering("DSN"));
    let server = before(&old);
    let mut running = server.smtp_open();
    running.begin_data("someone@remote.example", &["ann@behind.example"]);
    let text = std::fs::read_to_string(server.config()).expect("the configuration can be read");
    let text = text.replace(&old.address.to_string(), &new.address.to_string());
    std::fs::write(server.config(), text).expect("the configuration can be written");
    server.signal(Signal::HUP);
    let start = Instant::now();
    while !server.smtp_open().say("EHLO client.example").offers("DSN") {
        assert!(start.elapsed() < Duration::from_secs(30), "the new server is not met");
        thread::sleep(Duration::from_millis(100));
    }
    running.send(b"X: old\r\n\r\n.\r\n");
    running.reply().must("250 2.0.0 taken");
    send(&server, &["ann@behind.example"], b"X: new\r\n\r\n").must("250 2.0.0 taken");
    assert_eq!(
        (old.taken(1)[0].octets.as_slice(), new.taken(1)[0].octets.as_slice()),
        (&b"X: old\r\n\r\n"[..], &b"X: new\r\n\r\n"[..])
    );
}

/// Each reload once gave the server behind as many connections again as it may have.
#[test]
fn a_reload_gives_no_server_more_connections_than_it_may_have() {
    let behind = NextHop::start();
    let server = before_all(&upstream("one", &behind, "connections = 1"), "", "");
    let (_, first) = ask(&server, "ann@behind.example");
    server.signal(Signal::HUP);
    wait_until("the configuration is reloaded", || server.log().contains("the configuration was reloaded"));
    let mut second = server.smtp_open();
    second.say("MAIL FROM:<a@remote.example>").must("451 4.4.1");
    drop(first);
    until_place(&mut second);
}

#[test]
fn a_server_that_stops_lets_a_mail_pass_that_has_begun() {
    let behind = NextHop::start();
    let mut server = before(&behind);
    send(&server, &["ann@behind.example"], b"X: first\r\n\r\n").must("250 ");
    let (mut idle, mut busy) = (server.smtp_open(), server.smtp_open());
    busy.begin_data("someone@remote.example", &["ann@behind.example"]);
    busy.send(b"X: second\r\n\r\nhalf\r\n");
    server.signal(Signal::TERM);
    idle.reply().must("421 4.3.2");
    busy.send(b"whole\r\n.\r\n");
    busy.reply().must("250 2.0.0 taken");
    assert_eq!(server.wait(Duration::from_secs(40)).code(), Some(0));
    assert_eq!(behind.taken(2)[1].octets, b"X: second\r\n\r\nhalf\r\nwhole\r\n");
}

#[test]
fn users_who_log_in_here_send_as_themselves_to_anybody() {
    let behind = NextHop::start();
    let server = before(&behind);
    let mut client = server.smtp_as_me();
    client.send(b"MAIL FROM:<someone@remote.example>\r\nRCPT TO:<ann@elsewhere.example>\r\n");
    client.reply().must("550 5.7.1");
    client.reply().must("503 5.5.1");
    client.mail("me@localhost", &["ann@elsewhere.example"], &mail::small("mine")).must("250 2.0.0 taken");
    client.quit();
    assert_eq!(behind.taken(1)[0].recipients, ["<ann@elsewhere.example>"]);
    assert_eq!(commands(&behind, "MAIL").len(), 1);
}
