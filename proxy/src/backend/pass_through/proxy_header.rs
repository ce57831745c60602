//! The header by which we pass a connection on (`proxy-protocol.txt` of the HAProxy project; "section" below means that text).
//! What reads it on our own side is in `listener::proxy_protocol`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::{v1, v2};

/// Whose connection it is, and where he has connected to.
pub(super) type Ends = (SocketAddr, Option<SocketAddr>);

/// Both ends in one family. A destination that is not known, or of the other family, is that family's "any": the header has no
/// other way to say so, and nobody shall take a client for another one because of it.
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Version 1 (section 2.1).
pub(super) fn text(ends: Ends) -> Vec<u8> {
    let (from, to) = ports(ends);
    let addresses = match pair(ends) {
        Pair::V4(client, server) => v1::Addresses::new_tcp4(client, server, from, to),
        Pair::V6(client, server) => v1::Addresses::new_tcp6(client, server, from, to),
    };
    addresses.to_string().into_bytes()
}

/// Version 2 (section 2.2). Without a client it is a connection of our own: LOCAL.
///
/// # Errors
/// The library says that it does not fit.
pub(super) fn binary(ends: Option<Ends>) -> io::Result<Vec<u8>> {
    let Some(ends) = ends else {
        let nothing = v2::AddressFamily::Unspecified | v2::Protocol::Unspecified;
        return v2::Builder::new(v2::Version::Two | v2::Command::Local, nothing).build();
    };
    let (from, to) = ports(ends);
    let addresses: v2::Addresses = match pair(ends) {
        Pair::V4(client, server) => v2::IPv4::new(client, server, from, to).into(),
        Pair::V6(client, server) => v2::IPv6::new(client, server, from, to).into(),
    };
    let version = v2::Version::Two | v2::Command::Proxy;
    v2::Builder::with_addresses(version, v2::Protocol::Stream, addresses).build()
}

fn ports((client, server): Ends) -> (u16, u16) {
    (client.port(), server.map(|server| server.port()).unwrap_or_default())
}

fn pair((client, server): Ends) -> Pair {
    let server = server.map(|server| server.ip().to_canonical());
    match (client.ip().to_canonical(), server) {
        (IpAddr::V4(client), Some(IpAddr::V4(server))) => Pair::V4(client, server),
        (IpAddr::V4(client), _) => Pair::V4(client, Ipv4Addr::UNSPECIFIED),
        (IpAddr::V6(client), Some(IpAddr::V6(server))) => Pair::V6(client, server),
        (IpAddr::V6(client), _) => Pair::V6(client, Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::listener::proxy_protocol::{Header, decode};

    fn addresses() -> impl Strategy<Value = SocketAddr> {
        any::<(IpAddr, u16)>().prop_map(SocketAddr::from)
    }

    proptest! {
        #[test]
        fn who_reads_it_knows_the_client(client in addresses(), server in prop::option::of(addresses())) {
            let canonical = SocketAddr::new(client.ip().to_canonical(), client.port());
            for header in [text((client, server)), binary(Some((client, server))).unwrap()] {
                prop_assert_eq!(decode(&header), Ok(Header::Client(canonical)));
            }
        }
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let client = "192.0.2.7:4711".parse().unwrap();
        let server = "192.0.2.1:25".parse().unwrap();
        assert_eq!(text((client, Some(server))), b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n");
        assert_eq!(text((client, None)), b"PROXY TCP4 192.0.2.7 0.0.0.0 4711 0\r\n");
        let other = Some("[2001:db8::1]:25".parse().unwrap());
        assert_eq!(text((client, other)), b"PROXY TCP4 192.0.2.7 0.0.0.0 4711 25\r\n");
        let client_v6 = "[2001:db8::7]:4711".parse().unwrap();
        assert_eq!(text((client_v6, other)), b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n");
        let expected =
            [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[192, 0, 2, 7, 192, 0, 2, 1, 18, 103, 0, 25]];
        assert_eq!(binary(Some((client, Some(server)))).unwrap(), expected.concat());
    }

    #[test]
    fn a_connection_of_our_own_is_said_to_be_one() {
        assert_eq!(binary(None).unwrap(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        assert_eq!(decode(&binary(None).unwrap()), Ok(Header::Local));
    }
}
