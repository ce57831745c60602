//! Lists of networks, from the configuration and from files.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

/// A network as it is written: `192.0.2.0/24`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network (write such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1): {0:?}")]
pub struct InvalidNetwork(String);

/// A set of networks that answers by binary search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSet {
    /// Disjoint and in order.
    networks: Vec<IpNet>,
}

/// A file of networks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkFileError {
    /// It cannot be read, or is longer than 16 MiB.
    #[error("the list {} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A line is no network.
    #[error("{}:{line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        error: InvalidNetwork,
    },
}

// === impl Network ===

impl Network {
    /// Whether every address (of its family) lies in it.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        network.0
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;

    /// IPv4 networks that are written as IPv6 ones (`::ffff:192.0.2.0/120`) become what they are, as peers do.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        // Not by `IpNet`, which takes 010 for 10, where others take it for 8.
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let read = || {
            let address: IpAddr = address.parse().ok()?;
            match bits {
                None => Some(IpNet::from(address)),
                Some(bits) if bits.bytes().all(|octet| octet.is_ascii_digit()) => {
                    IpNet::new(address, bits.parse().ok()?).ok()
                }
                Some(_) => None,
            }
        };
        let network = read().ok_or_else(|| InvalidNetwork(text.to_owned()))?;
        Ok(Self(canonical(network).trunc()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl NetworkSet ===

impl NetworkSet {
    /// The networks that are listed, and those of files: one a line, `#` begins a comment. Blocks on the disk.
    ///
    /// # Errors
    /// A file that cannot be read or understood: half a list would be worse than the old one.
    pub fn load(listed: &[Network], files: &[PathBuf]) -> Result<Self, NetworkFileError> {
        let mut networks = listed.to_vec();
        for path in files {
            networks.extend(read(path)?);
        }
        Ok(networks.into_iter().collect())
    }

    /// The listed network that the address lies in.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<IpNet> {
        let behind = self.networks.partition_point(|network| network.network() <= address);
        let candidate = self.networks.get(behind.checked_sub(1)?)?;
        candidate.contains(&address).then_some(*candidate)
    }

    /// Whether the address lies in a listed network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.find(address).is_some()
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let networks: Vec<IpNet> = networks.into_iter().map(|network| network.0).collect();
        let mut networks = IpNet::aggregate(&networks);
        networks.sort_by_key(IpNet::network);
        Self { networks }
    }
}

fn read(path: &Path) -> Result<Vec<Network>, NetworkFileError> {
    let unreadable = |error| NetworkFileError::Read { path: path.to_owned(), error };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_OCTETS_MAX {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut networks = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let written = line.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        let network = written.parse().map_err(|error| NetworkFileError::Line {
            path: path.to_owned(),
            line: number.saturating_add(1),
            error,
        })?;
        networks.push(network);
    }
    Ok(networks)
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4)
}

/// `::ffff:0:0/96` (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;
/// Half a million networks: longer than any public list.
const FILE_OCTETS_MAX: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    /// Few distinct bits, so that networks and addresses meet.
    fn address() -> impl Strategy<Value = IpAddr> {
        let octet = prop_oneof![Just(0_u8), Just(1), Just(127), Just(128), Just(255)];
        prop_oneof![
            [octet.clone(), octet.clone(), octet.clone(), octet.clone()]
                .prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
            proptest::array::uniform16(octet)
                .prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets)).to_canonical()),
        ]
    }

    fn any_network() -> impl Strategy<Value = Network> {
        (address(), 0_u8..=128).prop_map(|(address, length)| {
            let length = length.min(if address.is_ipv4() { 32 } else { 128 });
            Network(IpNet::new(address, length).unwrap().trunc())
        })
    }

    proptest! {
        #[test]
        fn the_set_agrees_with_a_naive_list(
            networks in proptest::collection::vec(any_network(), 0..20),
            addresses in proptest::collection::vec(address(), 1..20),
        ) {
            let set: NetworkSet = networks.iter().copied().collect();
            for address in addresses {
                let naive = networks.iter().any(|network| network.0.contains(&address));
                prop_assert_eq!(set.contains(address), naive, "{} in {:?}", address, networks);
            }
        }

        #[test]
        fn a_written_network_reads_back_as_itself(network in any_network()) {
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }

        #[test]
        fn no_text_panics_the_parser(text: String) {
            let _ = text.parse::<Network>();
        }
    }

    #[test]
    fn a_single_address_is_a_network_and_a_mapped_one_is_ipv4() {
        assert_eq!(network("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(network("192.0.2.77/24").to_string(), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.0/120").to_string(), "192.0.2.0/24");
        for bad in ["", "192.0.2.010/24", "192.0.2.0/+24", "192.0.2.0/33", "example.org", "192.0.2", "::/129"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_has_one_network_a_line_and_comments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deny");
        std::fs::write(&path, "# bad ones\n192.0.2.0/24\n\n2001:db8::/32 # and these\n").unwrap();
        let set = NetworkSet::load(&[network("198.51.100.1")], std::slice::from_ref(&path)).unwrap();
        for listed in ["192.0.2.9", "2001:db8::1", "198.51.100.1"] {
            assert!(set.contains(listed.parse().unwrap()), "{listed}");
        }
        assert!(!set.contains("198.51.100.2".parse().unwrap()));
        std::fs::write(&path, "192.0.2.0/24\nnonsense\n").unwrap();
        let error = NetworkSet::load(&[], std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(error.contains(":2: not a network"), "{error}");
    }
}
