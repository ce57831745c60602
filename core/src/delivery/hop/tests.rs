//! A courier and servers that stall, lie and drop, over memory and, where a second connection is made, over loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_smtp::client::{Failure, Fault, Login, Patience, Protocol, Stage, StartTls};
use gatepost_smtp::server::Recipient;
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::server::Step::{self, Flood, Hear, HearBody, HearEnd, HearOctets, Raw, Say, Secure, Stall};
use self::server::{Credentials, credentials, serve};
use super::tls::Trust;
use super::*;
use crate::delivery::HopReport;
use crate::disk::{Disk as _, SimulatedDisk};
use crate::intake::{Body, Spool};
use crate::tlsrpt::ResultType;

mod login;
mod server;

const BODY: &str = "Subject: x\r\n\r\n.dot\r\n";

fn courier() -> Courier {
    Courier::start(Settings::new("us.example".parse().unwrap())).unwrap()
}

fn hop(tls: TlsDemand) -> NextHop {
    NextHop::new("mx.example".to_owned(), (Ipv4Addr::LOCALHOST, 1).into(), Protocol::Smtp, tls)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("mx.example").unwrap()
}

fn consignment(recipients: &[&str], body: Body) -> Consignment {
    let recipients = recipients.iter().enumerate().map(|(number, path)| {
        let path = format!("<{path}>").parse().unwrap();
        (number * 10, Recipient { path, params: RcptParams::default() })
    });
    Consignment {
        reverse_path: "<a@us.example>".parse().unwrap(),
        params: MailParams::default(),
        recipients: recipients.collect(),
        head: Bytes::from_static(b"Received: by us\r\n"),
        body,
    }
}

fn one() -> Consignment {
    consignment(&["b@mx.example"], Body::Memory(Bytes::from_static(BODY.as_bytes())))
}

/// A connection in memory to a server that does this.
async fn open(
    hop: &NextHop,
    starttls: StartTls,
    script: &[Step],
) -> (Result<Connection, HopFailure>, JoinHandle<(String, bool)>) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let server = tokio::spawn(serve(Box::new(theirs), script.to_vec()));
    (courier().open(Box::new(ours), hop, starttls).await, server)
}

async fn open_plain(script: &[Step]) -> (Result<Connection, HopFailure>, JoinHandle<(String, bool)>) {
    open(&hop(TlsDemand::Never), StartTls::Never, script).await
}

async fn deliver(script: &[Step], consignment: &Consignment) -> (Delivered, JoinHandle<(String, bool)>) {
    let (connected, server) = open_plain(script).await;
    (connected.unwrap().deliver(consignment).await, server)
}

fn verdict(delivered: &Delivered) -> &Verdict {
    assert_eq!(delivered.served.len(), 1);
    &delivered.served[0].verdict
}

fn lost(failure: Failure) -> Verdict {
    Verdict::Failed(HopFailure::Session(failure))
}

/// Up to the end of data, step by step.
const COURSE: [Step; 10] = [
    Say("220 mx.example"),
    Hear("EHLO us.example"),
    Say("250-mx.example\n250 DSN"),
    Hear("MAIL FROM:<a@us.example>"),
    Say("250 ok"),
    Hear("RCPT TO:<b@mx.example>"),
    Say("250 ok"),
    Hear("DATA"),
    Say("354 go"),
    HearBody,
];

fn course(then: &[Step]) -> Vec<Step> {
    [COURSE.as_slice(), then].concat()
}

