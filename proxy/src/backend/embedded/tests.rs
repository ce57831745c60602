use std::time::Duration;

use gatepost_core::forwarding::srs;
use gatepost_core::queue;
use gatepost_core::scan::FailMode;
use gatepost_smtp::server::{ClassRights, Envelope, PeerClass, Recipient};
use gatepost_smtp::wire::params::RcptParams;
use gatepost_smtp::wire::path::Mailbox;

use super::transaction::RECIPIENT_OCTETS;
use super::*;
use crate::testing::{House, SLOW, VIRUS, house, house_with, queue_settings};

fn origin(user: Option<&str>) -> Origin {
    Origin {
        session: "S1".into(),
        listener: "test".into(),
        peer: ([192, 0, 2, 1], 2525).into(),
        helo: "client.example".into(),
        esmtp: true,
        tls: None,
        user: user.map(str::to_owned),
        received_at_ms: 0,
    }
}

fn forward(address: &str) -> ForwardPath {
    ForwardPath::Mailbox(address.parse::<Mailbox>().unwrap())
}

fn reverse(address: &str) -> ReversePath {
    ReversePath::Mailbox(address.parse::<Mailbox>().unwrap())
}

async fn begin(
    house: &House,
    user: Option<&str>,
    sender: &ReversePath,
) -> Result<Box<dyn Transaction>, Refusal> {
    let class = if user.is_some() { PeerClass::User } else { PeerClass::Anonymous };
    begin_as(house, user, class, sender).await
}

async fn begin_as(
    house: &House,
    user: Option<&str>,
    class: PeerClass,
    sender: &ReversePath,
) -> Result<Box<dyn Transaction>, Refusal> {
    let rights = ClassRights::default().of(class);
    house.backend.begin(origin(user), rights, sender, &MailParams::default()).await
}

#[tokio::test]
async fn who_is_no_user_sends_as_whom_his_class_may_send_as() {
    let house = house();
    let (local, foreign) = (reverse("me@localhost"), reverse("a@example.org"));
    for (user, class, may_local, may_foreign) in [
        (None, PeerClass::Anonymous, true, true),
        (None, PeerClass::Partner, false, true),
        (None, PeerClass::Server, true, true),
        (Some("me@localhost"), PeerClass::User, true, false),
        (Some("me@localhost"), PeerClass::Server, true, true),
    ] {
        assert_eq!(begin_as(&house, user, class, &local).await.is_ok(), may_local, "{class:?}");
        assert_eq!(begin_as(&house, user, class, &foreign).await.is_ok(), may_foreign, "{class:?}");
        assert!(begin_as(&house, user, class, &ReversePath::Null).await.is_ok(), "{class:?}");
    }
}

/// A whole transaction to `me@localhost`, the body put in pieces as a socket would.
async fn send(house: &House, body: &[u8]) -> Result<String, Refusal> {
    let mut transaction = filled(house, body).await;
    transaction.settle().await;
    transaction.commit().await
}

async fn filled(house: &House, body: &[u8]) -> Box<dyn Transaction> {
    let (reverse_path, path) = (reverse("someone@example.org"), forward("me@localhost"));
    let mut transaction = begin(house, None, &reverse_path).await.unwrap();
    transaction.recipient(&path, &RcptParams::default()).await.unwrap();
    let recipients = vec![Recipient { path, params: RcptParams::default() }];
    transaction.prepare(Envelope { reverse_path, params: MailParams::default(), recipients }).await.unwrap();
    for piece in body.chunks(60_000) {
        if transaction.wants_settling() {
            transaction.settle().await;
        }
        transaction.sink().put(piece);
    }
    transaction
}

#[tokio::test]
async fn a_clean_mail_is_queued_with_its_stamp_and_trace() {
    let house = house();
    let id = send(&house, b"Subject: hi\r\n\r\nHello\r\n").await.unwrap();
    let details = house.queue.show(id.parse().unwrap()).await.unwrap();
    assert!(details.stamp.is_some());
    let trace = String::from_utf8(details.trace).unwrap();
    assert!(trace.starts_with("Received: from client.example"), "{trace}");
    assert!(trace.contains("mx.example") && trace.contains(&id), "{trace}");
    assert_eq!(details.summary.octets, 22);
}

