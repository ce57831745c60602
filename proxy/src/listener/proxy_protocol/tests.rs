use std::net::IpAddr;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// What is taken off a stream that carries these octets, and what is left on it.
async fn read_from(octets: &[u8]) -> (Result<Header, ReadError>, Vec<u8>) {
    let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(octets).await.unwrap();
    drop(theirs);
    let header = read(&mut ours).await;
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.unwrap();
    (header, rest)
}

fn client(text: &str) -> Header {
    Header::Client(text.parse().unwrap())
}

/// A header of version 2.
fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut octets = BINARY_START.to_vec();
    octets.extend([0x20 | command, family]);
    octets.extend(length.to_be_bytes());
    octets.extend(payload);
    octets
}

/// Addresses of a connection from 192.0.2.1 port 4660.
const FROM_V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x34, 0, 25];

/// As a balancer computes it: over the header with four zeros, which are then replaced.
fn with_checksum(payload: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut octets = binary(1, 0x11, &[payload, &[3, 0, 4, 0, 0, 0, 0], behind].concat());
    let at = LENGTH_END + payload.len() + 3;
    let checksum = crc32c::crc32c(&octets).to_be_bytes();
    octets[at..at + 4].copy_from_slice(&checksum);
    octets
}

#[tokio::test]
async fn a_header_is_taken_and_nothing_behind_it() {
    let text = b"PROXY TCP4 192.0.2.1 198.51.100.7 4660 25\r\nEHLO x\r\n";
    let (header, rest) = read_from(text).await;
    assert_eq!((header.unwrap(), rest), (client("192.0.2.1:4660"), b"EHLO x\r\n".to_vec()));

    let (header, rest) = read_from(&[binary(1, 0x11, &FROM_V4), b"\x16\x03\x01".to_vec()].concat()).await;
    assert_eq!((header.unwrap(), rest), (client("192.0.2.1:4660"), b"\x16\x03\x01".to_vec()));
}

#[tokio::test]
async fn a_health_check_keeps_the_address_of_the_socket() {
    let checks = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        binary(0, 0x00, &[]),
        binary(0, 0x11, &FROM_V4),
        binary(1, 0x00, &[]),
        binary(1, 0x00, &[9, 9]),
    ];
    for check in checks {
        assert_eq!(read_from(&check).await.0.unwrap(), Header::Local, "{check:?}");
    }
}

#[tokio::test]
async fn what_is_no_header_is_told_apart_from_a_broken_one() {
    let cases: [(&[u8], &str); 9] = [
        (b"EHLO mail.example.org\r\n", "missing"),
        (b"PROXYTCP4 192.0.2.1 ", "missing"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 4660\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 +466 25\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 4660 25\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1\r198.51.100.7 4660 25\r\n", "malformed"),
        (b"PROXY TCP4 2001:db8::1 198.51.100.7 4660 25\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.1 198.51", "ended"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01", "ended"),
    ];
    for (octets, name) in cases {
        assert_eq!(read_from(octets).await.0.unwrap_err().name(), name, "{octets:?}");
    }
    assert_eq!(read_from(&binary(1, 0x12, &FROM_V4)).await.0.unwrap_err().name(), "not_tcp");
    assert_eq!(read_from(&binary(1, 0x31, &[0; 216])).await.0.unwrap_err().name(), "not_tcp");
    assert_eq!(read_from(&binary(2, 0x11, &FROM_V4)).await.0.unwrap_err().name(), "malformed");
    assert_eq!(read_from(&binary(1, 0x21, &FROM_V4)).await.0.unwrap_err().name(), "malformed");
}

#[tokio::test]
async fn a_header_is_bounded_whatever_it_declares() {
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let (header, rest) = read_from(&endless).await;
    assert_eq!(header.unwrap_err().name(), "too_long");
    assert_eq!(rest.len(), endless.len() - TEXT_OCTETS_MAX);

    let (header, rest) = read_from(&binary(1, 0x11, &[0; PAYLOAD_OCTETS_MAX + 1])).await;
    assert_eq!(header.unwrap_err().name(), "too_long");
    assert_eq!(rest.len(), PAYLOAD_OCTETS_MAX + 1, "nothing of it was read");
}

#[tokio::test]
async fn values_behind_the_addresses_are_skipped_and_a_checksum_among_them_is_checked() {
    let no_op = [4, 0, 2, 7, 7];
    let header = binary(1, 0x11, &[&FROM_V4[..], &no_op].concat());
    assert_eq!(read_from(&header).await.0.unwrap(), client("192.0.2.1:4660"));

    let mut header = with_checksum(&FROM_V4, &no_op);
    assert_eq!(read_from(&header).await.0.unwrap(), client("192.0.2.1:4660"));
    header[LENGTH_END] ^= 1;
    assert_eq!(read_from(&header).await.0.unwrap_err().name(), "checksum");

    let torn = binary(1, 0x11, &[&FROM_V4[..], &[4, 0, 9, 1]].concat());
    assert_eq!(read_from(&torn).await.0.unwrap_err().name(), "malformed");
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_says_nothing_is_given_up() {
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    theirs.write_all(b"PROXY TCP4 19").await.unwrap();
    let started_at = tokio::time::Instant::now();
    assert_eq!(read(&mut ours).await.unwrap_err().name(), "timed_out");
    assert_eq!(started_at.elapsed(), HEADER_TIME_MAX);
}

#[tokio::test]
async fn an_ipv4_client_behind_an_ipv6_balancer_is_an_ipv4_client() {
    let text = b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::7 4660 25\r\n";
    assert_eq!(read_from(text).await.0.unwrap(), client("192.0.2.1:4660"));
}

proptest! {
    /// Both versions of what a balancer may say of any client come back as that client.
    #[test]
    fn every_client_comes_through_both_versions(address: IpAddr, port: u16, ours: IpAddr) {
        let same_family = address.is_ipv4() == ours.is_ipv4();
        let ours = if same_family { ours } else { address };
        let expected = Header::Client((address.to_canonical(), port).into());
        let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        let text = format!("PROXY {family} {address} {ours} {port} 25\r\n");
        prop_assert_eq!(decode(text.as_bytes()), Ok(expected));
        let mut payload = match (address, ours) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
            _ => vec![],
        };
        payload.extend([port.to_be_bytes(), [0, 25]].concat());
        let octets = binary(1, if address.is_ipv4() { 0x11 } else { 0x21 }, &payload);
        prop_assert_eq!(decode(&octets), Ok(expected));
    }

    #[test]
    fn no_octets_panic_the_reader_and_a_header_has_one_length(
        start in prop_oneof![Just(b"PROXY TCP4 ".to_vec()), Just(BINARY_START.to_vec()), Just(vec![])],
        rest in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let octets = [start, rest].concat();
        if decode(&octets).is_ok() {
            for cut in 0..octets.len() {
                prop_assert!(decode(&octets[..cut]).is_err(), "a header may not begin with another one");
            }
        }
    }
}
