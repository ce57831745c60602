//! Logins by SCRAM, at servers that know the password and at others.

use std::num::NonZeroU32;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_smtp::client::scram::ScramFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::super::wire::Stream;
use super::server::hear;
use super::*;
use crate::directory::{Password, ScramVerifier};

/// A server that knows a password, or says so.
#[derive(Clone, Copy)]
struct Host {
    mechanisms: &'static str,
    password: &'static str,
    rounds: u32,
    says: Says,
}

#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// What is so.
    Truth,
    /// That any proof is right, signed with what it has.
    Welcome,
    /// The same, without a signature.
    Bare,
}

/// What the server has seen.
#[derive(Debug)]
struct Seen {
    heard: String,
    was_right: bool,
    was_bound: bool,
}

const HOST: Host = Host {
    mechanisms: "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS",
    password: "open sesame",
    rounds: 4096,
    says: Says::Truth,
};

/// The client knows this password.
async fn log_in(host: Host, password: &[u8]) -> (Result<(), HopFailure>, Seen) {
    let Credentials { server, roots } = credentials();
    let login = Login::new("user".to_owned(), Secret::new(password.to_vec())).unwrap();
    let demand = TlsDemand::Implicit(Trust::authorities(roots, name()).unwrap());
    let hop = hop(demand).with_login(login).unwrap();
    let (ours, theirs) = tokio::io::duplex(4096);
    let served = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await.unwrap();
        let exporter = stream.get_ref().1;
        let exporter =
            exporter.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).unwrap();
        host.serve(&mut stream, exporter).await
    });
    let connected = courier().open(Box::new(ours), &hop, StartTls::Required).await.map(drop);
    (connected, served.await.unwrap())
}

// === impl Host ===

impl Host {
    async fn serve(self, stream: &mut dyn Stream, exporter: [u8; 32]) -> Seen {
        let mut seen = Seen { heard: String::new(), was_right: false, was_bound: false };
        self.converse(stream, exporter, &mut seen).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        seen.heard.push_str(&String::from_utf8_lossy(&rest));
        seen
    }

    /// Until the client goes away, or is logged in.
    async fn converse(self, stream: &mut dyn Stream, exporter: [u8; 32], seen: &mut Seen) -> Option<()> {
        say(stream, "220 mx.example").await?;
        line(stream, seen).await?;
        say(stream, &format!("250-mx.example\r\n250 AUTH {}", self.mechanisms)).await?;
        let auth = line(stream, seen).await?;
        let Some(first) = auth.strip_prefix("AUTH SCRAM-SHA-256") else {
            return say(stream, "235 so be it").await;
        };
        let first = decode(first.split_once(' ').unwrap().1);
        let (flag, bare) = first.split_once(",,").unwrap();
        let nonce = bare.split_once(",r=").unwrap().1;
        let server_first = format!("r={nonce}more,s=c2FsdA==,i={}", self.rounds);
        say(stream, &format!("334 {}", BASE64_STANDARD.encode(&server_first))).await?;
        let last = decode(&line(stream, seen).await?);
        let (without_proof, proof) = last.split_once(",p=").unwrap();
        let binding = without_proof.strip_prefix("c=").unwrap().split_once(",r=").unwrap().0;
        let binding = BASE64_STANDARD.decode(binding).unwrap();
        seen.was_bound = binding == [b"p=tls-exporter,,".as_slice(), &exporter].concat();
        assert!(seen.was_bound || binding == format!("{flag},,").as_bytes());
        let proof = BASE64_STANDARD.decode(proof).unwrap().try_into().unwrap();
        let verifier = ScramVerifier::derive(
            &Password::prepare(self.password.as_bytes()).unwrap(),
            b"salt".to_vec(),
            NonZeroU32::new(self.rounds).unwrap(),
        );
        let signature = verifier.check(format!("{bare},{server_first},{without_proof}").as_bytes(), &proof);
        seen.was_right = signature.is_some();
        match (signature, self.says) {
            (None, Says::Truth) => return say(stream, "535 5.7.8 no").await,
            (_, Says::Bare) => return say(stream, "235 welcome").await,
            (signature, Says::Truth | Says::Welcome) => {
                let signature = BASE64_STANDARD.encode(signature.unwrap_or([1; 32]));
                say(stream, &format!("334 {}", BASE64_STANDARD.encode(format!("v={signature}")))).await?;
            }
        }
        assert_eq!(line(stream, seen).await?, "");
        say(stream, "235 welcome").await
    }
}

