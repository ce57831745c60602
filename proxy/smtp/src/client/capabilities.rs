//! What a server says it can (RFC 5321 section 4.1.1.1).

use crate::wire::params::decimal;

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
}

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
        }
    }

    /// Reads the lines of a reply to EHLO behind the first. Lines that are no keyword are passed over.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut offered = Self::default();
        for line in lines {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
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
                        offered.auth_scram |= mechanism.eq_ignore_ascii_case("SCRAM-SHA-256");
                        offered.auth_scram_plus |= mechanism.eq_ignore_ascii_case("SCRAM-SHA-256-PLUS");
                        offered.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offered.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offered
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
