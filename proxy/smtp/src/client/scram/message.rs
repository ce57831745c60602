//! The server's two messages (RFC 5802 section 7), one grammar rule a function.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{KEY_OCTETS, ScramFault};
use crate::wire::params::decimal;

/// ```text
/// server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
/// ```
/// A mandatory extension is one that we do not know: refused. Others are ignored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    /// As written: it is signed.
    pub(super) text: &'a str,
    /// At least one character.
    pub(super) nonce: &'a str,
    /// Decoded, at least one octet.
    pub(super) salt: Vec<u8>,
    /// As many as it says; whatever is beyond `u64` is `u64::MAX`.
    pub(super) iterations: u64,
}

/// ```text
/// server-final-message = (server-error / verifier) ["," extensions]
/// ```
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFinal {
    /// `e=`. Which one is the server's to log.
    Error,
    /// `v=`, decoded.
    Verifier([u8; KEY_OCTETS]),
}

// === impl ServerFirst ===

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, ScramFault> {
        let text = text(message)?;
        let mut attributes = text.split(',');
        let mut next = |name| value(attributes.next().unwrap_or_default(), name);
        let nonce = next('r')?;
        let salt = base64(next('s')?)?;
        let iterations = count(next('i')?)?;
        extensions(attributes)?;
        if nonce.is_empty() || !nonce.bytes().all(|octet| octet.is_ascii_graphic()) || salt.is_empty() {
            return Err(ScramFault::Malformed);
        }
        Ok(Self { text, nonce, salt, iterations })
    }
}

// === impl ServerFinal ===

impl ServerFinal {
    pub(super) fn parse(message: &[u8]) -> Result<Self, ScramFault> {
        let mut attributes = text(message)?.split(',');
        let first = attributes.next().unwrap_or_default();
        let parsed = if first.starts_with("e=") {
            Self::Error
        } else {
            let signature = base64(value(first, 'v')?)?;
            Self::Verifier(signature.try_into().map_err(|_| ScramFault::Malformed)?)
        };
        extensions(attributes)?;
        Ok(parsed)
    }
}

/// UTF-8 without NUL.
fn text(message: &[u8]) -> Result<&str, ScramFault> {
    let text = std::str::from_utf8(message).ok().filter(|text| !text.contains('\0'));
    text.ok_or(ScramFault::Malformed)
}

/// ```text
/// attr-val = ALPHA "=" value
/// ```
/// `m`, in whatever place, is an extension that must not be ignored.
fn value(attribute: &str, name: char) -> Result<&str, ScramFault> {
    if attribute.starts_with("m=") {
        return Err(ScramFault::MandatoryExtension);
    }
    let value = attribute.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
    value.ok_or(ScramFault::Malformed)
}

/// ```text
/// extensions = attr-val *("," attr-val)
/// ```
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), ScramFault> {
    for attribute in attributes {
        let name = attribute.chars().next().filter(char::is_ascii_alphabetic).ok_or(ScramFault::Malformed)?;
        if value(attribute, name)?.is_empty() {
            return Err(ScramFault::Malformed);
        }
    }
    Ok(())
}

/// ```text
/// posit-number = %x31-39 *DIGIT
/// ```
fn count(number: &str) -> Result<u64, ScramFault> {
    let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
    if !is_number || number.is_empty() || number.starts_with('0') {
        return Err(ScramFault::Malformed);
    }
    Ok(decimal(number).unwrap_or(u64::MAX))
}

fn base64(text: &str) -> Result<Vec<u8>, ScramFault> {
    STANDARD.decode(text).map_err(|_| ScramFault::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_first_message_is_taken_apart() {
        let first = ServerFirst::parse(b"r=abc%,s=c2FsdA==,i=4096,x=y").unwrap();
        assert_eq!((first.nonce, first.salt.as_slice(), first.iterations), ("abc%", &b"salt"[..], 4096));
        let huge = ServerFirst::parse(b"r=a,s=c2FsdA==,i=99999999999999999999999999").unwrap();
        assert_eq!(huge.iterations, u64::MAX);
    }

    #[test]
    fn first_messages_against_the_grammar_are_refused() {
        for message in [
            "",
            "r=a",
            "r=a,s=c2FsdA==",
            "r=a,s=c2FsdA==,",
            "r=a,s=c2FsdA==,i=",
            "r=a,s=c2FsdA==,i=0",
            "r=a,s=c2FsdA==,i=04096",
            "r=a,s=c2FsdA==,i=+4096",
            "r=a,s=c2FsdA==,i=4096,",
            "r=a,s=c2FsdA==,i=4096,x",
            "r=a,s=c2FsdA==,i=4096,x=",
            "r=a,s=c2FsdA==,i=4096,1=x",
            "r=a,s=,i=4096",
            "r=a,s=c2FsdA,i=4096",
            "r=,s=c2FsdA==,i=4096",
            "r=a b,s=c2FsdA==,i=4096",
            "r=\u{e4},s=c2FsdA==,i=4096",
            "s=c2FsdA==,r=a,i=4096",
            "R=a,s=c2FsdA==,i=4096",
            "r=a,s=c2FsdA==,i=4096\0",
            "e=unknown-user",
        ] {
            assert_eq!(ServerFirst::parse(message.as_bytes()), Err(ScramFault::Malformed), "{message:?}");
        }
        assert_eq!(ServerFirst::parse(b"r=\xff,s=c2FsdA==,i=4096"), Err(ScramFault::Malformed));
    }

    #[test]
    fn an_extension_that_must_not_be_ignored_is_refused_wherever_it_stands() {
        for message in ["m=x,r=a,s=c2FsdA==,i=4096", "r=a,m=x,i=4096", "r=a,s=c2FsdA==,i=4096,x=y,m=x"] {
            assert_eq!(ServerFirst::parse(message.as_bytes()), Err(ScramFault::MandatoryExtension));
        }
        let verifier = format!("v={},m=x", STANDARD.encode([1; KEY_OCTETS]));
        for message in ["m=x", "e=other-error,m=x", &verifier] {
            assert_eq!(ServerFinal::parse(message.as_bytes()), Err(ScramFault::MandatoryExtension));
        }
    }

    #[test]
    fn a_final_message_is_a_verifier_of_the_right_length_or_an_error() {
        let verifier =
            |octets: &[u8]| ServerFinal::parse(format!("v={}", STANDARD.encode(octets)).as_bytes());
        assert_eq!(verifier(&[7; KEY_OCTETS]), Ok(ServerFinal::Verifier([7; KEY_OCTETS])));
        assert_eq!(verifier(&[7; KEY_OCTETS - 1]), Err(ScramFault::Malformed));
        assert_eq!(verifier(&[7; KEY_OCTETS + 1]), Err(ScramFault::Malformed));
        assert_eq!(ServerFinal::parse(b"e=invalid-proof"), Ok(ServerFinal::Error));
        for message in ["", "v=", "v=!", "x=y", "V=AA=="] {
            assert_eq!(ServerFinal::parse(message.as_bytes()), Err(ScramFault::Malformed), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_the_parsers_panic(octets in prop::collection::vec(any::<u8>(), 0..80), text in "[a-z0-9=,]{0,40}") {
            for octets in [&octets, text.as_bytes()] {
                let _ = ServerFirst::parse(octets);
                let _ = ServerFinal::parse(octets);
            }
        }
    }
}
