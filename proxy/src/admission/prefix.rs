//! The networks that an address counts for: limits by address alone would mean nothing to who owns a block of them.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network of one of the counted widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: IpNet,
    width: Width,
}

/// How much of the address space a prefix stands for, from the narrowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// What one customer has at least: an IPv4 address, an IPv6 /64.
    Address,
    /// What one customer may have: an IPv4 /24, an IPv6 /56.
    Network,
    /// What one site may have: an IPv6 /48.
    Site,
}

// === impl Prefix ===

impl Prefix {
    /// The narrowest network: what is banned.
    #[must_use]
    pub fn narrowest(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { V4_ADDRESS } else { V6_ADDRESS };
        Self::cut(address, length, Width::Address)
    }

    /// All networks that this address counts for, from the narrowest.
    pub fn all(address: IpAddr) -> impl Iterator<Item = Self> {
        let widths: &[(u8, Width)] = if address.is_ipv4() {
            &[(V4_ADDRESS, Width::Address), (V4_NETWORK, Width::Network)]
        } else {
            &[(V6_ADDRESS, Width::Address), (V6_NETWORK, Width::Network), (V6_SITE, Width::Site)]
        };
        widths.iter().map(move |&(length, width)| Self::cut(address, length, width))
    }

    /// Which of the widths it has.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    /// As a network.
    #[must_use]
    pub const fn network(self) -> IpNet {
        self.network
    }

    fn cut(address: IpAddr, length: u8, width: Width) -> Self {
        Self { network: IpNet::new_assert(address, length).trunc(), width }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.network.fmt(f)
    }
}

// === impl Width ===

impl Width {
    /// How many times the limit of an address the limit of this width is: a few busy hosts side by side pass, a block of
    /// hired ones does not.
    #[must_use]
    pub const fn allowance(self) -> u32 {
        match self {
            Self::Address => 1,
            Self::Network => 4,
            Self::Site => 16,
        }
    }
}

/// One host.
const V4_ADDRESS: u8 = 32;
/// The least that is routed.
const V4_NETWORK: u8 = 24;
/// One link (RFC 4291 section 2.5.1): the host chooses freely within it.
const V6_ADDRESS: u8 = 64;
/// What RFC 6177 suggests for a home.
const V6_NETWORK: u8 = 56;
/// What RFC 6177 calls a site's.
const V6_SITE: u8 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(address: &str) -> Vec<String> {
        Prefix::all(address.parse().unwrap()).map(|prefix| prefix.to_string()).collect()
    }

    #[test]
    fn an_address_counts_for_its_networks() {
        assert_eq!(all("192.0.2.77"), ["192.0.2.77/32", "192.0.2.0/24"]);
        assert_eq!(
            all("2001:db8:1:2ff:3::4"),
            ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]
        );
    }

    #[test]
    fn the_other_addresses_of_a_link_are_the_same_peer() {
        let narrowest = |text: &str| Prefix::narrowest(text.parse().unwrap());
        assert_eq!(narrowest("2001:db8::1"), narrowest("2001:db8::ffff:1"));
        assert_ne!(narrowest("192.0.2.1"), narrowest("192.0.2.2"));
    }
}
