//! Signatures of one key.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::SigningKey;
use super::canonical::{Field, fields};

/// Signs in the name of one domain.
#[derive(Debug)]
pub struct Signer {
    domain: String,
    selector: Selector,
    key: SigningKey,
}

/// The name of a key below `_domainkey` of its domain (RFC 6376 section 3.1): labels of letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

/// Not a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a selector (labels of letters, digits and hyphens, such as s2026)")]
pub struct InvalidName;

/// Why a mail was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// RFC 6376 section 5.4 wants `From` signed; RFC 5322 wants it there once.
    #[error("the mail has not exactly one From field")]
    From,
    /// The library could not.
    #[error("the signature could not be made")]
    Failed,
}

// === impl Signer ===

impl Signer {
    /// `domain` in A-labels.
    #[must_use]
    pub fn new(domain: &str, selector: Selector, key: SigningKey) -> Self {
        Self { domain: domain.to_ascii_lowercase(), selector, key }
    }

    /// In whose name it signs: A-labels, lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where the public key is to be found.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// A `DKIM-Signature` field with its line end, to stand before the header section. `header` is that section without
    /// the empty line, `now` seconds since 1970.
    ///
    /// # Errors
    /// See `SignError`.
    pub fn sign(&self, header: &[u8], body_hash: &[u8; 32], now: u64) -> Result<String, SignError> {
        let fields = fields(header);
        if fields.iter().filter(|field| is_named(field, "from")).count() != 1 {
            return Err(SignError::From);
        }
        let (names, mut signed) = signed_fields(&fields);
        let unsigned = format!(
            "v=1; a={}; c=relaxed/relaxed; d={};\r\n\ts={}; t={now};\r\n\th={};\r\n\tbh={};\r\n\tb=",
            self.key.algorithm().name(),
            self.domain,
            self.selector,
            names.join(":\r\n\t "),
            BASE64.encode(body_hash),
        );
        let own = Field { name: NAME.as_bytes(), value: unsigned.as_bytes() };
        signed.extend_from_slice(&own.relaxed());
        let signature = BASE64.encode(self.key.sign(&signed).ok_or(SignError::Failed)?);
        let mut line = format!("{NAME}: {unsigned}");
        let mut rest = signature.as_str();
        while let Some((piece, after)) = rest.split_at_checked(COLUMNS) {
            line.push_str(piece);
            line.push_str("\r\n\t ");
            rest = after;
        }
        line.push_str(rest);
        line.push_str("\r\n");
        Ok(line)
    }
}

