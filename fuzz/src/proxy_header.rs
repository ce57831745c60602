//! The header of the PROXY protocol, against readers that know the strict text of its specification only, and that an
//! IPv4 address written as IPv6 is meant as IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gatepost::listener::proxy_protocol::{Header, decode};

use crate::input::Input;

/// The first octet chooses what the rest is put behind.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    match input.octet() % 3 {
        0 => check_header(input.rest()),
        1 => check_header(&[b"PROXY ", input.rest()].concat()),
        _ => {
            let (command, family) = (input.octet(), input.octet());
            let payload = input.rest();
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
            check_header(&[BINARY, &[command, family], &length, payload].concat());
        }
    }
}

fn check_header(octets: &[u8]) {
    let decoded = decode(octets);
    let client = if octets.starts_with(BINARY) { binary(octets) } else { text(octets) };
    match (decoded, client) {
        (Ok(Header::Client(found)), Some(client)) => assert_eq!(found, client),
        (Ok(Header::Client(found)), None) => panic!("{found} out of {}", octets.escape_ascii()),
        (Ok(Header::Local), client) => assert_eq!(client, None),
        // A checksum may be wrong.
        (Err(_), Some(_)) => {
            assert!(octets.starts_with(BINARY) && octets.len() > 28, "{}", octets.escape_ascii())
        }
        (Err(_), None) => {}
    }
}

/// `"PROXY" SP ("TCP4" / "TCP6") SP address SP address SP port SP port CRLF`.
fn text(octets: &[u8]) -> Option<SocketAddr> {
    let line = std::str::from_utf8(octets).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    let ["PROXY", family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let port = |text: &str| {
        let is_number =
            text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let client = SocketAddr::new(address(source)?.to_canonical(), port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    (line.len() <= 105).then_some(client)
}

/// Version 2, command PROXY, a TCP connection; the octets at their offsets.
fn binary(octets: &[u8]) -> Option<SocketAddr> {
    let rest = octets.strip_prefix(BINARY)?;
    let (fixed, payload) = rest.split_first_chunk::<4>()?;
    if usize::from(u16::from_be_bytes([fixed[2], fixed[3]])) != payload.len() || fixed[0] != 0x21 {
        return None;
    }
    let (address, ports) = match fixed[1] {
        0x11 => (IpAddr::from(*payload.first_chunk::<4>()?), payload.get(8..12)?),
        0x21 => (IpAddr::from(*payload.first_chunk::<16>()?), payload.get(32..36)?),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes([ports[0], ports[1]])))
}

const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