#[tokio::test]
async fn a_large_mail_is_queued_whole() {
    let house = house();
    let body = [b"Subject: large\r\n\r\n".as_slice(), &b"0123456789abcdef\r\n".repeat(60_000)].concat();
    let id = send(&house, &body).await.unwrap();
    let claim = house.queue.claim().await.unwrap();
    assert_eq!(claim.id.to_string(), id);
    assert!(claim.message.body.read().unwrap() == body, "the body differs");
}

#[tokio::test]
async fn an_infected_mail_is_refused_and_leaves_nothing() {
    let house = house();
    let body = format!("Subject: x\r\n\r\n{VIRUS}\r\n");
    assert_eq!(send(&house, body.as_bytes()).await, Err(Refusal::Infected));
    assert!(house.queue.list().await.is_empty());
}

#[tokio::test]
async fn a_scan_that_takes_too_long_leaves_the_mail_unstamped() {
    let house = house();
    let body = format!("Subject: x\r\n\r\n{SLOW}\r\n");
    let id = send(&house, body.as_bytes()).await.unwrap();
    let details = house.queue.show(id.parse().unwrap()).await.unwrap();
    assert_eq!(details.stamp, None);
}

#[tokio::test]
async fn a_listener_that_fails_closed_asks_to_come_again() {
    let house = house();
    let closed = SessionScan {
        time_max: Some(Duration::from_millis(100)),
        fail: FailMode::Closed,
        suspects: SuspectAction::Refuse,
    };
    let scans =
        SessionScans { usual: SessionScan::default(), of_listeners: [("test".into(), closed)].into() };
    house.backend.reload(Settings { hostname: "mx.example".into(), relay: None, scans });
    let slow = format!("Subject: x\r\n\r\n{SLOW}\r\n");
    assert_eq!(send(&house, slow.as_bytes()).await, Err(Refusal::ScanUnavailable));
    assert!(house.queue.list().await.is_empty());
    assert!(send(&house, b"Subject: x\r\n\r\nclean\r\n").await.is_ok());
    let infected = format!("Subject: x\r\n\r\n{VIRUS}\r\n");
    assert_eq!(send(&house, infected.as_bytes()).await, Err(Refusal::Infected));
}

#[tokio::test]
async fn without_a_scan_in_the_session_the_mail_is_left_to_the_queue() {
    let house = house();
    house.backend.reload(Settings {
        hostname: "mx.example".into(),
        relay: None,
        scans: SessionScans::default(),
    });
    let body = format!("Subject: x\r\n\r\n{VIRUS}\r\n");
    let id = send(&house, body.as_bytes()).await.unwrap();
    let details = house.queue.show(id.parse().unwrap()).await.unwrap();
    assert_eq!(details.stamp, None);
}

#[tokio::test]
async fn a_mail_that_goes_in_circles_is_refused() {
    let house = house();
    let hops = |count| format!("{}\r\nbody\r\n", "Received: from a by b\r\n".repeat(count));
    assert_eq!(send(&house, hops(101).as_bytes()).await, Err(Refusal::RoutingLoop));
    assert!(send(&house, hops(100).as_bytes()).await.is_ok());
}

#[tokio::test]
async fn trust_headers_are_gone_before_the_mail_is_kept_and_that_is_told() {
    let house = house();
    let mail = b"Return-Path: <x@y>\r\nX-Gatepost-Scan: clean\r\n\tfolded\r\nSubject: hi\r\n\r\nReturn-Path: body\r\n";
    let id = send(&house, mail).await.unwrap();
    let claim = house.queue.claim().await.unwrap();
    assert_eq!(claim.message.body.read().unwrap(), &b"Subject: hi\r\n\r\nReturn-Path: body\r\n"[..]);
    house.services.events.flush().await;
    let told = gatepost_core::events::History::open(&house.folder().join("events")).of_mail(&id).unwrap();
    let fields = "X-Gatepost- 1, Return-Path 1".to_owned();
    assert_eq!(
        told.events.into_iter().map(|event| event.what).collect::<Vec<_>>(),
        [What::Stripped { fields }]
    );
}

#[tokio::test]
async fn a_server_with_the_right_may_set_trust_headers() {
    let house = house();
    let rights = ClassRights::default().of(PeerClass::Anonymous).with(Right::AcceptHeadersOrganization);
    let mail = b"X-MS-Exchange-Organization-SCL: -1\r\n\r\nbody\r\n";
    send_with(&house, rights, mail).await.unwrap();
    assert_eq!(house.queue.claim().await.unwrap().message.body.read().unwrap(), &mail[..]);
}

