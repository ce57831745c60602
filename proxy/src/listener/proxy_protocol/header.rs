//! The header itself. The `ppp` crate reads it; what it is lenient with is checked here.

use std::net::SocketAddr;

use ppp::{v1, v2};

/// What a balancer says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It is passed on for this client.
    Client(SocketAddr),
    /// It is the balancer's own (a health check), or one of which it does not know the client: LOCAL, UNKNOWN, UNSPEC. The
    /// addresses of the socket hold (section 2.2).
    Local,
}

/// A header cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else is there.
    #[error("no PROXY header, although one is required of this network")]
    Missing,
    /// Above our limits.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Against the grammar.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Its checksum is wrong.
    #[error("the PROXY header has a wrong checksum")]
    Checksum,
    /// It speaks of UDP or of a local socket.
    #[error("the PROXY header is not that of a TCP connection")]
    NotTcp,
}

// === impl HeaderError ===

impl HeaderError {
    /// A stable name for metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::NotTcp => "not_tcp",
        }
    }
}

/// Reads a header that is there as a whole, with nothing behind it.
///
/// # Errors
/// It cannot be believed.
pub fn decode(octets: &[u8]) -> Result<Header, HeaderError> {
    if octets.starts_with(BINARY_START) {
        binary(octets)
    } else if octets.starts_with(TEXT_START) {
        text(octets)
    } else {
        Err(HeaderError::Missing)
    }
}

/// How many octets follow `LENGTH_END` in version 2, as far as they say so themselves.
pub(super) fn payload_octets(octets: &[u8]) -> Option<usize> {
    let [high, low] = *octets.get(LENGTH_START..LENGTH_END)?.first_chunk()?;
    Some(usize::from(u16::from_be_bytes([high, low])))
}

/// Section 2.1.
fn text(octets: &[u8]) -> Result<Header, HeaderError> {
    let header = v1::Header::try_from(octets).map_err(|_| HeaderError::Malformed)?;
    // The parser stops behind the first line, lets it end with a bare LF, and takes `+25` for a port.
    if header.header.len() != octets.len()
        || !octets.ends_with(b"\r\n")
        || (header.addresses != v1::Addresses::Unknown && octets.contains(&b'+'))
    {
        return Err(HeaderError::Malformed);
    }
    Ok(match header.addresses {
        v1::Addresses::Unknown => Header::Local,
        v1::Addresses::Tcp4(it) => client(it.source_address, it.source_port),
        v1::Addresses::Tcp6(it) => client(it.source_address, it.source_port),
    })
}

/// Section 2.2.
fn binary(octets: &[u8]) -> Result<Header, HeaderError> {
    let header = v2::Header::try_from(octets).map_err(|_| HeaderError::Malformed)?;
    if header.len() != octets.len() {
        return Err(HeaderError::Malformed);
    }
    if header.addresses != v2::Addresses::Unspecified {
        check_checksum(&header)?;
    }
    match (header.command, header.protocol, header.addresses) {
        // What else such a header says is to be ignored.
        (v2::Command::Local, _, _) | (v2::Command::Proxy, _, v2::Addresses::Unspecified) => Ok(Header::Local),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(it)) => {
            Ok(client(it.source_address, it.source_port))
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(it)) => {
            Ok(client(it.source_address, it.source_port))
        }
        (v2::Command::Proxy, _, _) => Err(HeaderError::NotTcp),
    }
}

/// Section 2.2.4: a CRC32c over the whole header, its own four octets taken as zero, must be right where it is there.
fn check_checksum(header: &v2::Header<'_>) -> Result<(), HeaderError> {
    let octets = header.as_bytes();
    let mut start = octets.len().saturating_sub(header.tlv_bytes().len());
    for tlv in header.tlvs() {
        let tlv = tlv.map_err(|_| HeaderError::Malformed)?;
        let value = start.saturating_add(TLV_START_OCTETS);
        start = value.saturating_add(tlv.value.len());
        if tlv.kind != v2::Type::CRC32C as u8 {
            continue;
        }
        let written: [u8; 4] = tlv.value.as_ref().try_into().map_err(|_| HeaderError::Malformed)?;
        let before = crc32c::crc32c(octets.get(..value).unwrap_or_default());
        let zeroed = crc32c::crc32c_append(before, &[0; 4]);
        let computed = crc32c::crc32c_append(zeroed, octets.get(start..).unwrap_or_default());
        if computed != u32::from_be_bytes(written) {
            return Err(HeaderError::Checksum);
        }
    }
    Ok(())
}

/// A balancer on a dual-stack socket writes an IPv4 client as `::ffff:a.b.c.d`; rules and logs want the address itself.
fn client(address: impl Into<std::net::IpAddr>, port: u16) -> Header {
    Header::Client(SocketAddr::new(address.into().to_canonical(), port))
}

/// How version 1 begins.
pub(super) const TEXT_START: &[u8] = b"PROXY ";
/// How version 2 begins: chosen so that every text protocol trips over it.
pub(super) const BINARY_START: &[u8] = v2::PROTOCOL_PREFIX;
/// Where the length of what follows is.
const LENGTH_START: usize = 14;
/// Where what follows begins.
pub(super) const LENGTH_END: usize = 16;
/// Kind and length of a value behind the addresses.
const TLV_START_OCTETS: usize = 3;
