//! SASL mechanisms, and sets of them.

use std::fmt;

/// A SASL mechanism that can be offered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4422 appendix A, on the strength of a client certificate: offered where one was verified, see
    /// `Session::with_certificate`.
    External,
    /// RFC 7677 with RFC 9266 channel binding.
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// The obsolete LOGIN, still asked for by clients.
    Login,
    /// Kerberos (RFC 4752): for a server behind.
    Gssapi,
    /// The one of Windows, which no RFC has: for a server behind.
    Ntlm,
    /// RFC 2195: for a server behind.
    CramMd5,
    /// A token instead of a password (RFC 7628): for a server behind.
    OauthBearer,
    /// Its predecessor, which no RFC has: for a server behind.
    Xoauth2,
}

/// A set of mechanisms.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Mechanisms(u16);

// === impl Mechanism ===

impl Mechanism {
    /// Every mechanism that the machine knows, the ones that reveal nothing first.
    pub const ALL: [Self; 10] = [
        Self::External,
        Self::ScramSha256Plus,
        Self::ScramSha256,
        Self::Gssapi,
        Self::Ntlm,
        Self::CramMd5,
        Self::OauthBearer,
        Self::Xoauth2,
        Self::Plain,
        Self::Login,
    ];

    /// Those of which we can be the server.
    pub const OURS: [Self; 5] =
        [Self::External, Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// The name of the IANA registry, upper-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Gssapi => "GSSAPI",
            Self::Ntlm => "NTLM",
            Self::CramMd5 => "CRAM-MD5",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism of that name, compared case-insensitively (RFC 4954 section 4).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether it binds to the TLS channel and so makes sense inside TLS only.
    #[must_use]
    pub const fn binds_channel(self) -> bool {
        matches!(self, Self::ScramSha256Plus)
    }

    /// Whether an exchange can be between the client and a server behind us: not where it speaks of the connection to us.
    #[must_use]
    pub const fn is_relayable(self) -> bool {
        !matches!(self, Self::External) && !self.binds_channel()
    }

    /// Whether whoever reads the exchange can log in afterwards.
    #[must_use]
    pub const fn reveals_secret(self) -> bool {
        matches!(self, Self::Plain | Self::Login | Self::OauthBearer | Self::Xoauth2)
    }

    const fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

// === impl Mechanisms ===

impl Mechanisms {
    /// No mechanism at all.
    pub const NONE: Self = Self(0);

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & mechanism.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// And this one.
    #[must_use]
    pub const fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | mechanism.bit())
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// But not those that reveal a secret.
    #[must_use]
    pub fn without_secrets(self) -> Self {
        self.iter().filter(|mechanism| !mechanism.reveals_secret()).collect()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.contains(*mechanism))
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<I: IntoIterator<Item = Mechanism>>(mechanisms: I) -> Self {
        mechanisms.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Mechanism::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for mechanism in Mechanism::ALL {
            let set = Mechanisms::from_iter([mechanism]);
            assert!(Mechanism::ALL.into_iter().all(|other| set.contains(other) == (other == mechanism)));
            assert_eq!(Mechanism::from_name(&mechanism.name().to_lowercase()), Some(mechanism));
        }
        assert!(Mechanisms::NONE.is_empty());
    }

    #[test]
    fn what_speaks_of_the_connection_to_us_is_not_relayed() {
        let not_relayed = Mechanism::ALL.into_iter().filter(|mechanism| !mechanism.is_relayable());
        assert!(not_relayed.eq([Mechanism::External, Mechanism::ScramSha256Plus]));
    }
}
