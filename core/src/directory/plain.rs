//! PLAIN's one message (RFC 4616), for SMTP and POP3.

use super::AccountName;

/// ```text
/// message = [authzid] UTF8NUL authcid UTF8NUL passwd ; RFC 4616 section 2
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// As whom the client wants to act; empty: as himself.
    pub authzid: &'a str,
    /// Whose password this is.
    pub authcid: &'a str,
    /// Not prepared yet.
    pub password: &'a [u8],
}

// === impl Plain ===

impl<'a> Plain<'a> {
    /// `None`: not three parts, no name, or names that are not UTF-8.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
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

/// Redacted.
impl std::fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("authcid", &self.authcid).finish_non_exhaustive()
    }
}

/// Whether a client may act as `authzid` having proved to be `authcid`: as nobody but himself (RFC 4422 section
/// 3.4.1). The empty one asks for just that.
#[must_use]
pub fn may_act_as(authzid: &str, authcid: &str) -> bool {
    let name = |text: &str| text.parse::<AccountName>();
    authzid.is_empty()
        || authzid == authcid
        || matches!((name(authzid), name(authcid)), (Ok(authzid), Ok(authcid)) if authzid == authcid)
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

    #[test]
    fn nobody_acts_as_somebody_else() {
        for (authzid, is_allowed) in [
            ("", true),
            ("me@localhost", true),
            ("ME@LocalHost", true),
            ("you@localhost", false),
            ("me", false),
        ] {
            assert_eq!(may_act_as(authzid, "me@localhost"), is_allowed, "{authzid:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_password() {
        assert!(!format!("{:?}", Plain::parse(b"\0me\0pencil")).contains("pencil"));
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
