//! Content in a cover of cryptography: CMS (RFC 5652; S/MIME, `.p7m`), which is opened where it is only signed or compressed, and
//! office documents with a password.

use std::ops::ControlFlow;

use flate2::read::ZlibDecoder;

use super::archive;
use super::item::ItemName;
use super::plan::{ARCHIVE_DEPTH_MAX, Depth, Walk};
use super::verdict::Obstacle;

/// Hands what is covered to the walk, or tells that nobody can look into it.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    if octets.starts_with(OLE) && memchr::memmem::find(octets, ENCRYPTED_PACKAGE).is_some() {
        return walk.obstacle(name, Obstacle::Encrypted);
    }
    let Some((cover, content)) = Cover::of(octets) else { return ControlFlow::Continue(()) };
    if cover == Cover::Encrypted {
        return walk.obstacle(name, Obstacle::Encrypted);
    }
    // Signatures that stand beside what they sign have no content.
    let Some(content) = encapsulated(content) else { return ControlFlow::Continue(()) };
    if depth.archives >= ARCHIVE_DEPTH_MAX {
        return walk.obstacle(name, Obstacle::TooDeep);
    }
    let name = name.inside("CMS");
    walk.count_entry(&name)?;
    walk.count_octets(&name, content.len())?;
    if cover == Cover::Compressed {
        return archive::unpack(
            walk,
            &name,
            content.len(),
            &mut ZlibDecoder::new(&content[..]),
            depth.in_archive(),
        );
    }
    walk.content(&name, &content, depth.in_archive())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    Signed,
    Compressed,
    Encrypted,
}

// === impl Cover ===

impl Cover {
    /// The kind of a `ContentInfo`, and its content.
    fn of(octets: &[u8]) -> Option<(Self, &[u8])> {
        let info = Element::read(octets)?.only(SEQUENCE)?;
        let kind = Element::read(info)?;
        let cover = match kind.only(OBJECT_IDENTIFIER)? {
            SIGNED_DATA => Self::Signed,
            COMPRESSED_DATA => Self::Compressed,
            ENVELOPED_DATA | ENCRYPTED_DATA | AUTH_ENVELOPED_DATA => Self::Encrypted,
            _ => return None,
        };
        Some((cover, kind.rest))
    }
}

/// The octets of the `EncapsulatedContentInfo` in the content of signed or compressed data. It is the first sequence there that
/// begins with an object identifier and goes on with a content; what stands before are a version and algorithms.
fn encapsulated(content: &[u8]) -> Option<Vec<u8>> {
    let data = Element::read(content)?.only(EXPLICIT)?;
    let mut rest = Element::read(data)?.only(SEQUENCE)?;
    for _ in 0..ENCAPSULATED_PLACE_MAX {
        let element = Element::read(rest)?;
        let of_sequence = element.only(SEQUENCE).and_then(Element::read);
        let behind_type = of_sequence.filter(|kind| kind.tag == OBJECT_IDENTIFIER).map(|kind| kind.rest);
        let octets = behind_type.and_then(Element::read).and_then(|content| content.only(EXPLICIT));
        if let Some(octets) = octets {
            return Some(joined(octets));
        }
        rest = element.rest;
    }
    None
}

/// An octet string, which may be cut into pieces, and the pieces into pieces.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    while let Some(element) = Element::read(rest) {
        rest = match element.tag {
            OCTET_STRING => {
                octets.extend_from_slice(element.content);
                element.rest
            }
            OCTET_STRING_IN_PIECES => element.content,
            END_OF_PIECES => element.rest,
            _ => break,
        };
    }
    octets
}

/// One element of BER.
struct Element<'a> {
    tag: u8,
    /// All that follows where the length is indefinite.
    content: &'a [u8],
    rest: &'a [u8],
}

// === impl Element ===

impl<'a> Element<'a> {
    fn read(octets: &'a [u8]) -> Option<Self> {
        let (tag, rest) = octets.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (len, rest) = match length {
            0x80 => (rest.len(), rest),
            0..0x80 => (usize::from(*length), rest),
            _ => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                if digits.len() > 8 {
                    return None;
                }
                let len = digits.iter().fold(0_u64, |len, digit| len << 8 | u64::from(*digit));
                (usize::try_from(len).ok()?, rest)
            }
        };
        // A cut file still shows what is there.
        let (content, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        Some(Self { tag: *tag, content, rest })
    }

    /// The content, if it has this tag.
    fn only(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// The beginning of an OLE document, and the stream in which an office program puts one that has a password ([MS-OFFCRYPTO]).
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
const ENCRYPTED_PACKAGE: &[u8] = b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k\0a\0g\0e\0";
/// Tags of BER.
const OCTET_STRING: u8 = 0x04;
const OCTET_STRING_IN_PIECES: u8 = 0x24;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXPLICIT: u8 = 0xa0;
const END_OF_PIECES: u8 = 0;
/// Object identifiers: RFC 5652, RFC 5083, RFC 3274.
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const AUTH_ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";
const COMPRESSED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
/// A version, algorithms, and then it comes.
const ENCAPSULATED_PLACE_MAX: usize = 4;

#[cfg(test)]
mod tests;