#[tokio::test]
async fn routing_headers_of_peers_without_the_right_are_taken_out_and_still_tell_a_loop() {
    let house = house();
    let usual = ClassRights::default().of(PeerClass::Anonymous);
    let without = usual.without(Right::AcceptHeadersRouting);
    let mail =
        b"Received: from a by b\r\n\tfolded\r\nResent-From: <a@b>\r\nSubject: hi\r\n\r\nReceived: body\r\n";
    send_with(&house, usual, mail).await.unwrap();
    // Dropped, it would be the next one again.
    let first = house.queue.claim().await.unwrap();
    assert_eq!(first.message.body.read().unwrap(), &mail[..]);
    send_with(&house, without, mail).await.unwrap();
    let second = house.queue.claim().await.unwrap();
    assert_eq!(second.message.body.read().unwrap(), &b"Subject: hi\r\n\r\nReceived: body\r\n"[..]);
    let circling = "Received: from a by b\r\n".repeat(101) + "\r\nbody\r\n";
    assert_eq!(send_with(&house, without, circling.as_bytes()).await, Err(Refusal::RoutingLoop));
}

/// A stranger with these rights hands a mail in.
async fn send_with(house: &House, rights: Rights, mail: &[u8]) -> Result<String, Refusal> {
    let (reverse_path, path) = (reverse("someone@example.org"), forward("me@localhost"));
    let begun = house.backend.begin(origin(None), rights, &reverse_path, &MailParams::default()).await;
    let mut transaction = begun.unwrap();
    let recipients = vec![Recipient { path, params: RcptParams::default() }];
    transaction.prepare(Envelope { reverse_path, params: MailParams::default(), recipients }).await.unwrap();
    transaction.sink().put(mail);
    transaction.commit().await
}

