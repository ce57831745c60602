//! Messages for next hops without 8BITMIME.

use std::io;

use gatepost_smtp::client::{Capabilities, Content};
use gatepost_smtp::wire::params::BodyKind;

use super::Consignment;
use crate::disk::IoPool;
use crate::intake::{Body, binarymime};

/// The same mail with its 8-bit parts encoded, where the server takes no others and they can be (RFC 6152 section 3).
/// `None`: it goes as it is, or not at all.
///
/// # Errors
/// The disk's.
pub(super) async fn convert(
    consignment: &Consignment,
    content: &Content,
    offered: &Capabilities,
    pool: &IoPool,
) -> io::Result<Option<(Consignment, Content)>> {
    let is_needed = content.kind == BodyKind::EightBitMime && !offered.eight_bit_mime;
    if !is_needed || content.has_utf8_header || content.octets > CONVERTED_OCTETS_MAX {
        return Ok(None);
    }
    let body = consignment.body.clone();
    let converted =
        pool.run(move || body.read().map(|octets| binarymime::reencode_to_seven_bit(&octets).ok()));
    Ok(converted.await??.map(|octets| {
        let converted = Consignment { body: Body::Memory(octets.into()), ..consignment.clone() };
        let octets = converted.octets();
        (converted, Content { octets, kind: BodyKind::SevenBit, has_utf8_header: false })
    }))
}

/// The old and the new message are in memory at once. Servers without 8BITMIME are rare today, and larger mails are
/// encoded by who wrote them.
const CONVERTED_OCTETS_MAX: u64 = 8 * 1024 * 1024;
