//! `[[upstream]]`: one server behind, how sure we must be of it, and what it is told of us.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::super::problem::Finding;
use super::super::values::{Hostname, ListenerName};
use crate::backend::pass_through::ClientIdentity;

/// One server behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in logs and metrics.
    pub name: ListenerName,
    /// Where it listens.
    pub address: SocketAddr,
    /// What is asked of TLS with it.
    pub tls: UpstreamTls,
    /// Its share of the mail against the others'; 0: only where no other works.
    pub weight: u16,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// The files with a certificate of ours and its key, by which we prove who we are where it asks for that.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// How it is told whose mail it gets.
    pub identity: ClientIdentity,
    /// The file with our own name and password there.
    pub credentials: Option<PathBuf>,
}

/// TLS with a server behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    /// None is begun: for a network that nobody else is in.
    None,
    /// STARTTLS where it is offered, in the clear where it fails.
    Opportunistic,
    /// STARTTLS or no mail, whosever certificate it is.
    Required,
    /// STARTTLS, and a certificate that proves who it is.
    Verified(UpstreamProof),
    /// The same, but TLS comes before the first word (RFC 8314).
    Implicit(UpstreamProof),
}

/// What a certificate must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamProof {
    /// That an authority vouches for it.
    Authorities {
        /// For this name; `None`: for the address.
        name: Option<Hostname>,
        /// Who vouches; `None`: whom the machine trusts.
        file: Option<PathBuf>,
    },
    /// That its key is one of these: SHA-256 of the public key (SPKI); at least one.
    Pins {
        /// Who is asked for (SNI); `None`: nobody.
        name: Option<Hostname>,
        /// The digests.
        digests: Vec<[u8; 32]>,
    },
}

/// `[[upstream]]`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WrittenUpstream {
    pub(super) name: Spanned<ListenerName>,
    pub(super) address: Spanned<SocketAddr>,
    tls: Option<WrittenTls>,
    tls_name: Option<Spanned<Hostname>>,
    authorities: Option<Spanned<PathBuf>>,
    pins: Option<Spanned<Vec<Pin>>>,
    weight: Option<u16>,
    connections: Option<NonZeroU32>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    identity: Option<Spanned<ClientIdentity>>,
    pub(super) credentials: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenTls {
    None,
    #[default]
    Opportunistic,
    Required,
    Verified,
    Implicit,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Pin([u8; 32]);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a pin (write sha256: and the 64 hexadecimal digits of a public key's SHA-256): {0:?}")]
struct InvalidPin(String);

// === impl WrittenUpstream ===

impl WrittenUpstream {
    pub(super) fn check(self, findings: &mut Vec<Finding>) -> Upstream {
        let written = self.tls.unwrap_or_default();
        let is_verified = matches!(written, WrittenTls::Verified | WrittenTls::Implicit);
        let of_proof = [
            self.tls_name.as_ref().map(Spanned::span),
            self.authorities.as_ref().map(Spanned::span),
            self.pins.as_ref().map(Spanned::span),
        ];
        findings.extend(of_proof.into_iter().flatten().filter(|_| !is_verified).map(|span| {
            Finding::at(span, "no certificate is verified here")
                .hint("tls = \"verified\" or tls = \"implicit\"")
        }));
        if let Some(credentials) = self.credentials.as_ref().filter(|_| !is_verified) {
            findings.push(
                Finding::at(
                    credentials.span(),
                    "a password goes to a server alone whose certificate is verified",
                )
                .hint("tls = \"verified\" or tls = \"implicit\""),
            );
        }
        if let (Some(credentials), Some(ClientIdentity::Xclient)) =
            (&self.credentials, self.identity.as_ref().map(Spanned::get_ref))
        {
            findings.push(
                Finding::at(credentials.span(), "XCLIENT says that a client speaks, a login that we do")
                    .hint("remove credentials, or identity"),
            );
        }
        if let (Some(authorities), Some(_)) = (&self.authorities, &self.pins) {
            findings
                .push(Finding::at(authorities.span(), "a key that is pinned needs nobody to vouch for it"));
        }
        if let Some(pins) = self.pins.as_ref().filter(|pins| pins.get_ref().is_empty()) {
            findings.push(Finding::at(pins.span(), "no key at all would be taken"));
        }
        let pair = pair(self.certificate, self.key, written, findings);
        let name = self.tls_name.map(Spanned::into_inner);
        let proof = match self.pins {
            None => UpstreamProof::Authorities { name, file: self.authorities.map(Spanned::into_inner) },
            Some(pins) => {
                let digests = pins.into_inner().into_iter().map(|pin| pin.0).collect();
                UpstreamProof::Pins { name, digests }
            }
        };
        Upstream {
            name: self.name.into_inner(),
            address: self.address.into_inner(),
            tls: match written {
                WrittenTls::None => UpstreamTls::None,
                WrittenTls::Opportunistic => UpstreamTls::Opportunistic,
                WrittenTls::Required => UpstreamTls::Required,
                WrittenTls::Verified => UpstreamTls::Verified(proof),
                WrittenTls::Implicit => UpstreamTls::Implicit(proof),
            },
            weight: self.weight.unwrap_or(1),
            connections: self.connections.unwrap_or(CONNECTIONS_DEFAULT),
            pair,
            identity: self.identity.map(Spanned::into_inner).unwrap_or_default(),
            credentials: self.credentials.map(Spanned::into_inner),
        }
    }
}

/// Both or neither, and only where TLS is sure: a server that wants them has no use for mail without.
fn pair(
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    tls: WrittenTls,
    findings: &mut Vec<Finding>,
) -> Option<(PathBuf, PathBuf)> {
    let span = certificate.as_ref().or(key.as_ref()).map(Spanned::span)?;
    if matches!(tls, WrittenTls::None | WrittenTls::Opportunistic) {
        findings.push(
            Finding::at(span.clone(), "a certificate of ours is shown inside TLS alone")
                .hint("tls = \"required\", tls = \"verified\" or tls = \"implicit\""),
        );
    }
    let is_whole = certificate.is_some() && key.is_some();
    if !is_whole {
        findings.push(Finding::at(span, "a certificate and its key go together").hint("certificate and key"));
    }
    Some((certificate?.into_inner(), key?.into_inner()))
}

// === impl Pin ===

impl TryFrom<String> for Pin {
    type Error = InvalidPin;

    fn try_from(text: String) -> Result<Self, InvalidPin> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii());
        let mut pin = [0; 32];
        let read = digits.is_some_and(|digits| {
            pin.iter_mut().zip(digits.as_bytes().chunks(2)).all(|(octet, pair)| {
                let pair = std::str::from_utf8(pair).unwrap_or_default();
                let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
                u8::from_str_radix(pair, 16).map(|value| *octet = value).is_ok() && is_hex
            })
        });
        if read { Ok(Self(pin)) } else { Err(InvalidPin(text)) }
    }
}

/// What servers take of one client: Postfix 50 by default, Exchange 20, neither of a network that they trust.
const CONNECTIONS_DEFAULT: NonZeroU32 = NonZeroU32::new(100).expect("a hundred is not zero");
