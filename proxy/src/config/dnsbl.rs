//! `[dns]` and `[dnsbl]`: which name servers are asked, and what block and allow lists count.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::values::{Hostname, TimeSpan};
use crate::admission::dnsbl::LISTS_MAX;

/// Name servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Asked instead of those of `/etc/resolv.conf`.
    pub servers: Vec<NameServer>,
    /// A file of DNSKEY records that DNSSEC begins with; `None`: the keys of the root.
    pub trust_anchor: Option<PathBuf>,
}

/// A name server: an address, with a port where that is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NameServer(SocketAddr);

/// Block and allow lists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Dnsbl {
    /// The sum of weights from which on a peer is refused.
    pub threshold: NonZeroU16,
    /// How long a list may take.
    pub timeout: TimeSpan,
    /// Not more than are asked for one peer, and none twice.
    pub lists: Vec<BlockList>,
}

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    threshold: NonZeroU16,
    timeout: TimeSpan,
    list: Vec<BlockList>,
}

/// One list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockList {
    /// Its zone.
    pub zone: Hostname,
    /// What a listing counts: below zero for an allow list.
    #[serde(default)]
    pub weight: Weight,
    /// Which answers are listings; all of them where empty.
    #[serde(default)]
    pub answers: Vec<ListAnswer>,
}

/// From -100 to 100, and not zero, which would count for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i32")]
pub struct Weight(i32);

/// One answer of a list, or a network of them; inside 127.0.0.0/8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ListAnswer(Ipv4Net);

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDnsbl {
    /// Not an address.
    #[error("not the address of a name server (write such as 192.0.2.53 or 192.0.2.53:5353): {0:?}")]
    NameServer(String),
    /// Too heavy, or nothing.
    #[error("a weight is between -{WEIGHT_MAX} and {WEIGHT_MAX}, and not zero: {0}")]
    Weight(i32),
    /// Not an answer of a list.
    #[error("not an answer of a list (write such as 127.0.0.2 or 127.0.0.4/30): {0:?}")]
    Answer(String),
    /// Too slow.
    #[error("a list may take {TIMEOUT_MAX_SECONDS} s at the most: peers wait for it")]
    Timeout,
    /// Too many.
    #[error("{LISTS_MAX} lists at the most: each is asked for every peer")]
    TooMany,
    /// Twice the same.
    #[error("the list {0} is there twice")]
    Twice(Hostname),
}

// === impl NameServer ===

impl NameServer {
    /// Address and port.
    #[must_use]
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

impl TryFrom<String> for NameServer {
    type Error = InvalidDnsbl;

    fn try_from(text: String) -> Result<Self, InvalidDnsbl> {
        let with_port = text.parse().ok();
        let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT));
        with_port.or_else(alone).map(Self).ok_or(InvalidDnsbl::NameServer(text))
    }
}

// === impl Dnsbl ===

impl Default for Dnsbl {
    fn default() -> Self {
        Self { threshold: NonZeroU16::MIN, timeout: TIMEOUT_DEFAULT, lists: Vec::new() }
    }
}

impl TryFrom<Written> for Dnsbl {
    type Error = InvalidDnsbl;

    fn try_from(Written { threshold, timeout, list: lists }: Written) -> Result<Self, InvalidDnsbl> {
        if timeout > TimeSpan::seconds(TIMEOUT_MAX_SECONDS) {
            return Err(InvalidDnsbl::Timeout);
        }
        if lists.len() > LISTS_MAX {
            return Err(InvalidDnsbl::TooMany);
        }
        let mut zones = std::collections::HashSet::new();
        for list in &lists {
            if !zones.insert(list.zone.as_str().to_ascii_lowercase()) {
                return Err(InvalidDnsbl::Twice(list.zone.clone()));
            }
        }
        Ok(Self { threshold, timeout, lists })
    }
}

// === impl Written ===

impl Default for Written {
    fn default() -> Self {
        let Dnsbl { threshold, timeout, lists: list } = Dnsbl::default();
        Self { threshold, timeout, list }
    }
}

