//! A server on the other end of a stream that does what a script says, however unlikely.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::super::wire::Stream;

/// One thing that a server does. When the script is over it drops the connection.
#[derive(Clone)]
pub(super) enum Step {
    /// Says lines; a line break is CRLF, and one is added.
    Say(&'static str),
    /// Says octets.
    Raw(&'static [u8]),
    /// Says the same over and over until nobody listens.
    Flood(&'static [u8]),
    /// Reads a line that begins like this.
    Hear(&'static str),
    /// Reads up to the final dot.
    HearBody,
    /// Reads so many octets.
    HearOctets(usize),
    /// Closes its own side, and reads to the end of the client's.
    HearEnd,
    /// Does nothing for ever.
    Stall,
    /// Does TLS.
    Secure(Arc<ServerConfig>),
}

/// A certificate for `mx.example`, and the server and the client that trust in it.
pub(super) struct Credentials {
    pub(super) server: Arc<ServerConfig>,
    pub(super) roots: Arc<RootCertStore>,
}

pub(super) fn credentials() -> Credentials {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
    let certificate = CertificateDer::from(cert.der().to_vec());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Credentials { server: Arc::new(server), roots: Arc::new(roots) }
}

/// Goes through the script; answers what it has heard, and whether all of the script was gone through.
pub(super) async fn serve(mut stream: Box<dyn Stream>, script: Vec<Step>) -> (String, bool) {
    let mut heard = String::new();
    for step in script {
        let is_done = match step {
            Step::Say(text) => {
                let text = format!("{}\r\n", text.replace('\n', "\r\n"));
                let is_said = stream.write_all(text.as_bytes()).await.is_ok() && stream.flush().await.is_ok();
                // What is said in two steps is heard in two reads.
                tokio::task::yield_now().await;
                is_said
            }
            Step::Raw(octets) => stream.write_all(octets).await.is_ok() && stream.flush().await.is_ok(),
            Step::Flood(octets) => {
                while stream.write_all(octets).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                true
            }
            Step::Hear(start) => match hear(&mut *stream, |heard| heard.ends_with(b"\r\n")).await {
                Some(line) => {
                    assert!(line.starts_with(start), "{start:?} was to be heard, and {line:?} was");
                    heard.push_str(&line);
                    true
                }
                None => false,
            },
            Step::HearBody => {
                let end = |heard: &[u8]| heard == b".\r\n" || heard.ends_with(b"\r\n.\r\n");
                hear(&mut *stream, end).await.map(|body| heard.push_str(&body)).is_some()
            }
            Step::HearOctets(count) => hear(&mut *stream, |heard| heard.len() == count)
                .await
                .map(|body| heard.push_str(&body))
                .is_some(),
            Step::HearEnd => {
                let _ = stream.shutdown().await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                heard.push_str(&String::from_utf8_lossy(&rest));
                true
            }
            Step::Stall => std::future::pending().await,
            Step::Secure(config) => match TlsAcceptor::from(config).accept(stream).await {
                Ok(secured) => {
                    stream = Box::new(secured);
                    true
                }
                Err(_) => return (heard, false),
            },
        };
        if !is_done {
            return (heard, false);
        }
    }
    (heard, true)
}

pub(super) async fn hear(stream: &mut dyn Stream, is_whole: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut heard = Vec::new();
    while !is_whole(&heard) {
        heard.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(heard).unwrap())
}
