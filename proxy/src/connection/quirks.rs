//! Which deviations an address is allowed.

use std::net::IpAddr;

use gatepost_smtp::server::Quirks;
use ipnet::IpNet;

/// Networks whose peers may deviate. An address in several of them may do what any of them allows.
#[derive(Debug, Clone, Default)]
pub struct PeerQuirks(Vec<(IpNet, Quirks)>);

// === impl PeerQuirks ===

impl PeerQuirks {
    /// What this address may do.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Quirks {
        let listed = self.0.iter().filter(|(network, _)| network.contains(&address));
        listed.fold(Quirks::default(), |quirks, (_, more)| Quirks {
            space_after_colon: quirks.space_after_colon || more.space_after_colon,
            bare_lf_normalise: quirks.bare_lf_normalise || more.bare_lf_normalise,
        })
    }
}

impl FromIterator<(IpNet, Quirks)> for PeerQuirks {
    fn from_iter<I: IntoIterator<Item = (IpNet, Quirks)>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_what_any_of_its_networks_allows() {
        let space = Quirks { space_after_colon: true, ..Quirks::default() };
        let bare = Quirks { bare_lf_normalise: true, ..Quirks::default() };
        let networks = [("10.0.0.0/8", space), ("10.1.0.0/16", bare)];
        let quirks: PeerQuirks =
            networks.into_iter().map(|(network, quirks)| (network.parse().unwrap(), quirks)).collect();
        let both = Quirks { space_after_colon: true, bare_lf_normalise: true };
        for (address, expected) in [("10.2.0.1", space), ("10.1.0.1", both), ("::1", Quirks::default())] {
            assert_eq!(quirks.of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
