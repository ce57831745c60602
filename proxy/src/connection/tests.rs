use gatepost_smtp::server::{Envelope, Question, Ticket};
use gatepost_smtp::wire::params::MailParams;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::admission::slots::Slots;
use crate::testing::{House, Recorder, house};

/// A listener without AUTH and TLS.
fn mx(house: &House) -> Arc<Context> {
    let dialect = Dialect::Smtp(Arc::new(Config {
        hostname: "mx.example".into(),
        tls: TlsMode::None,
        ..Config::default()
    }));
    Arc::new(Context {
        listener: "mx".into(),
        tls: TlsMode::None,
        balancers: Default::default(),
        relays: Default::default(),
        clients: None,
        classes: Default::default(),
        quirks: Default::default(),
        stranger_checks: StrangerChecks::default(),
        dialect,
        services: house.services.clone(),
        metrics: house.services.metrics.listener("mx"),
        pool: Pool::default(),
        locks: MailboxLocks::default(),
    })
}

/// From a trusted address: no answer is held back.
fn guest(house: &House) -> Guest {
    let address = [127, 0, 0, 1].into();
    house.services.admission.admit(address, &Slots::new(1), false, now()).unwrap()
}

#[tokio::test]
async fn a_stranger_that_makes_room_is_told_so() {
    let house = house();
    let slots = Slots::new(1);
    let address = [192, 0, 2, 1].into();
    let guest = house.services.admission.admit(address, &slots, false, now()).unwrap();
    let (stream, mut peer, _) = Recorder::pipe(64 * 1024);
    let (_phase, seen) = watch::channel(Phase::Serve);
    let served = tokio::spawn(serve(stream, ((address, 25).into(), None), mx(&house), guest, seen));
    let mut said = vec![0; 4];
    peer.read_exact(&mut said).await.unwrap();
    assert_eq!(said, b"220 ");
    peer.write_all(b"EHLO client.exam").await.unwrap();
    let _place = slots.take().await.unwrap();
    let reserve = slots.take().await.unwrap();
    drop(slots.make_room(reserve, now()).await);
    served.await.unwrap();
    let mut rest = String::new();
    peer.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n421 4.3.2 mx.example needs this place for others, try later\r\n"), "{rest}");
    let families = house.registry.gather();
    let counted =
        families.iter().find(|family| family.name() == "gatepost_admission_displaced_total").unwrap();
    assert!((counted.get_metric()[0].get_counter().get_value() - 1.0).abs() < 0.5);
}

/// How large the future is that this function returns.
fn future_octets<A, B, C, D, E, F: Future>(_function: impl Fn(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

/// An idle plaintext session may cost 4 KiB: this future, the machine with its heap, the socket's bookkeeping.
#[test]
fn the_future_of_a_connection_is_small() {
    let octets = future_octets(serve::<TcpStream>);
    assert!(octets <= 1850, "{octets} octets");
    let octets = size_of::<SmtpMachine>();
    assert!(octets <= 1536, "{octets} octets");
}

/// It is made anew for every question.
#[tokio::test]
async fn the_future_of_an_answer_from_behind_is_small() {
    let house = house();
    let context = mx(&house);
    let Dialect::Smtp(config) = context.dialect.clone() else { panic!("SMTP") };
    let (session, address) = (SessionId::next(), ([192, 0, 2, 1], 25).into());
    let peer = Peer { session, address, destination: None, context, guest: Arc::new(guest(&house)) };
    let mut machine = SmtpMachine::open(config, peer, None, now());
    let params = MailParams::default();
    let envelope =
        Envelope { reverse_path: "<>".parse().unwrap(), params: params.clone(), recipients: Vec::new() };
    let mail = Question::Mail { reverse_path: "<a@example.org>".parse().unwrap(), params };
    let questions = [mail, Question::Body { envelope }, Question::Commit];
    for question in questions {
        let shown = format!("{question:?}");
        let octets = size_of_val(&*machine.pass(Ticket(1), question));
        assert!(octets <= 2048, "{octets} octets for {shown}");
    }
}

#[tokio::test]
async fn a_pipelined_transaction_is_answered_in_one_write_a_turn() {
    let house = house();
    let (stream, mut peer, writes) = Recorder::pipe(64 * 1024);
    let (_phase, seen) = watch::channel(Phase::Serve);
    let served =
        tokio::spawn(serve(stream, (([192, 0, 2, 1], 25).into(), None), mx(&house), guest(&house), seen));
    let mut said = Vec::new();
    for (turn, last) in [
        ("", "220 "),
        ("EHLO client.example\r\n", "250 "),
        ("MAIL FROM:<a@example.org>\r\nRCPT TO:<me@localhost>\r\nRCPT TO:<x@localhost>\r\nDATA\r\n", "354 "),
        ("Subject: hi\r\n\r\nHello\r\n.\r\nRSET\r\nQUIT\r\n", "221 "),
    ] {
        peer.write_all(turn.as_bytes()).await.unwrap();
        while !String::from_utf8_lossy(&said).lines().last().is_some_and(|line| line.starts_with(last)) {
            assert!(peer.read_buf(&mut said).await.unwrap() > 0, "closed");
        }
    }
    drop(peer);
    served.await.unwrap();
    let codes: Vec<String> = writes
        .lock()
        .unwrap()
        .iter()
        .map(|write| write.lines().map(|line| line.get(..3).unwrap()).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(codes[0], "220");
    assert!(codes[1].starts_with("250 250"));
    assert_eq!(codes[2], "250 250 550 354");
    assert_eq!(codes[3], "250 250 221");
    assert_eq!(house.queue.list().await.len(), 1);
}
