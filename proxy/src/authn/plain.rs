//! PLAIN (RFC 4616): one message.

/// ```text
/// message = [authzid] UTF8NUL authcid UTF8NUL passwd ; RFC 4616 section 2
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    /// As whom the client wants to act; empty: as himself.
    pub(super) authzid: &'a str,
    /// Whose password this is.
    pub(super) authcid: &'a str,
    /// Not prepared yet.
    pub(super) password: &'a [u8],
}

// === impl Plain ===

impl<'a> Plain<'a> {
    /// `None`: not three parts, or names that are not UTF-8.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut parts = message.split(|octet| *octet == 0);
        let (authzid, authcid, password) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || authcid.is_empty() {
            return None;
        }
        Some(Self {
            authzid: std::str::from_utf8(authzid).ok()?,
            authcid: std::str::from_utf8(authcid).ok()?,
            password,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anything_but_three_parts_is_refused() {
        for message in [
            &b""[..],
            b"me",
            b"\0me",
            b"\0\0pencil",
            b"a\0me\0pencil\0",
            b"\0me\0pen\0cil",
            b"\0\xff\0pencil",
        ] {
            assert!(Plain::parse(message).is_none(), "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_composed_is_what_is_read(authzid in "[^\0]{0,20}", authcid in "[^\0]{1,20}", password in "[^\0]{0,20}") {
            let message = format!("{authzid}\0{authcid}\0{password}");
            let plain = Plain::parse(message.as_bytes()).expect("three parts");
            prop_assert_eq!((plain.authzid, plain.authcid), (authzid.as_str(), authcid.as_str()));
            prop_assert_eq!(plain.password, password.as_bytes());
        }
    }
}
