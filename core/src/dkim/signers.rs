//! All signers of an installation, and which of them sign a mail.

use std::io::{self, Read};

use gatepost_smtp::wire::path::{Domain, Mailbox};
use mail_parser::MessageParser;
use memchr::memmem;

use super::{BodyHash, Signer};
use crate::intake::Body;

/// Signers, several a domain where it has several keys.
#[derive(Debug, Default)]
pub struct Signers(Vec<Signer>);

// === impl Signers ===

impl Signers {
    /// Of these.
    #[must_use]
    pub const fn new(signers: Vec<Signer>) -> Self {
        Self(signers)
    }

    /// Whether no mail is signed at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The signatures for a mail, as lines to stand before it: of all keys of its author's domain, where `may_sign` lets him
    /// have one. The author is the only address in `From`; a mail with none or several is not signed. `now`: seconds since
    /// 1970. Blocking: reads the body once, and holds no more of it than its header section.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn sign(&self, body: &Body, may_sign: impl FnOnce(&Mailbox) -> bool, now: u64) -> io::Result<String> {
        let mut reader = body.reader()?;
        let Some((header, start)) = read_header(&mut reader)? else { return Ok(String::new()) };
        let Some(author) = author(&header).filter(may_sign) else { return Ok(String::new()) };
        let Some(domain) = a_labels(&author) else { return Ok(String::new()) };
        let mut signers = self.0.iter().filter(|signer| signer.domain() == domain).peekable();
        if signers.peek().is_none() {
            return Ok(String::new());
        }
        let mut hash = BodyHash::default();
        hash.update(&start);
        let mut piece = vec![0; PIECE_OCTETS];
        loop {
            let count = reader.read(&mut piece)?;
            if count == 0 {
                break;
            }
            hash.update(piece.get(..count).unwrap_or_default());
        }
        let hash = hash.finish();
        let mut lines = String::new();
        for signer in signers {
            match signer.sign(&header, &hash, now) {
                Ok(line) => lines.push_str(&line),
                Err(error) => tracing::warn!(domain, %error, "a mail goes without a signature"),
            }
        }
        Ok(lines)
    }
}

/// The header section without the empty line, and the first octets of the body. `None` where the section does not end,
/// or is empty.
fn read_header(reader: &mut impl Read) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut octets = Vec::new();
    let mut looked_at = 0_usize;
    while octets.len() <= HEADER_OCTETS_MAX {
        let before = octets.len();
        reader.by_ref().take(PIECE_OCTETS as u64).read_to_end(&mut octets)?;
        let found = memmem::find(octets.get(looked_at..).unwrap_or_default(), b"\r\n\r\n");
        if let Some(at) = found {
            let end = looked_at.saturating_add(at).saturating_add(2);
            let body = octets.split_off(end.saturating_add(2).min(octets.len()));
            octets.truncate(end);
            return Ok(Some((octets, body)));
        }
        if octets.len() == before {
            return Ok(None);
        }
        looked_at = octets.len().saturating_sub(3);
    }
    Ok(None)
}

/// The only address in `From`.
fn author(header: &[u8]) -> Option<Mailbox> {
    let parsed = MessageParser::new().parse_headers(header)?;
    let mut addresses = parsed.from()?.iter();
    let (first, None) = (addresses.next()?, addresses.next()) else { return None };
    first.address()?.parse().ok()
}

fn a_labels(author: &Mailbox) -> Option<String> {
    match author.domain() {
        Domain::Name(name) => idna::domain_to_ascii(name).ok(),
        Domain::Address(_) => None,
    }
}

const PIECE_OCTETS: usize = 64 * 1024;
/// What the header firewall lets through at most.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dkim::{Algorithm, SigningKey};

    fn signers() -> Signers {
        let signer = |domain, selector: &str, algorithm| {
            Signer::new(domain, selector.parse().unwrap(), SigningKey::generate(algorithm).unwrap())
        };
        Signers::new(vec![
            signer("example.org", "r", Algorithm::Rsa),
            signer("example.org", "e", Algorithm::Ed25519),
            signer("example.net", "e", Algorithm::Ed25519),
        ])
    }

    fn sign(signers: &Signers, mail: &str, may_sign: bool) -> String {
        signers.sign(&Body::Memory(mail.to_owned().into()), |_| may_sign, 0).unwrap()
    }

    #[test]
    fn all_keys_of_the_authors_domain_sign() {
        let signers = signers();
        let lines = sign(&signers, "From: Me <me@Example.org>\r\n\r\nbody\r\n", true);
        assert_eq!(lines.matches("DKIM-Signature: v=1; ").count(), 2, "{lines}");
        assert!(lines.contains("a=rsa-sha256;") && lines.contains("a=ed25519-sha256;"), "{lines}");
        assert!(!lines.contains("example.net"), "{lines}");
    }

    #[test]
    fn what_nobody_has_a_right_to_is_not_signed() {
        let signers = signers();
        for mail in [
            "From: me@example.com\r\n\r\n",
            "From: me@example.org, you@example.org\r\n\r\n",
            "From: me@example.org\r\nFrom: me@example.org\r\n\r\n",
            "From: nobody\r\n\r\n",
            "Subject: x\r\n\r\n",
            "\r\nFrom: me@example.org\r\n\r\n",
            "From: me@example.org\r\n",
            "",
        ] {
            assert_eq!(sign(&signers, mail, true), "", "{mail:?}");
        }
        assert_eq!(sign(&signers, "From: me@example.org\r\n\r\n", false), "");
    }

    #[test]
    fn a_long_header_is_found_to_its_end() {
        let signers = signers();
        for octets in [65_500, 65_530, 131_060, 300_000] {
            let mail = format!("From: me@example.org\r\nX-Long: {}\r\n\r\nbody\r\n", "x".repeat(octets));
            assert_eq!(sign(&signers, &mail, true).matches("DKIM-Signature").count(), 2);
        }
        let endless = format!("From: me@example.org\r\nX-Long: {}\r\n\r\n", "x".repeat(2 << 20));
        assert_eq!(sign(&signers, &endless, true), "");
    }

    proptest! {
        #[test]
        fn no_mail_panics(mail: Vec<u8>) {
            let signers = Signers::new(Vec::new());
            let mail = [b"From: me@example.org\r\n".to_vec(), mail].concat();
            prop_assert_eq!(signers.sign(&Body::Memory(mail.into()), |_| true, 0).unwrap(), "");
        }
    }
}
