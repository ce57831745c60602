//! Remote delivery with a server of its own on loopback, and whatever the queue's disk makes of the outcome.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatepost_smtp::wire::client_name::ClientName;
use gatepost_smtp::wire::path::ReversePath;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::BoxFuture;
use crate::delivery::Disposition;
use crate::delivery::dns::{Addresses, Exchanger, Exchangers, Unresolved};
use crate::delivery::hop;
use crate::delivery::retry::Setback;
use crate::delivery::testing::{Teachable, message};
use crate::delivery::tls_policy::Unfetched;
use crate::delivery::tls_policy::dane::Tlsa;
use crate::disk::{Disk as _, SimulatedDisk};
use crate::events::Log;
use crate::intake::{Body, Spool};

/// Every domain has the same mail exchanger, on this machine.
#[derive(Debug)]
struct OneHost;

impl Resolver for OneHost {
    fn mail_exchangers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
        let records = vec![Exchanger { preference: 10, name: "hop.example".into() }];
        Box::pin(async { Ok(Exchangers { records, is_proven: false }) })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
        let addresses = vec![Ipv4Addr::LOCALHOST.into()];
        Box::pin(async { Ok(Addresses { addresses, tlsa_bases: Vec::new() }) })
    }

    fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn proves(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    fn texts<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Fetcher for OneHost {
    fn fetch<'a>(&'a self, _: &'a str, _: &'a [IpAddr]) -> BoxFuture<'a, Result<Vec<u8>, Unfetched>> {
        Box::pin(async { Err(Unfetched::unanswered("there is none")) })
    }
}

pub(in crate::delivery) fn remote(port: u16) -> Remote {
    let settings = Settings {
        relayed: Vec::new(),
        routes: Routes::default(),
        ourselves: Ourselves::default(),
        port,
        internal: true,
        dane: Dane::WhereProven,
        mta_sts: true,
        rate: None,
        connections: CONNECTIONS_DEFAULT,
        paused: false,
    };
    let name: ClientName = "us.example".parse().unwrap();
    let tools = Tools {
        courier: Courier::start(hop::Settings::new(name)).unwrap(),
        resolver: Arc::new(OneHost),
        validating: Arc::new(OneHost),
        roots: Arc::new(RootCertStore::empty()),
        fetcher: Arc::new(OneHost),
        ledger: Some(Ledger::default()),
        pauses: Pauses::default(),
        watchdog: Watchdog::start(Log::discarding(), None).unwrap(),
        current_stamp: Box::new(|| Teachable::new().stamp()),
        metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
    };
    Remote::start(settings, tools)
}

/// Takes every mail and counts them.
pub(in crate::delivery) async fn taker() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, Arc::clone(&counter)));
        }
    });
    (port, taken)
}

async fn take(stream: TcpStream, taken: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 hop.example\r\n").await?;
    let (mut line, mut in_body) = (String::new(), false);
    while stream.read_line(&mut line).await? > 0 {
        let reply: &[u8] = match (in_body, line.trim_end()) {
            (true, ".") => {
                in_body = false;
                taken.fetch_add(1, Ordering::SeqCst);
                b"250 2.0.0 taken\r\n"
            }
            (true, _) => b"",
            (false, "DATA") => {
                in_body = true;
                b"354 go on\r\n"
            }
            (false, _) => b"250 ok\r\n",
        };
        stream.write_all(reply).await?;
        line.clear();
    }
    Ok(())
}

