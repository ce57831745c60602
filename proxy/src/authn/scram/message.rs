//! The client's two messages (RFC 5802 section 7), one grammar rule a function.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gatepost_core::directory::scram::KEY_OCTETS;

/// ```text
/// client-first-message = gs2-header client-first-message-bare
/// gs2-header = gs2-cbind-flag "," [ authzid ] ","
/// client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
/// ```
/// A mandatory extension is one that we do not know: refused. Others are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// As written, with its last comma.
    pub(super) gs2_header: &'a str,
    /// What the client knows of channel binding.
    pub(super) flag: BindingFlag<'a>,
    /// Unescaped; empty where there is none.
    pub(super) authzid: String,
    /// As written.
    pub(super) bare: &'a str,
    /// Unescaped.
    pub(super) username: String,
    /// At least one character.
    pub(super) nonce: &'a str,
}

/// ```text
/// gs2-cbind-flag = ("p=" cb-name) / "n" / "y"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindingFlag<'a> {
    /// `p=`: this binding is used.
    Used(&'a str),
    /// `n`: the client cannot.
    NotSupported,
    /// `y`: the client could, but thinks that the server cannot.
    NotOffered,
}

/// ```text
/// client-final-message = channel-binding "," nonce ["," extensions] "," proof
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// All but the comma and the proof.
    pub(super) without_proof: &'a str,
    /// Decoded.
    pub(super) binding: Vec<u8>,
    /// The client's and the server's.
    pub(super) nonce: &'a str,
    /// Decoded.
    pub(super) proof: [u8; KEY_OCTETS],
}

// === impl ClientFirst ===

impl<'a> ClientFirst<'a> {
    /// `None`: against the grammar.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let message = text(message)?;
        let (flag, rest) = message.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        let gs2_header = message.strip_suffix(bare)?;
        let mut attributes = bare.split(',');
        let username = saslname(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = nonce(attributes.next()?)?;
        if !attributes.all(is_extension) {
            return None;
        }
        let authzid = match authzid {
            "" => String::new(),
            authzid => saslname(authzid.strip_prefix("a=")?)?,
        };
        Some(Self { gs2_header, flag: BindingFlag::parse(flag)?, authzid, bare, username, nonce })
    }
}

// === impl BindingFlag ===

impl<'a> BindingFlag<'a> {
    fn parse(flag: &'a str) -> Option<Self> {
        match flag {
            "n" => Some(Self::NotSupported),
            "y" => Some(Self::NotOffered),
            _ => flag.strip_prefix("p=").filter(|name| !name.is_empty()).map(Self::Used),
        }
    }
}

// === impl ClientFinal ===

impl<'a> ClientFinal<'a> {
    /// `None`: against the grammar.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(',')?;
        let proof = BASE64_STANDARD.decode(proof.strip_prefix("p=")?).ok()?;
        let mut attributes = without_proof.split(',');
        let binding = BASE64_STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = nonce(attributes.next()?)?;
        if !attributes.all(is_extension) {
            return None;
        }
        Some(Self { without_proof, binding, nonce, proof: proof.try_into().ok()? })
    }
}

/// UTF-8 without NUL.
fn text(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(message).ok().filter(|text| !text.contains('\0'))
}

/// ```text
/// nonce = "r=" c-nonce [s-nonce]
/// c-nonce = printable ; %x21-2B / %x2D-7E
/// ```
fn nonce(attribute: &str) -> Option<&str> {
    let nonce = attribute.strip_prefix("r=")?;
    (!nonce.is_empty() && nonce.bytes().all(|octet| octet.is_ascii_graphic())).then_some(nonce)
}

/// ```text
/// saslname = 1*(value-safe-char / "=2C" / "=3D")
/// ```
fn saslname(escaped: &str) -> Option<String> {
    let mut parts = escaped.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(character);
        name.push_str(rest);
    }
    (!name.is_empty()).then_some(name)
}

/// ```text
/// attr-val = ALPHA "=" value
/// ```
/// `m` is reserved for extensions that a server must not ignore.
fn is_extension(attribute: &str) -> bool {
    attribute.split_once('=').is_some_and(|(name, value)| {
        name.len() == 1
            && name.bytes().all(|octet| octet.is_ascii_alphabetic())
            && name != "m"
            && !value.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_first_message_is_taken_apart() {
        let first = ClientFirst::parse(b"p=tls-exporter,a=you,n=u=2Cs=3Der,r=abc+/,x=y").unwrap();
        assert_eq!(first.gs2_header, "p=tls-exporter,a=you,");
        assert_eq!(first.flag, BindingFlag::Used("tls-exporter"));
        assert_eq!(first.bare, "n=u=2Cs=3Der,r=abc+/,x=y");
        assert_eq!(
            (first.authzid.as_str(), first.username.as_str(), first.nonce),
            ("you", "u,s=er", "abc+/")
        );
    }

    #[test]
    fn first_messages_against_the_grammar_are_refused() {
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=",
            "n,,n=,r=a",
            "n,,n=user",
            "n,,n=user,",
            "n,,n=user,r=",
            "n,,r=a,n=user",
            "x,,n=user,r=a",
            "p=,,n=user,r=a",
            "N,,n=user,r=a",
            "n,user,n=user,r=a",
            "n,a=,n=user,r=a",
            "n,,n=us=er,r=a",
            "n,,n=us=2cer,r=a",
            "n,,n=user=,r=a",
            "n,,m=x,n=user,r=a",
            "n,,n=user,r=a,m=x",
            "n,,n=user,r=a b",
            "n,,n=user,r=a,x",
            "n,,n=user,r=a,",
            "n,,n=us\0er,r=a",
            "n,,n=user,r=ä",
        ] {
            assert_eq!(ClientFirst::parse(message.as_bytes()), None, "{message:?}");
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=a"), None);
    }

    #[test]
    fn final_messages_against_the_grammar_are_refused() {
        let proof = BASE64_STANDARD.encode([7; KEY_OCTETS]);
        assert!(ClientFinal::parse(format!("c=biws,r=ab,p={proof}").as_bytes()).is_some());
        let short = BASE64_STANDARD.encode([7; KEY_OCTETS - 1]);
        let long = BASE64_STANDARD.encode([7; KEY_OCTETS + 1]);
        for message in [
            String::new(),
            "c=biws,r=ab".to_owned(),
            format!("c=biws,r=ab,p={short}"),
            format!("c=biws,r=ab,p={long}"),
            "c=biws,r=ab,p=".to_owned(),
            format!("c=b,r=ab,p={proof}"),
            format!("r=ab,c=biws,p={proof}"),
            format!("c=biws,r=,p={proof}"),
            format!("c=biws,r=ab,m=x,p={proof}"),
            format!("c=biws,r=ab,p={proof},x=y"),
        ] {
            assert_eq!(ClientFinal::parse(message.as_bytes()), None, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone(name in "[^\0]{1,20}") {
            let escaped = name.replace('=', "=3D").replace(',', "=2C");
            let message = format!("n,,n={escaped},r=a");
            prop_assert_eq!(ClientFirst::parse(message.as_bytes()).unwrap().username, name);
        }

        #[test]
        fn no_octets_make_the_parsers_panic(octets in prop::collection::vec(any::<u8>(), 0..80), text in "[a-z=,]{0,40}") {
            for octets in [&octets, text.as_bytes()] {
                let _ = ClientFirst::parse(octets);
                let _ = ClientFinal::parse(octets);
            }
        }
    }
}
