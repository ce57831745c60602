//! How far mail goes by itself: neither back to this server, nor to hosts inside because somebody outside names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who we are, so that mail does not come back to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ourselves {
    /// Our name in A-labels, lower case.
    pub hostname: String,
    /// Where we listen.
    pub listeners: Vec<SocketAddr>,
}

/// What of the DNS is believed.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// Not to be sent to.
    pub ourselves: &'a Ourselves,
    /// At which port the hosts are.
    pub port: u16,
    /// Whether a foreign domain may name hosts on loopback or in private networks.
    pub internal: bool,
}

// === impl Reach ===

impl Reach<'_> {
    /// Whether this server listens there.
    #[must_use]
    pub fn is_ourselves(&self, address: IpAddr) -> bool {
        self.ourselves.listeners.contains(&SocketAddr::new(address.to_canonical(), self.port))
    }

    /// Whether a foreign domain may name this address.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.internal || is_public(address)
    }
}

/// Whether mail may be sent to an address that somebody else has named: it is none of loopback, private networks, or of no
/// host at all.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is shared behind carriers' NAT (RFC 6598); 0.0.0.0/8 is this network, 240.0.0.0/4 nobody's.
    let is_special = matches!(address.octets(), [100, 64..=127, ..] | [0 | 240..=255, ..]);
    let is_own = address.is_private() || address.is_loopback() || address.is_link_local();
    !is_own && !is_special && !address.is_multicast()
}

const fn is_public_v6(address: Ipv6Addr) -> bool {
    let is_own = address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local();
    !is_own && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_is_told_from_what_lies_outside() {
        for inside in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.1.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.2.1", "100.128.0.1", "2001:db8::1"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn this_server_is_known_however_its_address_is_written() {
        let ourselves =
            Ourselves { hostname: String::new(), listeners: vec!["192.0.2.9:25".parse().unwrap()] };
        let reach = |port| Reach { ourselves: &ourselves, port, internal: false };
        for address in ["192.0.2.9", "::ffff:192.0.2.9"] {
            assert!(reach(25).is_ourselves(address.parse().unwrap()), "{address}");
            assert!(!reach(26).is_ourselves(address.parse().unwrap()), "{address}");
        }
        assert!(!reach(25).is_ourselves("192.0.2.8".parse().unwrap()));
    }
}
