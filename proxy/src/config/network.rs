//! Networks in the configuration whose word is taken for something.

use serde::Deserialize;

use super::values::InvalidValue;
use crate::admission::networks::Network;

/// A network whose peers get a trust of some kind. Never everybody: a prefix of no bits is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedNetwork(Network);

// === impl TrustedNetwork ===

impl TrustedNetwork {
    /// The network.
    #[must_use]
    pub const fn network(self) -> Network {
        self.0
    }
}

impl TryFrom<String> for TrustedNetwork {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let network = text.parse().ok().filter(|network: &Network| !network.is_everybody());
        network.map(Self).ok_or(InvalidValue::TrustedNetwork(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_no_trusted_network() {
        for text in ["0.0.0.0/0", "::/0", "10.0.0.0/33", "balancer", ""] {
            assert!(TrustedNetwork::try_from(text.to_owned()).is_err(), "{text}");
        }
        let network = TrustedNetwork::try_from("10.0.0.0/8".to_owned()).unwrap().network();
        assert_eq!(network.to_string(), "10.0.0.0/8");
    }
}