/// The names for `h=`, and the fields in their canonical form. Where a name comes more than once, the lowest field is
/// taken first (RFC 6376 section 5.4.2). Names that must not be added behind our back are there once more than their
/// fields: so a second `From` or `Subject` breaks the signature.
fn signed_fields(fields: &[Field<'_>]) -> (Vec<&'static str>, Vec<u8>) {
    let (mut names, mut signed) = (Vec::new(), Vec::new());
    for (name, is_sealed) in SIGNED {
        for field in fields.iter().rev().filter(|field| is_named(field, name)) {
            names.push(name);
            signed.extend_from_slice(&field.relaxed());
            signed.extend_from_slice(b"\r\n");
        }
        if is_sealed {
            names.push(name);
        }
    }
    (names, signed)
}

fn is_named(field: &Field<'_>, name: &str) -> bool {
    field.name.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

// === impl Selector ===

impl FromStr for Selector {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > SELECTOR_OCTETS_MAX || !text.split('.').all(is_label) {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const NAME: &str = "DKIM-Signature";
/// What RFC 6376 section 5.4.1 names, and whether another field of that name may not be added.
const SIGNED: [(&str, bool); 18] = [
    ("from", true),
    ("to", true),
    ("cc", true),
    ("subject", true),
    ("date", true),
    ("message-id", true),
    ("reply-to", true),
    ("sender", true),
    ("in-reply-to", true),
    ("references", true),
    ("mime-version", true),
    ("content-type", true),
    ("content-transfer-encoding", true),
    ("content-disposition", false),
    ("list-id", false),
    ("list-help", false),
    ("list-unsubscribe", false),
    ("list-unsubscribe-post", false),
];
const COLUMNS: usize = 72;
/// With `_domainkey` and a domain it must fit into a name of 253 octets.
const SELECTOR_OCTETS_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;

    use super::*;
    use crate::dkim::{Algorithm, BodyHash};

    const HEADER: &[u8] = b"From: me@example.org\r\nTo: you@example.net\r\nSubject: a\r\n  folded  one\r\n\
        Received: x\r\nList-Id: 1\r\nlist-id: 2\r\n";

    fn signer(algorithm: Algorithm) -> Signer {
        let key = SigningKey::generate(algorithm).unwrap();
        Signer::new("Example.ORG", "s1".parse().unwrap(), key)
    }

    fn body_hash() -> [u8; 32] {
        let mut hash = BodyHash::default();
        hash.update(b"body\r\n");
        hash.finish()
    }

    #[test]
    fn a_signature_covers_what_it_says() {
        for algorithm in [Algorithm::Ed25519, Algorithm::Rsa] {
            let signer = signer(algorithm);
            let line = signer.sign(HEADER, &body_hash(), 1_700_000_000).unwrap();
            assert!(line.lines().all(|line| line.len() <= 78), "{line}");
            let (unsigned, signature) = line.split_once("\tb=").unwrap();
            let names = line.split_once("h=").unwrap().1.split_once(';').unwrap().0;
            let names: Vec<&str> = names.split(':').map(str::trim).collect();
            assert_eq!(names[..6], ["from", "from", "to", "to", "cc", "subject"]);
            let mut signed = b"from:me@example.org\r\nto:you@example.net\r\nsubject:a folded one\r\n\
                list-id:2\r\nlist-id:1\r\ndkim-signature:"
                .to_vec();
            let (_, value) = unsigned.split_once(':').unwrap();
            let words: Vec<&str> = value.split_whitespace().chain(["b="]).collect();
            signed.extend_from_slice(words.join(" ").as_bytes());
            let signature: String = signature.split_whitespace().collect();
            let signature = BASE64.decode(signature).unwrap();
            let record = signer.key.dns_record().unwrap();
            let public = BASE64.decode(record.split_once("p=").unwrap().1).unwrap();
            let verified = match algorithm {
                Algorithm::Ed25519 => {
                    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &signed);
                    UnparsedPublicKey::new(&ED25519, public).verify(hash.as_ref(), &signature)
                }
                Algorithm::Rsa => {
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(&signed, &signature)
                }
            };
            assert!(verified.is_ok(), "{line}");
        }
    }

    #[test]
    fn a_mail_without_one_from_is_not_signed() {
        let signer = signer(Algorithm::Ed25519);
        for header in [&b"To: a@b\r\n"[..], b"", b"From: a@b\r\nfrom : c@d\r\n"] {
            assert_eq!(signer.sign(header, &body_hash(), 0), Err(SignError::From));
        }
    }

    #[test]
    fn selectors_are_names() {
        assert_eq!(signer(Algorithm::Ed25519).record_name(), "s1._domainkey.example.org");
        for bad in ["", "a b", "a;b", "-a", "a..b", "ä", &"a".repeat(64)] {
            assert_eq!(bad.parse::<Selector>(), Err(InvalidName), "{bad}");
        }
        assert!("s2026.mail".parse::<Selector>().is_ok());
    }

    proptest! {
        #[test]
        fn no_header_panics_and_none_leaves_the_field(header: Vec<u8>) {
            let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
            let signer = Signer::new("example.org", "s1".parse().unwrap(), key);
            let header = [b"From: a@b\r\n".to_vec(), header].concat();
            if let Ok(line) = signer.sign(&header, &body_hash(), 0) {
                prop_assert!(line.is_ascii() && line.ends_with("\r\n"));
                prop_assert_eq!(fields(line.as_bytes()).len(), 1);
            }
        }
    }
}
