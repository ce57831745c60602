//! Under which name a list knows an address.

use std::fmt::Write as _;
use std::net::IpAddr;

/// RFC 5782 section 2.1: the octets of an IPv4 address in reverse, in decimal. Section 2.4: the nibbles of an IPv6 address in
/// reverse. The final dot keeps the resolver from trying the machine's own domain.
pub(super) fn query_name(address: IpAddr, zone: &str) -> String {
    let mut name = String::with_capacity(REVERSED_OCTETS_MAX.saturating_add(zone.len()));
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            // Writing to a string cannot fail.
            let _ = write!(name, "{d}.{c}.{b}.{a}.");
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 0xf, octet >> 4);
            }
        }
    }
    let _ = write!(name, "{zone}.");
    name
}

/// 32 nibbles with their dots, and the final one.
const REVERSED_OCTETS_MAX: usize = 65;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        let name = |address: &str| query_name(address.parse().unwrap(), "bl.example");
        assert_eq!(name("192.0.2.99"), "99.2.0.192.bl.example.");
        assert_eq!(name("::ffff:192.0.2.99"), "99.2.0.192.bl.example.");
        assert_eq!(
            name("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example."
        );
    }

    proptest! {
        #[test]
        fn two_addresses_never_share_a_name(one: IpAddr, other: IpAddr) {
            let same = one.to_canonical() == other.to_canonical();
            prop_assert_eq!(query_name(one, "x") == query_name(other, "x"), same);
        }
    }
}
