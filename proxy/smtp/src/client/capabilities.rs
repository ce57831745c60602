//! What a server says it can (RFC 5321 section 4.1.1.1).

use std::fmt;

use crate::server::{Mechanism, Mechanisms};
use crate::wire::params::decimal;
use crate::wire::verb::Verb;
use crate::wire::xclient::{self, Attribute};

/// The extensions of one EHLO reply; without any after HELO. What we have no use for is not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3030.
    pub binarymime: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 8689.
    pub requiretls: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 1870.
    pub size: SizeOffer,
    /// RFC 4954.
    pub auth: bool,
    /// `AUTH SCRAM-SHA-256` (RFC 7677).
    pub auth_scram: bool,
    /// `AUTH SCRAM-SHA-256-PLUS`.
    pub auth_scram_plus: bool,
    /// `AUTH PLAIN` (RFC 4616).
    pub auth_plain: bool,
    /// `AUTH LOGIN`, which no RFC has and many servers do.
    pub auth_login: bool,
    /// Those behind AUTH, as far as they can be handed on.
    pub mechanisms: Mechanisms,
    /// Those behind X-EXPS.
    pub server_mechanisms: Mechanisms,
    /// Verbs between servers.
    pub verbs: ServerVerbs,
    /// Those behind XCLIENT: what may be said to it of somebody for whom we speak.
    pub xclient: XclientOffer,
}

/// The attributes that a server takes behind XCLIENT; none where it is not offered.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct XclientOffer(u8);

/// Verbs between servers that a server has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerVerbs(u64);

/// The SIZE extension.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SizeOffer {
    /// Not offered.
    #[default]
    None,
    /// Offered without a limit that we can know: no number, zero, or one that is none.
    Unlimited,
    /// Nothing over so many octets.
    Limit(u64),
}

// === impl Capabilities ===

impl Capabilities {
    /// What both of two servers offer, whichever of them it will be.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            pipelining: self.pipelining && other.pipelining,
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            smtputf8: self.smtputf8 && other.smtputf8,
            chunking: self.chunking && other.chunking,
            binarymime: self.binarymime && other.binarymime,
            dsn: self.dsn && other.dsn,
            requiretls: self.requiretls && other.requiretls,
            starttls: self.starttls && other.starttls,
            size: self.size.and(other.size),
            auth: self.auth && other.auth,
            auth_scram: self.auth_scram && other.auth_scram,
            auth_scram_plus: self.auth_scram_plus && other.auth_scram_plus,
            auth_plain: self.auth_plain && other.auth_plain,
            auth_login: self.auth_login && other.auth_login,
            mechanisms: self.mechanisms.and(other.mechanisms),
            server_mechanisms: self.server_mechanisms.and(other.server_mechanisms),
            verbs: self.verbs.and(other.verbs),
            xclient: self.xclient.and(other.xclient),
        }
    }

    /// Reads the lines of a reply to EHLO behind the first. Lines that are no keyword are passed over.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut offered = Self::default();
        for line in lines {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            let keyword = keyword.to_ascii_uppercase();
            // `AUTH=LOGIN` is how AUTH was written before RFC 2554, and servers of then still write it as well.
            let (keyword, first) = keyword.split_once('=').unwrap_or((&keyword, ""));
            let mut words = Some(first).filter(|first| !first.is_empty()).into_iter().chain(words);
            match keyword {
                "PIPELINING" => offered.pipelining = true,
                "8BITMIME" => offered.eight_bit_mime = true,
                "SMTPUTF8" => offered.smtputf8 = true,
                "CHUNKING" => offered.chunking = true,
                "BINARYMIME" => offered.binarymime = true,
                "DSN" => offered.dsn = true,
                "REQUIRETLS" => offered.requiretls = true,
                "STARTTLS" => offered.starttls = true,
                "SIZE" => {
                    offered.size = match words.next().and_then(decimal) {
                        None | Some(0) => SizeOffer::Unlimited,
                        Some(octets) => SizeOffer::Limit(octets),
                    };
                }
                "AUTH" => {
                    offered.auth = true;
                    for mechanism in words {
                        offered.mechanisms = with_name(offered.mechanisms, mechanism);
                        offered.auth_scram |= mechanism.eq_ignore_ascii_case("SCRAM-SHA-256");
                        offered.auth_scram_plus |= mechanism.eq_ignore_ascii_case("SCRAM-SHA-256-PLUS");
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                "XCLIENT" => offered.xclient = words.fold(offered.xclient, XclientOffer::with),
                "X-EXPS" => offered.server_mechanisms = words.fold(offered.server_mechanisms, with_name),
                _ => {}
            }
            offered.verbs = offered.verbs.with(Verb::split(keyword.as_bytes()).0);
        }
        offered
    }
}