// === impl Weight ===

impl Weight {
    /// As a number.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<i32> for Weight {
    type Error = InvalidDnsbl;

    fn try_from(weight: i32) -> Result<Self, InvalidDnsbl> {
        let is_legal = weight != 0 && (-WEIGHT_MAX..=WEIGHT_MAX).contains(&weight);
        if is_legal { Ok(Self(weight)) } else { Err(InvalidDnsbl::Weight(weight)) }
    }
}

// === impl ListAnswer ===

impl ListAnswer {
    /// As a network.
    #[must_use]
    pub const fn network(self) -> Ipv4Net {
        self.0
    }
}

impl TryFrom<String> for ListAnswer {
    type Error = InvalidDnsbl;

    fn try_from(text: String) -> Result<Self, InvalidDnsbl> {
        let network = text.parse().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from));
        match network {
            Some(network) if network.addr().is_loopback() && network.prefix_len() >= 8 => Ok(Self(network)),
            _ => Err(InvalidDnsbl::Answer(text)),
        }
    }
}

const DNS_PORT: u16 = 53;
/// Well below the minutes that a client waits for a greeting (RFC 5321 section 4.5.3.2.1), and twice what a name server needs
/// that has to ask around.
const TIMEOUT_DEFAULT: TimeSpan = TimeSpan::seconds(3);
const TIMEOUT_MAX_SECONDS: u64 = 30;
/// Sums of all lists stay far from any overflow.
const WEIGHT_MAX: i32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn dnsbl(text: &str) -> Result<Dnsbl, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let read = dnsbl("[[list]]\nzone = \"bl.example\"\n").unwrap();
        assert_eq!((read.threshold.get(), read.timeout), (1, TIMEOUT_DEFAULT));
        assert_eq!((read.lists[0].weight.value(), read.lists[0].answers.len()), (1, 0));
        assert_eq!(dnsbl(""), Ok(Dnsbl::default()));
    }

    #[test]
    fn lists_have_weights_and_answers() {
        let read = dnsbl(
            "[[list]]\nzone = \"bl.example\"\nweight = -3\nanswers = [\"127.0.0.4/30\", \"127.0.1.1\"]\n",
        );
        let list = read.unwrap().lists.remove(0);
        let answers: Vec<_> = list.answers.iter().map(|it| it.network().to_string()).collect();
        assert_eq!((list.weight.value(), answers), (-3, vec!["127.0.0.4/30".into(), "127.0.1.1/32".into()]));
    }

    #[test]
    fn what_could_not_be_meant_is_refused() {
        let list = "[[list]]\nzone = \"bl.example\"\n";
        for (text, why) in [
            ("threshold = 0".to_owned(), "nonzero"),
            ("timeout = \"31s\"".to_owned(), "30 s at the most"),
            (format!("{list}weight = 0\n"), "a weight is between"),
            (format!("{list}weight = 101\n"), "a weight is between"),
            (format!("{list}answers = [\"192.0.2.1\"]\n"), "not an answer of a list"),
            (format!("{list}answers = [\"127.0.0.0/7\"]\n"), "not an answer of a list"),
            (
                format!("{list}{}", list.to_uppercase().replace("LIST", "list").replace("ZONE", "zone")),
                "twice",
            ),
            ((0..=LISTS_MAX).map(|n| format!("[[list]]\nzone = \"{n}.example\"\n")).collect(), "16 lists"),
        ] {
            let error = dnsbl(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_server_has_port_53_unless_it_says_another() {
        let server = |text: &str| NameServer::try_from(text.to_owned()).map(|it| it.address().to_string());
        assert_eq!(server("192.0.2.53"), Ok("192.0.2.53:53".into()));
        assert_eq!(server("[2001:db8::53]:5353"), Ok("[2001:db8::53]:5353".into()));
        assert_eq!(server("2001:db8::53"), Ok("[2001:db8::53]:53".into()));
        assert!(server("dns.example").is_err());
    }
}