#[tokio::test]
async fn a_header_section_without_end_is_refused() {
    let house = house();
    let mail = b"Subject: endless\r\n".repeat(70_000);
    assert_eq!(send(&house, &mail).await, Err(Refusal::ContentRejected));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let house = house();
    let transaction = filled(&house, &b"Subject: large\r\n".repeat(40_000)).await;
    drop(transaction);
    assert!(house.queue.list().await.is_empty());
    // The file is removed on a thread of the queue's.
    let files = || std::fs::read_dir(house.folder().join("queue/bodies")).unwrap().count();
    let gone = async {
        while files() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the file stays");
}

#[tokio::test]
async fn only_local_mailboxes_are_accepted_whoever_asks() {
    let house = house();
    for user in [None, Some("me@localhost")] {
        let mut transaction = begin(&house, user, &reverse("me@localhost")).await.unwrap();
        for (address, expected) in [
            ("me@localhost", Ok(())),
            ("INFO@LocalHost", Ok(())),
            ("postmaster@localhost", Ok(())),
            ("nobody@localhost", Err(Refusal::UnknownRecipient)),
            ("me@example.org", Err(Refusal::RelayDenied)),
            ("me%example.org@localhost", Err(Refusal::UnknownRecipient)),
            ("\"me@example.org\"@localhost", Err(Refusal::UnknownRecipient)),
            ("me@[127.0.0.1]", Err(Refusal::RelayDenied)),
        ] {
            let answer = transaction.recipient(&forward(address), &RcptParams::default()).await;
            assert_eq!(answer, expected, "{address}");
        }
    }
}

#[tokio::test]
async fn an_alias_that_leads_elsewhere_is_for_everybody_where_mail_may_leave() {
    let house = house();
    house.directory.add_aliases("away@localhost", &["a@other.example", "me@localhost"]).unwrap();
    house.directory.add_alias("far@localhost", "b@other.example").unwrap();
    let (path, far) = (forward("Away@localhost"), forward("far@localhost"));
    let mut stranger = begin(&house, None, &reverse("a@example.org")).await.unwrap();
    let params = RcptParams::default();
    assert_eq!(stranger.recipient(&far, &params).await, Err(Refusal::RelayDenied));
    let relay = Some(Relay { internal: false });
    house.backend.reload(Settings { hostname: "mx.example".into(), relay, scans: SessionScans::default() });
    assert_eq!(stranger.recipient(&far, &params).await, Ok(()));
    assert_eq!(stranger.recipient(&path, &params).await, Ok(()));
    assert_eq!(stranger.recipient(&forward("a@other.example"), &params).await, Err(Refusal::RelayDenied));
    let recipients = vec![Recipient { path: path.clone(), params }];
    let envelope =
        Envelope { reverse_path: reverse("a@example.org"), params: MailParams::default(), recipients };
    stranger.prepare(envelope).await.unwrap();
    stranger.sink().put(b"Subject: x\r\n\r\nx\r\n");
    let id = stranger.commit().await.unwrap();
    let details = house.queue.show(id.parse().unwrap()).await.unwrap();
    let addresses: Vec<_> = details.summary.recipients.iter().map(|to| to.address.as_str()).collect();
    assert_eq!(addresses, ["<a@other.example>", "<Away@localhost>"]);
    let forwards: Vec<_> = details.submission.forwards.iter().collect();
    assert_eq!(forwards, [(0, &path)]);
    let trace = String::from_utf8(details.trace).unwrap();
    assert!(trace.contains(" for <Away@localhost>;"), "{trace}");
}

#[tokio::test]
async fn bounces_to_rewritten_senders_are_taken_and_what_only_looks_like_them_is_not() {
    let house = house();
    let relay = Some(Relay { internal: false });
    house.backend.reload(Settings { hostname: "mx.example".into(), relay, scans: SessionScans::default() });
    let settings = |bounces_only| srs::Settings {
        domain: "back.example".parse().unwrap(),
        days: 21,
        mac_characters: 6,
        bounces_only,
    };
    house.directory.rewrite_with(Some(settings(true)));
    let rewritten = house.directory.rewritten(&reverse("ann@first.example")).unwrap().to_string();
    let own = rewritten.trim_matches(['<', '>']);
    let forged = own.replace("ann@", "bob@");
    let params = RcptParams::default();
    for (sender, address, expected) in [
        (ReversePath::Null, own, Ok(())),
        (ReversePath::Null, &forged, Err(Refusal::RelayDenied)),
        (reverse("a@example.org"), own, Err(Refusal::UnknownRecipient)),
        (ReversePath::Null, "ann@back.example", Err(Refusal::RelayDenied)),
    ] {
        let mut transaction = begin(&house, None, &sender).await.unwrap();
        assert_eq!(transaction.recipient(&forward(address), &params).await, expected, "{sender} {address}");
    }
    house.directory.rewrite_with(Some(settings(false)));
    let mut transaction = begin(&house, None, &reverse("a@example.org")).await.unwrap();
    assert_eq!(transaction.recipient(&forward(own), &params).await, Ok(()));
}

#[tokio::test]
async fn a_sender_hears_of_a_full_disk_before_his_mail_comes() {
    let settings = queue::Settings { free_octets_min: u64::MAX, ..queue_settings() };
    let house = house_with(settings);
    // The writer looks once a second; this asks at once.
    assert!(house.queue.is_full());
    let refused = begin(&house, None, &reverse("a@example.org")).await.err();
    assert_eq!(refused, Some(Refusal::StorageFull));
}

#[tokio::test]
async fn a_domain_with_enough_waiting_mail_is_refused_at_its_recipient() {
    let domain = queue::Quota { messages: Some(1), octets: None };
    let quotas = queue::Quotas { domain, ..queue::Quotas::default() };
    let house = house_with(queue::Settings { quotas, ..queue_settings() });
    // Delivery does not run here: what was accepted waits.
    let commit = async || {
        let mut transaction = begin(&house, None, &reverse("a@example.org")).await.unwrap();
        let path = forward("me@localhost");
        transaction.recipient(&path, &RcptParams::default()).await?;
        let recipients = vec![Recipient { path, params: RcptParams::default() }];
        let (reverse_path, params) = (reverse("a@example.org"), MailParams::default());
        transaction.prepare(Envelope { reverse_path, params, recipients }).await?;
        transaction.sink().put(b"Subject: x\r\n\r\nx\r\n");
        transaction.commit().await
    };
    assert!(commit().await.is_ok());
    assert_eq!(commit().await, Err(Refusal::StorageFull));
    let claim = house.queue.claim().await.unwrap();
    let delivered = queue::Outcome::Done(gatepost_core::delivery::Disposition::Delivered);
    house.queue.settle(claim, vec![(0, delivered)]).await.unwrap();
    assert!(commit().await.is_ok());
}

#[tokio::test]
async fn recipients_are_refused_while_there_is_no_memory_for_them() {
    let house = house();
    house.memory.resize(RECIPIENT_OCTETS);
    let mut transaction = begin(&house, None, &reverse("a@example.org")).await.unwrap();
    let (path, params) = (forward("me@localhost"), RcptParams::default());
    assert_eq!(transaction.recipient(&path, &params).await, Ok(()));
    assert_eq!(transaction.recipient(&path, &params).await, Err(Refusal::StorageFull));
    drop(transaction);
    assert_eq!(house.memory.used(), 0);
}

/// A recipient elsewhere was once taken before anybody asked whether there is room for him.
#[tokio::test]
async fn a_recipient_elsewhere_draws_and_has_a_quota_as_one_here() {
    let domain = queue::Quota { messages: Some(1), octets: None };
    let quotas = queue::Quotas { domain, ..queue::Quotas::default() };
    let house = house_with(queue::Settings { quotas, ..queue_settings() });
    let relay = Some(Relay { internal: false });
    house.backend.reload(Settings { hostname: "mx.example".into(), relay, scans: SessionScans::default() });
    let params = RcptParams::default();
    let (first, second) = (forward("a@full.example"), forward("b@other.example"));
    let mut transaction = begin(&house, Some("me@localhost"), &reverse("me@localhost")).await.unwrap();
    assert_eq!(transaction.recipient(&first, &params).await, Ok(()));
    assert_eq!(house.memory.used(), RECIPIENT_OCTETS);
    let recipients = vec![Recipient { path: first.clone(), params: params.clone() }];
    let (reverse_path, mail_params) = (reverse("me@localhost"), MailParams::default());
    transaction.prepare(Envelope { reverse_path, params: mail_params, recipients }).await.unwrap();
    transaction.sink().put(b"Subject: x\r\n\r\nx\r\n");
    transaction.commit().await.unwrap();

    let mut transaction = begin(&house, Some("me@localhost"), &reverse("me@localhost")).await.unwrap();
    assert_eq!(transaction.recipient(&first, &params).await, Err(Refusal::StorageFull), "over its quota");
    house.memory.resize(house.memory.used() + RECIPIENT_OCTETS);
    assert_eq!(transaction.recipient(&second, &params).await, Ok(()));
    assert_eq!(transaction.recipient(&second, &params).await, Err(Refusal::StorageFull), "no memory");
}

#[tokio::test]
async fn an_alias_draws_for_its_targets_once_in_a_transaction_and_nothing_when_refused() {
    let house = house();
    let relay = Some(Relay { internal: false });
    house.backend.reload(Settings { hostname: "mx.example".into(), relay, scans: SessionScans::default() });
    house.directory.add_aliases("away@localhost", &["a@other.example", "b@other.example"]).unwrap();
    house.directory.add_alias("far@localhost", "c@other.example").unwrap();
    house.memory.resize(5 * RECIPIENT_OCTETS);
    let mut transaction = begin(&house, None, &reverse("a@example.org")).await.unwrap();
    let params = RcptParams::default();
    assert_eq!(transaction.recipient(&forward("away@localhost"), &params).await, Ok(()));
    assert_eq!(house.memory.used(), 3 * RECIPIENT_OCTETS);
    assert_eq!(transaction.recipient(&forward("AWAY@localhost"), &params).await, Ok(()));
    assert_eq!(house.memory.used(), 4 * RECIPIENT_OCTETS);
    let refused = transaction.recipient(&forward("far@localhost"), &params).await;
    assert_eq!(refused, Err(Refusal::StorageFull));
    assert_eq!(house.memory.used(), 4 * RECIPIENT_OCTETS);
}

#[tokio::test]
async fn a_user_sends_as_himself_only() {
    let house = house();
    let me = Some("me@localhost");
    for (user, sender, allowed) in [
        (me, reverse("me@localhost"), true),
        (me, reverse("info@localhost"), true),
        (me, ReversePath::Null, true),
        (me, reverse("you@localhost"), false),
        (me, reverse("me@example.org"), false),
        (None, reverse("anyone@example.org"), true),
    ] {
        let answer = begin(&house, user, &sender).await;
        assert_eq!(answer.err(), (!allowed).then_some(Refusal::SenderNotOwned), "{sender:?}");
    }
}