fn with_name(mechanisms: Mechanisms, name: &str) -> Mechanisms {
    match Mechanism::from_name(name) {
        Some(mechanism) if mechanism.is_relayable() => mechanisms.with(mechanism),
        _ => mechanisms,
    }
}

// === impl SizeOffer ===

impl SizeOffer {
    /// What both take.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Limit(one), Self::Limit(other)) => Self::Limit(one.min(other)),
            (Self::Limit(limit), _) | (_, Self::Limit(limit)) => Self::Limit(limit),
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::Unlimited, Self::Unlimited) => Self::Unlimited,
        }
    }
}

// === impl XclientOffer ===

impl XclientOffer {
    /// Whether this attribute may be said.
    #[must_use]
    pub fn takes(self, attribute: &Attribute) -> bool {
        Self::bit(attribute.name()).is_some_and(|bit| self.0 & bit != 0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// And this one, if it is one that we know.
    fn with(self, name: &str) -> Self {
        Self(self.0 | Self::bit(name).unwrap_or_default())
    }

    fn bit(name: &str) -> Option<u8> {
        let place = xclient::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        1_u8.checked_shl(u32::try_from(place).ok()?)
    }
}

impl fmt::Debug for XclientOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = xclient::NAMES.iter().filter(|name| Self::bit(name).is_some_and(|bit| self.0 & bit != 0));
        f.debug_set().entries(taken).finish()
    }
}

// === impl ServerVerbs ===

impl ServerVerbs {
    /// Whether this one is among them.
    #[must_use]
    pub fn contains(self, verb: Verb) -> bool {
        Self::bit(verb).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Those that are in both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// And this one, if it is one of servers.
    fn with(self, verb: Verb) -> Self {
        Self(self.0 | Self::bit(verb).unwrap_or_default())
    }

    fn all() -> impl Iterator<Item = Verb> {
        Verb::all().filter(|verb| {
            use Verb as V;
            matches!(verb, V::Xexch50 | V::XLink2State | V::XExps | V::Etrn | V::Atrn | V::Opaque(_))
        })
    }

    fn bit(verb: Verb) -> Option<u64> {
        let place = Self::all().position(|other| other == verb)?;
        1_u64.checked_shl(u32::try_from(place).ok()?)
    }
}

impl fmt::Debug for ServerVerbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Self::all().filter(|verb| self.contains(*verb)).map(Verb::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_whatever_their_case_and_unknown_ones_passed_over() {
        let lines = ["pipelining", "SIZE 1000", "Auth LOGIN plain CRAM-MD5", "X-NONSENSE 1", "", "8BITMIME "];
        let offered = Capabilities::parse(lines);
        assert!(offered.pipelining && offered.eight_bit_mime && offered.auth_plain && offered.auth_login);
        assert_eq!(offered.size, SizeOffer::Limit(1000));
        assert!(!offered.starttls && !offered.chunking);
    }

    #[test]
    fn what_is_for_servers_and_how_to_log_in_is_read() {
        let lines = [
            "X-EXPS GSSAPI NTLM LOGIN",
            "X-EXPS=LOGIN",
            "AUTH=PLAIN",
            "AUTH GSSAPI SCRAM-SHA-256-PLUS",
            "XEXCH50",
            "TURN",
        ];
        let offered = Capabilities::parse(lines);
        let names = |mechanisms: Mechanisms| mechanisms.iter().map(Mechanism::name).collect::<Vec<_>>();
        assert_eq!(names(offered.server_mechanisms), ["GSSAPI", "NTLM", "LOGIN"]);
        assert_eq!(names(offered.mechanisms), ["GSSAPI", "PLAIN"]);
        assert!(offered.verbs.contains(Verb::Xexch50) && offered.verbs.contains(Verb::XExps));
        assert!(!offered.verbs.contains(Verb::XLink2State) && !offered.verbs.contains(Verb::Mail));
        assert!(ServerVerbs::all().count() < 64);
    }

    #[test]
    fn two_servers_offer_what_both_do() {
        let one = Capabilities::parse(["SIZE 10", "DSN", "8BITMIME", "AUTH PLAIN"]);
        let other = Capabilities::parse(["SIZE 7", "DSN", "SMTPUTF8", "AUTH LOGIN"]);
        assert_eq!(one.and(other), Capabilities::parse(["SIZE 7", "DSN", "AUTH"]));
        assert_eq!(one.and(Capabilities::parse(["SIZE"])).size, SizeOffer::Limit(10));
        assert_eq!(one.and(one), one);
    }

    #[test]
    fn a_size_without_a_usable_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE -1", "SIZE 99999999999999999999999"] {
            assert_eq!(Capabilities::parse([line]).size, SizeOffer::Unlimited, "{line}");
        }
        assert_eq!(Capabilities::parse([]).size, SizeOffer::None);
    }
}