async fn say(stream: &mut dyn Stream, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn line(stream: &mut dyn Stream, seen: &mut Seen) -> Option<String> {
    let line = hear(stream, |heard| heard.ends_with(b"\r\n")).await?;
    seen.heard.push_str(&line);
    Some(line.trim_end().to_owned())
}

fn decode(text: &str) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_with_scram_learns_that_we_know_the_password_and_not_which() {
    let (connected, seen) = log_in(HOST, b"open sesame").await;
    assert_eq!(connected, Ok(()));
    assert!(seen.was_right && seen.was_bound, "{seen:?}");
    assert!(seen.heard.contains("AUTH SCRAM-SHA-256-PLUS ") && !seen.heard.contains("PLAIN"), "{seen:?}");

    let (connected, seen) = log_in(Host { mechanisms: "PLAIN SCRAM-SHA-256", ..HOST }, b"open sesame").await;
    assert_eq!(connected, Ok(()));
    assert!(seen.was_right && !seen.was_bound, "{seen:?}");
}

#[tokio::test]
async fn a_password_is_prepared_as_servers_do_it() {
    let host = Host { password: "IX a", ..HOST };
    let (connected, seen) = log_in(host, "I\u{ad}X\u{a0}\u{aa}".as_bytes()).await;
    assert!(connected.is_ok() && seen.was_right, "{connected:?}");
}

#[tokio::test]
async fn a_password_that_scram_cannot_carry_goes_as_it_is() {
    let (connected, seen) = log_in(HOST, b"\xff\xfe").await;
    assert!(connected.is_ok() && seen.heard.contains("AUTH PLAIN "), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_not_told_it_and_gets_no_mail() {
    let stranger = Host { password: "sesame open", ..HOST };
    for says in [Says::Welcome, Says::Bare] {
        let (connected, seen) = log_in(Host { says, ..stranger }, b"open sesame").await;
        assert_eq!(connected, Err(Failure::Scram(ScramFault::Unproven).into()));
        assert!(connected.unwrap_err().reason().starts_with("4.7.0 "));
        assert!(!seen.was_right && seen.heard.lines().count() == 3, "{seen:?}");
    }
    let (connected, seen) = log_in(stranger, b"open sesame").await;
    assert!(matches!(connected, Err(HopFailure::Session(Failure::Refused { stage: Stage::Auth, .. }))));
    assert!(seen.heard.ends_with("QUIT\r\n") && !seen.heard.contains("PLAIN"), "{seen:?}");
    let (connected, _) = log_in(Host { says: Says::Bare, ..HOST }, b"open sesame").await;
    assert_eq!(
        connected,
        Err(Failure::Scram(ScramFault::Unproven).into()),
        "right, and without a proof of its own"
    );
}

#[tokio::test]
async fn a_server_that_asks_for_too_little_or_too_much_work_gets_none() {
    for (rounds, fault) in [
        (1, ScramFault::TooFewIterations),
        (4_095, ScramFault::TooFewIterations),
        (1_000_001, ScramFault::TooManyIterations),
        (4_000_000_000, ScramFault::TooManyIterations),
    ] {
        let (connected, seen) = log_in(Host { rounds, ..HOST }, b"open sesame").await;
        assert_eq!(connected, Err(Failure::Scram(fault).into()));
        assert_eq!(seen.heard.lines().count(), 2, "EHLO and AUTH: {seen:?}");
    }
}
