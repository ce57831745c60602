//! Private keys, and the DNS records of their public halves.

use std::fmt::Write as _;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// With what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `ed25519-sha256` (RFC 8463): short, and not known to every receiver.
    Ed25519,
    /// `rsa-sha256`, 2048 bits: what everybody knows.
    Rsa,
}

/// A key that signs. Its `Debug` shows nothing of it.
pub struct SigningKey(Pair);

enum Pair {
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// Why a text is no key, or there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM of a private key.
    #[error("not a private key in PEM (PKCS #8, or PKCS #1 for RSA)")]
    NotPem,
    /// A key of another kind, or a damaged one.
    #[error("not an Ed25519 key, nor an RSA key of 2048 to 4096 bits")]
    NotUsable,
    /// The system has no randomness.
    #[error("no key could be made")]
    NotMade,
}

// === impl Algorithm ===

impl Algorithm {
    /// `a=` of a signature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519-sha256",
            Self::Rsa => "rsa-sha256",
        }
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// `NotMade`.
    pub fn generate(algorithm: Algorithm) -> Result<Self, InvalidKey> {
        let pair = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::generate().map(Box::new).map(Pair::Ed25519),
            Algorithm::Rsa => RsaKeyPair::generate(KeySize::Rsa2048).map(Box::new).map(Pair::Rsa),
        };
        pair.map(Self).map_err(|_| InvalidKey::NotMade)
    }

    /// Reads what `to_pem` writes, and what openssl makes.
    ///
    /// # Errors
    /// `NotPem`, `NotUsable`.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let (label, der) = pem(text).ok_or(InvalidKey::NotPem)?;
        let pair = match label {
            PKCS1 => RsaKeyPair::from_der(&der).map(Box::new).map(Pair::Rsa),
            _ => Ed25519KeyPair::from_pkcs8(&der)
                .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der))
                .map(Box::new)
                .map(Pair::Ed25519)
                .or_else(|_| RsaKeyPair::from_pkcs8(&der).map(Box::new).map(Pair::Rsa)),
        };
        match pair.map_err(|_| InvalidKey::NotUsable)? {
            Pair::Rsa(pair) if !RSA_OCTETS.contains(&pair.public_modulus_len()) => Err(InvalidKey::NotUsable),
            pair => Ok(Self(pair)),
        }
    }

    /// The key as PEM, PKCS #8.
    ///
    /// # Errors
    /// `NotUsable`, which does not happen to a key that was made or read here.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, InvalidKey> {
        let der: Result<Pkcs8V1Der<'_>, _> = match &self.0 {
            Pair::Ed25519(pair) => pair.as_der(),
            Pair::Rsa(pair) => pair.as_der(),
        };
        let encoded = Zeroizing::new(BASE64.encode(der.map_err(|_| InvalidKey::NotUsable)?.as_ref()));
        let mut text = Zeroizing::new(format!("-----BEGIN {PKCS8}-----\n"));
        let mut rest = encoded.as_str();
        while let Some((line, after)) = rest.split_at_checked(PEM_COLUMNS) {
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        if !rest.is_empty() {
            text.push_str(rest);
            text.push('\n');
        }
        // Writing into memory does not fail.
        let _written = writeln!(text, "-----END {PKCS8}-----");
        Ok(text)
    }

    /// The value of the TXT record at `SELECTOR._domainkey.DOMAIN` (RFC 6376 section 3.6.1, RFC 8463 section 4).
    ///
    /// # Errors
    /// `NotUsable`, as `to_pem`.
    pub fn dns_record(&self) -> Result<String, InvalidKey> {
        Ok(match &self.0 {
            Pair::Ed25519(pair) => {
                format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(pair.public_key().as_ref()))
            }
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> =
                    pair.public_key().as_der().map_err(|_| InvalidKey::NotUsable)?;
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(der.as_ref()))
            }
        })
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Pair::Ed25519(_) => Algorithm::Ed25519,
            Pair::Rsa(_) => Algorithm::Rsa,
        }
    }

    /// Signs what was canonicalised. `None` for want of memory or randomness.
    pub(super) fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            // RFC 8463 section 3: the hash is what Ed25519 signs.
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
                Some(pair.sign(hash.as_ref()).as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.algorithm()).finish()
    }
}

/// The label and the octets of the first private key in a text.
fn pem(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (_, text) = text.split_once("-----BEGIN ")?;
    let (label, text) = text.split_once("-----")?;
    let (encoded, _) = text.split_once("-----END ")?;
    if label != PKCS8 && label != PKCS1 {
        return None;
    }
    let encoded = Zeroizing::new(encoded.split_ascii_whitespace().collect::<String>());
    Some((label, Zeroizing::new(BASE64.decode(encoded.as_bytes()).ok()?)))
}

const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";
/// RFC 7468 section 2.
const PEM_COLUMNS: usize = 64;
/// RFC 8301 section 3.2: at least 1024 bits must be, and 2048 should be; longer records than those of 4096 do not travel.
const RSA_OCTETS: std::ops::RangeInclusive<usize> = 256..=512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_survives_its_text_and_has_a_record() {
        for (algorithm, record) in
            [(Algorithm::Ed25519, "v=DKIM1; k=ed25519; p="), (Algorithm::Rsa, "v=DKIM1; k=rsa; p=MIIB")]
        {
            let key = SigningKey::generate(algorithm).unwrap();
            let text = key.to_pem().unwrap();
            let read = SigningKey::from_pem(&text).unwrap();
            assert_eq!(read.algorithm(), algorithm);
            assert_eq!(read.dns_record().unwrap(), key.dns_record().unwrap());
            assert!(key.dns_record().unwrap().starts_with(record));
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(read.sign(b"text"), key.sign(b"text"));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let empty = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
        assert_eq!(SigningKey::from_pem("").unwrap_err(), InvalidKey::NotPem);
        assert_eq!(SigningKey::from_pem(certificate).unwrap_err(), InvalidKey::NotPem);
        assert_eq!(SigningKey::from_pem(empty).unwrap_err(), InvalidKey::NotUsable);
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(Ed25519)");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, octets: Vec<u8>) {
            let _ = SigningKey::from_pem(&text);
            let _ = SigningKey::from_pem(&format!("-----BEGIN {PKCS8}-----\n{}\n-----END ", BASE64.encode(octets)));
        }
    }
}