#[tokio::test]
async fn a_mail_is_taken_to_its_next_hop_and_the_connection_is_kept() {
    let again = &COURSE[3..];
    let script = [
        course(&[Say("250 2.0.0 queued as 1")]),
        again.to_vec(),
        vec![Say("250 2.0.0 queued as 2"), Hear("QUIT"), Say("221 bye"), HearEnd],
    ];
    let (connected, server) = open_plain(&script.concat()).await;
    let mut connection = connected.unwrap();
    for number in 1..=2 {
        assert!(connection.is_usable().await);
        let delivered = connection.deliver(&one()).await;
        let report = HopReport {
            name: "mx.example".to_owned(),
            reply: Some(format!("250 2.0.0 queued as {number}")),
            takes_dsn: true,
        };
        assert_eq!(delivered.served, [Served { recipient: 0, verdict: Verdict::Delivered, report }]);
        connection = delivered.connection.unwrap();
    }
    connection.quit().await;
    let (heard, is_done) = server.await.unwrap();
    assert!(is_done);
    assert!(heard.contains("DATA\r\nReceived: by us\r\nSubject: x\r\n\r\n..dot\r\n.\r\nMAIL"), "{heard}");
}

#[tokio::test]
async fn each_recipient_hears_what_was_said_of_him() {
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250-PIPELINING\n250 DSN"),
        Hear("MAIL"),
        Hear("RCPT TO:<b@mx.example>"),
        Hear("RCPT TO:<c@mx.example>"),
        Hear("RCPT TO:<d@mx.example>"),
        Hear("DATA"),
        Say("250 ok\n550-5.1.1 no\n550 5.1.1 such user\n450 busy\n250 ok\n354 go"),
        HearBody,
        Say("250 queued"),
        HearEnd,
    ];
    let consignment = Consignment {
        head: Bytes::new(),
        ..consignment(&["b@mx.example", "c@mx.example", "d@mx.example", "\u{e4}@mx.example"], one().body)
    };
    let (delivered, _server) = deliver(&script, &consignment).await;
    let table = [
        (
            0,
            Verdict::Refused { reason: "5.1.1 the next hop said: 550 5.1.1 no 5.1.1 such user".to_owned() },
            false,
        ),
        (10, Verdict::PutOff { reason: "4.0.0 the next hop said: 450 busy".to_owned() }, false),
        (20, Verdict::Delivered, true),
        (
            30,
            Verdict::Refused { reason: "5.6.7 the next hop takes no addresses outside of ASCII".to_owned() },
            false,
        ),
    ];
    for (served, (recipient, verdict, takes_dsn)) in delivered.served.iter().zip(table) {
        assert_eq!((served.recipient, &served.verdict), (recipient, &verdict));
        assert_eq!(served.report.takes_dsn, takes_dsn);
        assert_eq!(served.report.reply.is_some(), recipient != 30);
    }
    assert!(delivered.connection.is_some());
}