/// One attempt, at the end of which the queue's disk is `sound` or not.
async fn attempt(remote: &Remote, message: &Arc<NewMessage>, sound: bool) -> Vec<Attempt> {
    let Admission::Admitted(admitted) = remote.admit(message, &[0]) else { panic!("there is room") };
    let (told, mut hear) = mpsc::unbounded_channel();
    let close = async move |attempted| {
        told.send(attempted).unwrap();
        sound
    };
    remote.spawn(Arc::clone(message), admitted, close, || {});
    let attempted = hear.recv().await.unwrap();
    // The task ends behind what it tells.
    while remote.inner.slots.available_permits() < MAILS_MAX {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    attempted
}

#[tokio::test]
async fn what_a_server_has_taken_is_not_sent_again_while_the_queues_disk_fails() {
    let (port, taken) = taker().await;
    let remote = remote(port);
    let message = Arc::new(message(1, &["ann@to.example"]));
    for sound in [false, false, true] {
        let attempted = attempt(&remote, &message, sound).await;
        assert_eq!(attempted.len(), 1);
        assert_eq!(attempted[0].result, Ok(Disposition::Delivered));
        assert_eq!(taken.load(Ordering::SeqCst), 1, "sent once");
    }
    assert!(lock(&remote.inner.unsettled).is_empty(), "and forgotten with the record");
    remote.stop().await;
}

#[tokio::test]
async fn while_it_is_paused_nothing_goes_out_and_afterwards_all_of_it() {
    let (port, taken) = taker().await;
    let remote = remote(port);
    let settings = Settings::clone(&remote.inner.settings.load());
    let message = Arc::new(message(1, &["ann@to.example"]));
    remote.reload(Settings { paused: true, ..settings.clone() });
    assert!(!remote.has_room(), "the queue keeps what is for other servers alone");
    let attempted = attempt(&remote, &message, true).await;
    let setback = attempted[0].result.as_ref().unwrap_err();
    assert!(setback.to_string().starts_with("4.3.2 ") && !setback.is_of_attempt(), "{setback}");
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    remote.reload(settings);
    assert!(remote.paused_ms(0, now_ms()) >= 20);
    assert!(remote.has_room());
    assert_eq!(attempt(&remote, &message, true).await[0].result, Ok(Disposition::Delivered));
    remote.stop().await;
}

#[tokio::test]
async fn whose_turn_has_not_come_goes_back_and_keeps_nobody_else() {
    let (port, taken) = taker().await;
    let remote = remote(port);
    let settings = Settings::clone(&remote.inner.settings.load());
    remote.reload(Settings { rate: NonZeroU32::new(1), ..settings });
    assert!(attempt(&remote, &Arc::new(message(1, &["ann@to.example"])), true).await[0].is_done());
    let second = message(2, &["ann@to.example"]);
    let Admission::NotYet { pause, reason } = remote.admit(&second, &[0]) else { panic!("admitted") };
    assert!(pause > Duration::from_secs(50), "{pause:?}");
    assert!(reason.unwrap().starts_with("4.4.5 waits for its turn: to.example gets 1 mails a minute"));
    let mixed = Arc::new(message(3, &["ann@to.example", "bob@else.example"]));
    let Admission::Admitted(admitted) = remote.admit(&mixed, &[0, 1]) else { panic!("bob's turn has come") };
    assert_eq!((admitted.groups.len(), &admitted.groups[0].2), (1, &vec![1]));
    let [waits] = admitted.attempted.as_slice() else { panic!("{:?}", admitted.attempted) };
    let setback = waits.result.as_ref().unwrap_err();
    assert!(waits.recipient == 0 && setback.kept_back() > Some(pause) && !setback.is_of_attempt());
    drop(admitted);
    let crowd = lock(&remote.inner.unsettled).len();
    assert_eq!((remote.inner.slots.available_permits(), crowd), (MAILS_MAX, 0), "no place is held");
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    remote.stop().await;
}

#[tokio::test]
async fn mail_of_an_alias_says_where_it_has_been_and_goes_apart_from_other_mail() {
    let mut message = message(1, &["ann@to.example", "bob@to.example", "cid@to.example"]);
    for recipient in [1, 2] {
        message.submission.forwards.insert(recipient, "<Sales@here.example>".parse().unwrap());
    }
    let rewritten = "<SRS0=A=B=example.org=sender@here.example>".parse::<ReversePath>().unwrap();
    message.submission.forwards.set_sender(Some(rewritten.clone()));
    let remote = remote(25);
    let mut groups: Vec<_> = remote.by_way(&message, &[0, 1, 2]).into_values().collect();
    groups.sort();
    assert_eq!(groups, [vec![0], vec![1, 2]]);
    let sender = |recipients: &[usize]| hop::Consignment::of(&message, recipients).reverse_path;
    assert_eq!(
        (sender(&[0]), sender(&[1, 2])),
        (message.submission.envelope.reverse_path.clone(), rewritten)
    );
    let head = |recipients: &[usize]| hop::Consignment::of(&message, recipients).head;
    assert_eq!(head(&[0]), message.trace);
    assert_eq!(head(&[1, 2]), [b"Delivered-To: Sales@here.example\r\n", message.trace.as_slice()].concat());
    remote.stop().await;
}

#[tokio::test]
async fn a_crowd_for_a_silent_server_leaves_room_for_other_destinations_and_ends_at_a_stop() {
    // The kernel takes connections; nobody ever says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let remote = remote(silent.local_addr().unwrap().port());
    let mut waiting: usize = 0;
    for number in 1..=MAILS_MAX as u64 {
        let message = Arc::new(message(number, &["ann@to.example"]));
        let Admission::Admitted(admitted) = remote.admit(&message, &[0]) else { break };
        assert!(admitted.attempted.is_empty());
        remote.spawn(message, admitted, async move |_| panic!("no attempt comes to an end"), || {});
        waiting += 1;
    }
    assert!(waiting < MAILS_MAX / 4, "{waiting} mails for one destination are held in memory");
    let other = message(1_000, &["bob@other.example"]);
    assert!(matches!(remote.admit(&other, &[0]), Admission::Admitted(_)));
    tokio::time::pause();
    remote.stop().await;
    assert!(matches!(remote.admit(&other, &[0]), Admission::NotYet { .. }), "nothing begins any more");
}

/// Where the server has no 8BITMIME the body is looked at before it is begun.
#[tokio::test]
async fn a_body_that_is_damaged_here_is_no_reason_to_ask_another_server_or_the_same_one_again() {
    let (port, taken) = taker().await;
    let remote = remote(port);
    let first = Arc::new(message(1, &["ann@to.example"]));
    assert!(attempt(&remote, &first, true).await[0].is_done());
    let disk = SimulatedDisk::new();
    let spool = Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap();
    let body = Body::File(Arc::new(spool.store(&b"Subject: x\r\n".repeat(1_000)).unwrap()));
    disk.damage(&disk.list(Path::new("/bodies")).unwrap()[0], 10, 1);
    let damaged = Arc::new(NewMessage { body, ..message(2, &["ann@to.example"]) });
    let attempted = timeout(Duration::from_secs(10), attempt(&remote, &damaged, true)).await.unwrap();
    assert_eq!(attempted[0].result, Err(Setback::Damaged));
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    remote.stop().await;
}

#[tokio::test]
async fn what_came_of_tls_is_noted_for_the_domain_once_a_session() {
    let (port, _) = taker().await;
    let remote = remote(port);
    for number in [1, 2] {
        attempt(&remote, &Arc::new(message(number, &["ann@to.example"])), true).await;
    }
    let waived = NewMessage {
        body: Body::Memory("TLS-Required: No\r\n\r\nbody\r\n".into()),
        ..message(3, &["ann@else.example"])
    };
    attempt(&remote, &Arc::new(waived), true).await;
    let ledger = remote.inner.tools.ledger.clone().unwrap();
    let due = ledger.due(now_ms() + 24 * 60 * 60 * 1000);
    let [(day, domain)] = due.as_slice() else { panic!("one domain: {due:?}") };
    let tallies = ledger.tallies(*day, domain);
    assert_eq!(
        (domain.as_str(), tallies.len(), tallies[0].kind.as_str()),
        ("to.example", 1, "no-policy-found")
    );
    assert_eq!(
        (tallies[0].successes, tallies[0].failures),
        (0, 1),
        "the second mail went over the first's session"
    );
    let detail = &tallies[0].details[0];
    assert_eq!((detail.result.as_str(), detail.host.as_str()), ("starttls-not-supported", "hop.example"));
    assert_eq!(detail.address, Some(Ipv4Addr::LOCALHOST.into()));
    remote.stop().await;
}

#[tokio::test]
async fn an_address_that_no_dns_can_have_is_given_up() {
    let remote = remote(25);
    let message = message(1, &["ann@300.1.2.3"]);
    let Admission::Admitted(admitted) = remote.admit(&message, &[0]) else { panic!("there is room") };
    assert!(
        matches!(&admitted.attempted[0].result, Ok(Disposition::Bounced { reason }) if reason.starts_with("5.1.2 "))
    );
}
