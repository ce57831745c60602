//! What an address alone makes of a peer.

use std::net::IpAddr;

use gatepost_smtp::server::PeerClass;
use ipnet::IpNet;

/// Networks whose peers are more than strangers. Of several that hold an address the longest prefix decides.
#[derive(Debug, Clone, Default)]
pub struct PeerClasses(Vec<(IpNet, PeerClass)>);

// === impl PeerClasses ===

impl PeerClasses {
    /// The class of this address.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> PeerClass {
        let listed = self.0.iter().find(|(network, _)| network.contains(&address));
        listed.map_or(PeerClass::Anonymous, |(_, class)| *class)
    }
}

impl FromIterator<(IpNet, PeerClass)> for PeerClasses {
    fn from_iter<I: IntoIterator<Item = (IpNet, PeerClass)>>(networks: I) -> Self {
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let networks = [
            ("10.0.0.0/8", PeerClass::Partner),
            ("10.1.0.0/16", PeerClass::Server),
            ("2001:db8::/32", PeerClass::ExternallySecured),
        ];
        let classes: PeerClasses =
            networks.into_iter().map(|(network, class)| (network.parse().unwrap(), class)).collect();
        for (address, class) in [
            ("10.2.0.1", PeerClass::Partner),
            ("10.1.0.1", PeerClass::Server),
            ("2001:db8::1", PeerClass::ExternallySecured),
            ("192.0.2.1", PeerClass::Anonymous),
            ("::1", PeerClass::Anonymous),
        ] {
            assert_eq!(classes.of(address.parse().unwrap()), class, "{address}");
        }
    }
}
