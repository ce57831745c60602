//! Lists of networks, against one that compares bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatepost::admission::networks::{Network, NetworkSet};

use crate::input::Input;

/// Networks and addresses out of the input, near to one another.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (mut texts, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..input.octet() % 12 {
        let address = address(&mut input);
        addresses.push(address);
        let length = input.octet() % if address.is_ipv4() { 34 } else { 130 };
        texts.push(format!("{address}/{length}"));
    }
    texts.push(String::from_utf8_lossy(input.octets()).into_owned());
    while !input.is_empty() && addresses.len() < 40 {
        addresses.push(self::address(&mut input));
    }
    let networks: Vec<Network> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let naive: Vec<Naive> = texts.iter().filter_map(|text| Naive::parse(text)).collect();
    assert_eq!(networks.len(), naive.len(), "{texts:?}");
    let set: NetworkSet = networks.iter().copied().collect();
    for network in &networks {
        assert_eq!(network.to_string().parse().as_ref(), Ok(network), "written as it is read");
    }
    for address in addresses.into_iter().map(|address| address.to_canonical()) {
        let expected = naive.iter().any(|network| network.contains(address));
        assert_eq!(set.contains(address), expected, "{address} in {texts:?}");
        assert!(set.find(address).is_none_or(|network| network.contains(&address)));
    }
}

/// IPv4, IPv6, or IPv4 in IPv6; few different ones.
fn address(input: &mut Input<'_>) -> IpAddr {
    let (kind, low) = (input.octet(), input.u16());
    let v4 = Ipv4Addr::from(0xc000_0200 | u32::from(low) << (kind / 8 % 4 * 4));
    match kind % 4 {
        0 | 1 => v4.into(),
        2 => v4.to_ipv6_mapped().into(),
        _ => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low) << (u32::from(kind / 4) % 96)).into(),
    }
}

/// A family's bits and how many of them count.
struct Naive {
    is_v4: bool,
    bits: u128,
    length: u32,
}

// === impl Naive ===

impl Naive {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address.parse::<IpAddr>().ok()?, Some(length)),
            None => (text.parse().ok()?, None),
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(length) if length.bytes().all(|octet| octet.is_ascii_digit()) => {
                length.parse().ok().filter(|length| *length <= longest)?
            }
            Some(_) => return None,
        };
        match address.to_canonical() {
            IpAddr::V4(v4) if longest == 32 => Some(Self { is_v4: true, bits: u32::from(v4).into(), length }),
            IpAddr::V4(v4) if length >= 96 => {
                Some(Self { is_v4: true, bits: u32::from(v4).into(), length: length - 96 })
            }
            _ => {
                let IpAddr::V6(v6) = address else { return None };
                Some(Self { is_v4: false, bits: v6.into(), length })
            }
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let differing = bits ^ self.bits;
        address.is_ipv4() == self.is_v4 && differing.checked_shr(width - self.length).unwrap_or(0) == 0
    }
}
