//! DANE: a domain says in the DNS, signed, which certificates its mail exchangers have (RFC 7672, RFC 7671, RFC 6698).
//!
//! ```text
//! TLSA records, proven -> Association: the usable ones -> Verifier: what the server shows in the handshake
//! ```

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, OtherError, RootCertStore};

use super::super::hop::Judge;

/// A TLSA record (RFC 6698 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tlsa {
    /// 2: a trust anchor that the domain names; 3: the server's own certificate. 0 and 1 are none for SMTP.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: its SHA-256; 2: its SHA-512.
    pub matching: u8,
    /// What is compared.
    pub data: Vec<u8>,
}

/// What the TLSA records of a host ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The name that they stand under, and that the server is asked for in the handshake (SNI).
    pub base: String,
    /// All of them, as published.
    pub published: Vec<Tlsa>,
    /// Those that can be checked; none: TLS, with any certificate (RFC 7672 section 2.2).
    usable: Vec<Tlsa>,
}

/// Judges what a server shows by these records.
#[derive(Debug)]
pub struct Verifier {
    usable: Vec<Tlsa>,
    /// One of which a certificate under a trust anchor must be for.
    names: Vec<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The server shows nothing that a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no TLSA record is for it")]
pub struct NoMatch;

// === impl Tlsa ===

impl Tlsa {
    /// Whether the record can be checked (RFC 7672 section 3.1): nobody but the domain vouches, in a form that we know.
    fn is_usable(&self) -> bool {
        let is_long_enough = match self.matching {
            0 => !self.data.is_empty(),
            1 => self.data.len() == SHA256.output_len(),
            2 => self.data.len() == SHA512.output_len(),
            _ => false,
        };
        matches!(self.usage, TRUST_ANCHOR | END_ENTITY) && self.selector <= PUBLIC_KEY && is_long_enough
    }

    /// Whether it is for this certificate.
    fn is_for(&self, certificate: &CertificateDer<'_>) -> bool {
        match self.selector {
            PUBLIC_KEY => ParsedCertificate::try_from(certificate)
                .is_ok_and(|certificate| self.is_of(&certificate.subject_public_key_info())),
            _ => self.is_of(certificate),
        }
    }

    fn is_of(&self, octets: &[u8]) -> bool {
        let hashed = |algorithm: &'static Algorithm| digest(algorithm, octets).as_ref() == self.data;
        match self.matching {
            1 => hashed(&SHA256),
            2 => hashed(&SHA512),
            _ => octets == self.data,
        }
    }
}

/// As in a zone file.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

// === impl Association ===

impl Association {
    /// What these records, found under this name, ask for.
    #[must_use]
    pub fn new(base: String, published: Vec<Tlsa>) -> Self {
        let mut usable: Vec<Tlsa> = published.iter().filter(|record| record.is_usable()).cloned().collect();
        // Who publishes a stronger digest is taken at that (RFC 7671 section 9).
        let strong: Vec<_> =
            usable.iter().filter(|it| it.matching == 2).map(|it| (it.usage, it.selector)).collect();
        usable.retain(|record| record.matching != 1 || !strong.contains(&(record.usage, record.selector)));
        Self { base, published, usable }
    }

    /// Whether the server must show a certificate that a record is for.
    #[must_use]
    pub const fn is_authenticating(&self) -> bool {
        !self.usable.is_empty()
    }

    /// For a server that may be known under these names besides that of its records (RFC 7672 section 3.2.2): the domain of
    /// the mail, the name in its MX record.
    #[must_use]
    pub fn verifier(&self, names: &[&str], algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        let names = names.iter().copied().chain([self.base.as_str()]);
        let names = names.filter_map(|name| ServerName::try_from(name.to_owned()).ok()).collect();
        Verifier { usable: self.usable.clone(), names, algorithms }
    }
}

// === impl Verifier ===

impl Verifier {
    /// A chain that ends in what a record names. Its names and dates count, as they would with any authority.
    fn check_under_anchor(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut anchors = RootCertStore::empty();
        for record in self.usable.iter().filter(|record| record.usage == TRUST_ANCHOR) {
            // A record that has the whole certificate is enough; the server may leave it out.
            let published = CertificateDer::from(record.data.as_slice());
            let is_whole = record.selector != PUBLIC_KEY && record.matching == 0;
            let shown = intermediates.iter().filter(|certificate| record.is_for(certificate));
            for anchor in shown.chain(is_whole.then_some(&published)) {
                // What is no certificate vouches for nothing.
                if anchors.len() < ANCHORS_MAX && anchors.add(anchor.clone()).is_err() {
                    tracing::debug!(%record, "a TLSA record for what is no certificate");
                }
            }
        }
        if anchors.is_empty() {
            return Err(no_match());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &anchors, intermediates, now, algorithms)?;
        let mut checked = Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in &self.names {
            checked = verify_server_name(&certificate, name);
            if checked.is_ok() {
                break;
            }
        }
        checked
    }
}

impl Judge for Verifier {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut of_end_entity = self.usable.iter().filter(|record| record.usage == END_ENTITY);
        // Neither its names nor its dates count (RFC 7672 section 3.1.1): the record says all.
        if of_end_entity.any(|record| record.is_for(end_entity)) {
            return Ok(());
        }
        self.check_under_anchor(end_entity, intermediates, now)
    }
}

fn no_match() -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NoMatch))))
}

/// DANE-TA.
const TRUST_ANCHOR: u8 = 2;
/// DANE-EE.
const END_ENTITY: u8 = 3;
/// Of the selectors.
const PUBLIC_KEY: u8 = 1;
/// More than any sane host has; a chain is tried against each.
const ANCHORS_MAX: usize = 8;

#[cfg(test)]
mod tests;
