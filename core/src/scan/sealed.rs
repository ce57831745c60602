//! Content in a cover of cryptography: CMS (RFC 5652; S/MIME, `.p7m`), which is opened unless it is encrypted, and
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
    let contents = match cover {
        Cover::Encrypted => Err(Obstacle::Encrypted),
        Cover::Unknown => Err(Obstacle::Broken),
        Cover::None => bare(content),
        Cover::Signed | Cover::Digested | Cover::Compressed => encapsulated(cover, content),
    };
    let contents = match contents {
        Ok(contents) => contents,
        Err(obstacle) => return walk.obstacle(name, obstacle),
    };
    if depth.archives >= ARCHIVE_DEPTH_MAX && !contents.is_empty() {
        return walk.obstacle(name, Obstacle::TooDeep);
    }
    let (name, depth) = (name.inside("CMS"), depth.in_archive());
    for content in contents {
        walk.count_entry(&name)?;
        walk.count_octets(&name, content.len())?;
        if cover == Cover::Compressed {
            let mut decoder = ZlibDecoder::new(&content[..]);
            archive::unpack(walk, &name, content.len(), &mut decoder, depth)?;
        } else {
            walk.content(&name, &content, depth)?;
        }
    }
    ControlFlow::Continue(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// The content as it is.
    None,
    Signed,
    Digested,
    Compressed,
    Encrypted,
    /// Another of the kinds that these standards define.
    Unknown,
}

// === impl Cover ===

impl Cover {
    /// The kind of a `ContentInfo`, and its content.
    fn of(octets: &[u8]) -> Option<(Self, &[u8])> {
        let info = Element::read(octets)?.only(SEQUENCE)?;
        let kind = Element::read(info)?;
        let cover = match kind.only(OBJECT_IDENTIFIER)? {
            DATA => Self::None,
            SIGNED_DATA => Self::Signed,
            DIGESTED_DATA => Self::Digested,
            COMPRESSED_DATA => Self::Compressed,
            ENVELOPED_DATA | SIGNED_AND_ENVELOPED_DATA | ENCRYPTED_DATA | AUTH_ENVELOPED_DATA => {
                Self::Encrypted
            }
            kind if KINDS.iter().any(|kinds| kind.starts_with(kinds)) => Self::Unknown,
            _ => return None,
        };
        Some((cover, kind.rest))
    }
}

/// The octets of data without a cover.
///
/// # Errors
///
/// [`Obstacle::Broken`], if they are not where they belong.
fn bare(content: &[u8]) -> Result<Vec<Vec<u8>>, Obstacle> {
    if content.is_empty() || content.starts_with(END_OF_CONTENT) {
        return Ok(Vec::new());
    }
    let octets = Element::read(content).and_then(|content| content.only(EXPLICIT));
    octets.map(|octets| vec![joined(octets)]).ok_or(Obstacle::Broken)
}

/// The octets of the `EncapsulatedContentInfo` in the content of signed, digested or compressed data: a sequence that begins with an object
/// identifier and goes on with a content. Before it stand a version and algorithms, of which those of compression look the same,
/// so that every sequence that could be it counts. Signatures that stand beside what they sign have none.
///
/// # Errors
///
/// [`Obstacle::Broken`], if it is not where it belongs: another reader may find a content there.
fn encapsulated(cover: Cover, content: &[u8]) -> Result<Vec<Vec<u8>>, Obstacle> {
    let data = Element::read(content).and_then(|content| content.only(EXPLICIT)).and_then(Element::read);
    let mut rest = data.and_then(|data| data.only(SEQUENCE)).ok_or(Obstacle::Broken)?;
    let place = if cover == Cover::Signed { 1 } else { 2 };
    let (mut contents, mut sequences, mut is_whole) = (Vec::new(), 0_usize, false);
    for _ in 0..ENCAPSULATED_PLACE_MAX {
        let Some(element) = Element::read(rest) else { break };
        // Behind one of indefinite length nothing is found, and that is broken, if it came too early.
        rest = element.rest;
        let kind = element.only(SEQUENCE).and_then(Element::read);
        let Some(kind) = kind.filter(|kind| kind.tag == OBJECT_IDENTIFIER) else { continue };
        sequences = sequences.saturating_add(1);
        let octets = Element::read(kind.rest).and_then(|content| content.only(EXPLICIT));
        if sequences == place {
            is_whole = octets.is_some() || kind.rest.is_empty() || kind.rest.starts_with(END_OF_CONTENT);
        }
        contents.extend(octets.map(joined));
    }
    if is_whole { Ok(contents) } else { Err(Obstacle::Broken) }
}

/// An octet string, which may be cut into pieces, and the pieces into pieces.
fn joined(octets: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    // What is still to be read, the next last.
    let mut open = vec![octets];
    while let Some(octets) = open.pop() {
        let Some(element) = Element::read(octets) else { continue };
        let (behind, inside) = match element.tag {
            OCTET_STRING => {
                joined.extend_from_slice(element.content);
                (element.rest, &[][..])
            }
            OCTET_STRING_IN_PIECES => (element.rest, element.content),
            END_OF_PIECES => (element.rest, &[][..]),
            _ => continue,
        };
        open.extend([behind, inside].into_iter().filter(|octets| !octets.is_empty()));
    }
    joined
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
/// Ends an element of indefinite length.
const END_OF_CONTENT: &[u8] = &[0, 0];
/// Object identifiers: RFC 5652, RFC 5083, RFC 3274.
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
const DIGESTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x05";
/// RFC 2315.
const SIGNED_AND_ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x04";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const AUTH_ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17";
const COMPRESSED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
/// Under which all of them stand: PKCS #7, and the content types of S/MIME.
const KINDS: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x07", b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01"];
/// A version, algorithms, and then it comes.
const ENCAPSULATED_PLACE_MAX: usize = 4;

#[cfg(test)]
mod tests;