#[tokio::test]
async fn a_server_that_drops_the_connection_at_any_step_costs_no_mail() {
    for steps in 0..=COURSE.len() {
        let (connected, server) = open_plain(&COURSE[..steps]).await;
        let Ok(connection) = connected else {
            assert!(steps < 3, "a session is open after {steps} steps");
            let failure = connected.unwrap_err();
            assert_eq!(failure.fault(), Fault::Network);
            assert!(failure.reason().starts_with("4.4.2 connection lost at"), "{}", failure.reason());
            continue;
        };
        let delivered = connection.deliver(&one()).await;
        let Verdict::Failed(HopFailure::Session(failure)) = verdict(&delivered) else {
            panic!("{delivered:?}")
        };
        assert!(matches!(failure, Failure::Closed(_)), "{failure:?}");
        // Behind 354 the whole body may have been written before the connection is seen to be gone.
        if steps != 9 {
            assert_eq!(failure.may_have_delivered(), steps == 10, "{failure:?} after {steps} steps");
        }
        assert!(delivered.connection.is_none());
        drop(server);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_at_any_step_is_given_up() {
    for steps in 0..=COURSE.len() {
        let script = [&COURSE[..steps], &[Stall]].concat();
        let began = tokio::time::Instant::now();
        let (connected, _server) = open_plain(&script).await;
        let failure = match connected {
            Err(HopFailure::Session(failure)) => failure,
            Ok(connection) => match verdict(&connection.deliver(&one()).await).clone() {
                Verdict::Failed(HopFailure::Session(failure)) => failure,
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other:?}"),
        };
        assert!(matches!(failure, Failure::TimedOut(_)), "{failure:?}");
        assert!(began.elapsed() <= Patience::default().end_of_data + Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_no_body_is_given_up() {
    let script = [&COURSE[..9], &[Stall]].concat();
    let body = Body::Memory(Bytes::from(b"0123456789abcd\r\n".repeat(10_000)));
    let (delivered, _server) = deliver(&script, &consignment(&["b@mx.example"], body)).await;
    assert_eq!(*verdict(&delivered), lost(Failure::TimedOut(Stage::Body)));
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_of_a_body_is_heard() {
    let script = [&COURSE[..9], &[HearOctets(5_000), Say("552 5.3.4 too large"), HearEnd]].concat();
    let body = Body::Memory(Bytes::from(b"0123456789abcd\r\n".repeat(10_000)));
    let (delivered, _server) = deliver(&script, &consignment(&["b@mx.example"], body)).await;
    let reason = "5.3.4 the next hop said: 552 5.3.4 too large".to_owned();
    assert_eq!(*verdict(&delivered), Verdict::Refused { reason });
    assert!(delivered.connection.is_none(), "the body was not ended");
}

#[tokio::test]
async fn the_last_words_of_a_server_that_went_away_are_heard() {
    let script = [&COURSE[..9], &[Say("421 4.3.2 going down")]].concat();
    let body = Body::Memory(Bytes::from(b"0123456789abcd\r\n".repeat(10_000)));
    let (delivered, _server) = deliver(&script, &consignment(&["b@mx.example"], body)).await;
    let reason = "4.3.2 the next hop said: 421 4.3.2 going down".to_owned();
    assert_eq!(*verdict(&delivered), Verdict::PutOff { reason });
}

#[tokio::test]
async fn a_server_that_talks_without_end_is_left() {
    let floods: [(&[u8], &str); 3] = [
        (b"2222222222", "a reply line over 2000 octets"),
        (b"220-hello\r\n", "a reply over 100 lines"),
        (b"\0\0\0\0", "NUL in a reply"),
    ];
    for (flood, reason) in floods {
        let (connected, server) = open_plain(&[Flood(flood)]).await;
        let failure = connected.unwrap_err();
        assert_eq!(failure.fault(), Fault::Server);
        assert!(failure.reason().contains(reason), "{}", failure.reason());
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_large_body_comes_from_its_file_and_arrives_whole() {
    let disk = SimulatedDisk::new();
    let spool = Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap();
    let octets = b".23456789abcde\r\n".repeat(40_000);
    let body = Body::File(Arc::new(spool.store(&octets).unwrap()));
    let (delivered, server) =
        deliver(&course(&[Say("250 queued"), HearEnd]), &consignment(&["b@mx.example"], body.clone())).await;
    assert_eq!(*verdict(&delivered), Verdict::Delivered);
    drop(delivered);
    let (heard, _) = server.await.unwrap();
    assert_eq!(heard.matches("\r\n..23456789abcde").count(), 40_000);
    let path = disk.list(Path::new("/bodies")).unwrap().remove(0);
    disk.damage(&path, 10, 1);
    // Where 8-bit content is welcome it is not read before it is sent.
    let mut script = course(&[HearEnd]);
    script[2] = Say("250-mx.example\n250 8BITMIME");
    let (delivered, server) = deliver(&script, &consignment(&["b@mx.example"], body)).await;
    assert_eq!(*verdict(&delivered), Verdict::Failed(HopFailure::Body(io::ErrorKind::InvalidData)));
    assert!(delivered.connection.is_none());
    drop(delivered);
    let (_, was_ended) = server.await.unwrap();
    assert!(!was_ended, "a damaged body has no end");
}

#[tokio::test]
async fn a_body_that_cannot_even_be_looked_at_costs_no_connection() {
    let disk = SimulatedDisk::new();
    let spool = Spool::inline(Arc::new(disk.clone()), Path::new("/bodies")).unwrap();
    let body = Body::File(Arc::new(spool.store(b"x\r\n").unwrap()));
    disk.remove(&disk.list(Path::new("/bodies")).unwrap()[0]).unwrap();
    let (delivered, _server) = deliver(&COURSE[..3], &consignment(&["b@mx.example"], body)).await;
    assert!(matches!(verdict(&delivered), Verdict::Failed(HopFailure::Body(_))), "{delivered:?}");
    assert!(delivered.connection.is_some());
}

#[tokio::test]
async fn a_mail_of_eight_bits_is_encoded_for_a_server_that_takes_seven() {
    let text = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{e4}\r\n";
    let mail =
        |text: &str| consignment(&["b@mx.example"], Body::Memory(Bytes::copy_from_slice(text.as_bytes())));
    let script = course(&[Say("250 queued"), HearEnd]);
    let (delivered, server) = deliver(&script, &mail(text)).await;
    assert_eq!(*verdict(&delivered), Verdict::Delivered);
    drop(delivered);
    let (heard, _) = server.await.unwrap();
    assert!(
        heard.ends_with("Content-Transfer-Encoding: base64\r\nMIME-Version: 1.0\r\n\r\nw6QNCg==\r\n.\r\n"),
        "{heard}"
    );
    let (delivered, _server) = deliver(&script[..3], &mail(&format!("Subject: \u{e4}\r\n{text}"))).await;
    let reason = "5.6.3 the next hop takes no 8-bit content".to_owned();
    assert_eq!(*verdict(&delivered), Verdict::Refused { reason });
    assert!(delivered.connection.is_some());
}

#[tokio::test]
async fn a_chunk_goes_out_whole() {
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250-PIPELINING\n250 CHUNKING"),
        Hear("MAIL"),
        Hear("RCPT"),
        Say("250 ok\n250 ok"),
        Hear("BDAT 37 LAST"),
        HearOctets(37),
        Say("250 queued"),
        HearEnd,
    ];
    let (delivered, server) = deliver(&script, &one()).await;
    assert_eq!(*verdict(&delivered), Verdict::Delivered);
    drop(delivered);
    assert!(server.await.unwrap().0.ends_with("LAST\r\nReceived: by us\r\nSubject: x\r\n\r\n.dot\r\n"));
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_or_spoken_on_is_not_usable() {
    for then in [vec![], vec![Say("421 idle"), Stall]] {
        let (connected, server) = open_plain(&[&COURSE[..3], &then].concat()).await;
        let mut connection = connected.unwrap();
        let mut turns = 0;
        while connection.is_usable().await {
            turns += 1;
            assert!(turns < 100, "the server has had its turn");
            tokio::task::yield_now().await;
        }
        server.abort();
    }
}

#[tokio::test]
async fn a_server_that_closes_behind_its_last_reply_is_not_used_again() {
    let script = course(&[Say("250 queued\n421 that was enough"), HearEnd]);
    let (delivered, _server) = deliver(&script, &one()).await;
    assert_eq!(*verdict(&delivered), Verdict::Delivered);
    assert!(delivered.connection.is_none());
    let (connected, _server) =
        open_plain(&[Say("220 mx"), Hear("EHLO"), Say("250 mx\n421 full"), HearEnd]).await;
    assert!(matches!(connected.unwrap_err(), HopFailure::Session(Failure::ServiceClosing { .. })));
}

#[tokio::test]
async fn a_verified_server_is_logged_in_to() {
    let Credentials { server, roots } = credentials();
    let demand = TlsDemand::StartTls(Trust::authorities(roots, name()).unwrap());
    let login = Login::new("user".to_owned(), Secret::new(b"open sesame".to_vec())).unwrap();
    let hop = hop(demand).with_login(login).unwrap();
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go"),
        Secure(server),
        Hear("EHLO"),
        Say("250-mx.example\n250 AUTH PLAIN"),
        Hear("AUTH PLAIN AHVzZXIAb3BlbiBzZXNhbWU="),
        Say("235 welcome"),
        HearEnd,
    ];
    let (connected, server) = open(&hop, StartTls::Required, &script).await;
    let connection = connected.unwrap();
    assert_eq!(connection.tls().unwrap().version, "TLSv1.3");
    assert!(connection.tls().unwrap().cipher.starts_with("TLS_AES"));
    drop(connection);
    assert!(server.await.unwrap().1);
}

#[tokio::test]
async fn tls_can_come_first() {
    let Credentials { server, roots } = credentials();
    let hop = hop(TlsDemand::Implicit(Trust::authorities(roots, name()).unwrap()));
    let script = [Secure(server), Say("220 mx.example"), Hear("EHLO"), Say("250 mx.example"), HearEnd];
    let (connected, _server) = open(&hop, StartTls::Required, &script).await;
    assert!(connected.unwrap().tls().is_some());
}

#[tokio::test]
async fn a_server_that_does_not_prove_who_it_is_gets_nothing() {
    let Credentials { server, .. } = credentials();
    let Credentials { roots: others, .. } = credentials();
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go"),
        Secure(server),
        HearEnd,
    ];
    let stranger = hop(TlsDemand::StartTls(Trust::authorities(others, name()).unwrap()));
    let (connected, server) = open(&stranger, StartTls::Required, &script).await;
    let failure = connected.unwrap_err();
    assert!(matches!(failure, HopFailure::Tls(TlsFailure::Certificate(_))), "{failure:?}");
    assert!(failure.fault() == Fault::Server && failure.reason().starts_with("4.7.5 "));
    assert!(!server.await.unwrap().1);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_taken() {
    let Credentials { server, roots } = credentials();
    let other = ServerName::try_from("other.example").unwrap();
    let hop = hop(TlsDemand::Implicit(Trust::authorities(roots, other).unwrap()));
    let (connected, _server) = open(&hop, StartTls::Required, &[Secure(server)]).await;
    let failure = connected.unwrap_err();
    let HopFailure::Tls(TlsFailure::Certificate(why)) = failure else { panic!("{failure:?}") };
    assert!(matches!(
        why,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ));
}

#[tokio::test]
async fn words_injected_behind_starttls_end_the_connection() {
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250 STARTTLS"),
        Hear("STARTTLS"),
        Raw(b"220 go\r\n250-mx.example\r\n250 AUTH PLAIN\r\n"),
        HearEnd,
    ];
    let (connected, _server) = open(&hop(TlsDemand::Opportunistic), StartTls::IfOffered, &script).await;
    assert_eq!(connected.unwrap_err(), HopFailure::Session(Failure::Injected));
    // In a read of their own they are no handshake.
    let late = [&script[..4], &[Say("220 go"), HearOctets(1), Raw(b"250 injected\r\n"), HearEnd]].concat();
    let (connected, _server) = open(&hop(TlsDemand::Opportunistic), StartTls::IfOffered, &late).await;
    assert!(matches!(connected.unwrap_err(), HopFailure::Tls(TlsFailure::Handshake(_))));
}

#[test]
fn a_login_is_not_for_servers_that_prove_nothing() {
    let login = || Login::new("user".to_owned(), Secret::new(b"open sesame".to_vec())).unwrap();
    let anyone = || Trust::anyone(name()).unwrap();
    for tls in [
        TlsDemand::Never,
        TlsDemand::Opportunistic,
        TlsDemand::StartTls(anyone()),
        TlsDemand::Implicit(anyone()),
    ] {
        assert_eq!(hop(tls).with_login(login()).unwrap_err(), InsecureLogin);
    }
}

/// Takes connections on loopback, one a script.
async fn listen(scripts: Vec<Vec<Step>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut heard = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            heard.push(serve(Box::new(stream), script).await.0);
        }
        heard
    });
    (address, served)
}

#[tokio::test]
async fn where_tls_is_welcome_and_fails_the_mail_goes_in_plaintext() {
    let begun = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go"),
    ];
    let broken = [begun.as_slice(), &[HearOctets(1), Raw(b"no TLS here\r\n"), HearEnd]].concat();
    let (address, served) = listen(vec![broken, course(&[Say("250 queued"), HearEnd])]).await;
    let hop = NextHop::new("mx.example".to_owned(), address, Protocol::Smtp, TlsDemand::Opportunistic);
    let connection = courier().connect(&hop).await.unwrap();
    assert_eq!(connection.tls(), None);
    assert_eq!(connection.missed().and_then(ResultType::of), Some(ResultType::ValidationFailure));
    assert_eq!(*verdict(&connection.deliver(&one()).await), Verdict::Delivered);
    assert!(served.await.unwrap()[0].starts_with("EHLO us.example\r\nSTARTTLS\r\n"));
}

#[tokio::test]
async fn where_tls_is_welcome_any_certificate_will_do() {
    let script = [
        Say("220 mx.example"),
        Hear("EHLO"),
        Say("250-mx.example\n250 STARTTLS"),
        Hear("STARTTLS"),
        Say("220 go"),
        Secure(credentials().server),
        Hear("EHLO"),
        Say("250 mx.example"),
        HearEnd,
    ];
    let (address, _served) = listen(vec![script.to_vec()]).await;
    let name = format!("[{}]", address.ip());
    let hop = NextHop::new(name, address, Protocol::Smtp, TlsDemand::Opportunistic);
    assert!(courier().connect(&hop).await.unwrap().tls().is_some());
}

#[tokio::test]
async fn what_is_tried_first_keeps_no_mail_back_and_is_told_by_the_connection() {
    let Credentials { server, roots } = credentials();
    let trust = || Trust::authorities(Arc::clone(&roots), name()).unwrap();
    let begun = [Say("220 mx.example"), Hear("EHLO"), Say("250-mx.example\n250 STARTTLS")];
    let secured = |server| {
        let secured =
            [Hear("STARTTLS"), Say("220 go"), Secure(server), Hear("EHLO"), Say("250 mx.example"), HearEnd];
        [begun.as_slice(), &secured].concat()
    };
    let hop = |address| {
        let hop = NextHop::new("mx.example".to_owned(), address, Protocol::Smtp, TlsDemand::Opportunistic);
        hop.trying_first(Some(trust()))
    };
    let (address, _served) = listen(vec![secured(server)]).await;
    let connection = courier().connect(&hop(address)).await.unwrap();
    assert_eq!((connection.tls().is_some(), connection.missed()), (true, None));
    let stranger = || secured(credentials().server);
    let (address, _served) = listen(vec![stranger(), stranger()]).await;
    let connection = courier().connect(&hop(address)).await.unwrap();
    assert!(connection.tls().is_some());
    let missed = connection.missed().and_then(ResultType::of);
    assert_eq!(missed, Some(ResultType::CertificateNotTrusted));
    let plain = || course(&[Say("250 queued"), HearEnd]);
    let silent = vec![Say("220 mx.example"), Hear("EHLO"), Say("250 mx.example"), HearEnd];
    let (address, _served) = listen(vec![silent, plain()]).await;
    let connection = courier().connect(&hop(address)).await.unwrap();
    assert_eq!(connection.missed().and_then(ResultType::of), Some(ResultType::StarttlsNotSupported));
    assert_eq!(*verdict(&connection.deliver(&one()).await), Verdict::Delivered);
}

#[tokio::test]
async fn a_host_that_refuses_connections_is_told_as_such() {
    let (address, served) = listen(Vec::new()).await;
    served.await.unwrap();
    let hop = NextHop::new("mx.example".to_owned(), address, Protocol::Smtp, TlsDemand::Never);
    let failure = courier().connect(&hop).await.unwrap_err();
    assert_eq!(failure, HopFailure::Connect(io::ErrorKind::ConnectionRefused));
    assert!(failure.fault() == Fault::Network && failure.reason().starts_with("4.4.1 "));
}
