//! Networks in the configuration: `"10.0.0.0/8"`, `"2001:db8::/32"`, or a single address.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::values::InvalidValue;

/// A network whose peers get a trust of some kind. Never everybody: a prefix of no bits is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedNetwork(IpNet);

// === impl TrustedNetwork ===

impl TrustedNetwork {
    /// The network.
    #[must_use]
    pub const fn network(self) -> IpNet {
        self.0
    }
}

impl TryFrom<String> for TrustedNetwork {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => text.parse::<IpNet>().ok(),
        };
        match network {
            // Bits behind the prefix are a slip: either the address or the prefix is not what was meant.
            Some(network) if network == network.trunc() && network.prefix_len() > 0 => Ok(Self(network)),
            _ => Err(InvalidValue::TrustedNetwork(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(TrustedNetwork::try_from(text.to_owned()).unwrap().network().to_string(), network);
        }
    }

    #[test]
    fn everybody_and_slips_are_no_trusted_network() {
        for text in ["0.0.0.0/0", "::/0", "10.0.0.1/8", "10.0.0.0/33", "balancer", ""] {
            assert!(TrustedNetwork::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
