//! TNEF ([MS-OXTNEF]), the `winmail.dat` of Outlook: a list of attributes, of which some are attachments or lists of properties.
//!
//! Every length is checked against what is there; nothing is allocated by what the file says.

mod rtf;

use std::ops::ControlFlow;

use super::item::ItemName;
use super::plan::{ARCHIVE_DEPTH_MAX, Depth, ENTRIES_MAX, Walk};
use super::reader::Reader;
use super::verdict::Obstacle;

/// Hands attachments, bodies and embedded messages to the walk, if this is TNEF.
pub(super) fn walk(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let Some(rest) = octets.strip_prefix(SIGNATURE) else { return ControlFlow::Continue(()) };
    if depth.archives >= ARCHIVE_DEPTH_MAX {
        return walk.obstacle(name, Obstacle::TooDeep);
    }
    let depth = depth.in_archive();
    // The key, by which messages refer to their attachments.
    let mut rest = rest.get(2..).unwrap_or_default();
    let mut file_name = "attachment".to_owned();
    while !rest.is_empty() {
        let Some((attribute, behind)) = Attribute::split(rest) else {
            // Encodings leave something behind the end.
            let is_padding = rest.iter().all(|octet| *octet == 0 || octet.is_ascii_whitespace());
            return if is_padding {
                ControlFlow::Continue(())
            } else {
                walk.obstacle(name, Obstacle::Broken)
            };
        };
        rest = behind;
        match attribute.id {
            ATTACH_TITLE => file_name = text_of(attribute.value),
            ATTACH_DATA => hand_over(walk, &name.inside_file(&file_name), attribute.value, depth)?,
            BODY => hand_over(walk, &name.inside("body"), attribute.value, depth)?,
            MESSAGE_PROPERTIES => walk_properties(walk, &name.inside("body"), attribute.value, depth)?,
            ATTACHMENT => walk_properties(walk, &name.inside_file(&file_name), attribute.value, depth)?,
            _ => {}
        }
        if attribute.is_cut {
            return walk.obstacle(name, Obstacle::Broken);
        }
    }
    ControlFlow::Continue(())
}

fn hand_over(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    walk.count_entry(name)?;
    walk.count_octets(name, octets.len())?;
    walk.content(name, octets, depth)
}

/// The properties of a message or an attachment.
fn walk_properties(walk: &mut Walk<'_>, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
    let mut reader = Reader(octets);
    let count = reader.u32().unwrap_or_default();
    for _ in 0..count {
        let Some(property) = Property::read(&mut reader) else {
            return walk.obstacle(name, Obstacle::Broken);
        };
        for value in property.values {
            match property.id {
                PR_ATTACH_DATA | PR_BODY | PR_BODY_HTML => hand_over(walk, name, value, depth)?,
                PR_RTF_COMPRESSED => match rtf::decompress(value, RTF_OCTETS_MAX) {
                    Ok(text) => hand_over(walk, &name.inside("rtf"), &text, depth)?,
                    Err(obstacle) => walk.obstacle(name, obstacle)?,
                },
                _ => {}
            }
        }
    }
    ControlFlow::Continue(())
}

/// One attribute of the list.
struct Attribute<'a> {
    id: u16,
    value: &'a [u8],
    /// Whether it says that it is longer than what is there.
    is_cut: bool,
}

// === impl Attribute ===

impl<'a> Attribute<'a> {
    /// An attribute is its level, its identity and type, its length, its value and a checksum, which readers do not look at.
    fn split(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader(octets);
        let level = reader.take(1)?;
        if level != LEVEL_MESSAGE && level != LEVEL_ATTACHMENT {
            return None;
        }
        let id = u16::from_le_bytes(*reader.take(4)?.first_chunk()?);
        let len = usize::try_from(reader.u32()?).ok()?;
        let rest = reader.0;
        let value = rest.get(..len).unwrap_or(rest);
        let behind = len.checked_add(CHECKSUM_OCTETS).and_then(|end| rest.get(end..)).unwrap_or_default();
        Some((Self { id, value, is_cut: len > rest.len() }, behind))
    }
}

/// One MAPI property ([MS-OXTNEF] 2.1.3.4).
struct Property<'a> {
    id: u16,
    /// Only where they have a length of their own: texts, binaries and objects.
    values: Vec<&'a [u8]>,
}

// === impl Property ===

impl<'a> Property<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (kind, id) = (reader.u16()?, reader.u16()?);
        if id >= NAMED_FROM {
            // The set that the name is of, and a number or a text.
            reader.take(16)?;
            if reader.u32()? == 0 { reader.take(4).map(drop)? } else { reader.padded().map(drop)? }
        }
        let fixed = match kind & !MULTIPLE {
            // Null; short, long, float, error, boolean; double, currency, time, long long; a class.
            0x0001 => Some(0),
            0x0002 | 0x0003 | 0x0004 | 0x000a | 0x000b => Some(4),
            0x0005 | 0x0006 | 0x0007 | 0x0014 | 0x0040 => Some(8),
            0x0048 => Some(16),
            OBJECT | 0x001e | 0x001f | 0x0102 => None,
            _ => return None,
        };
        let count = if kind & MULTIPLE != 0 || fixed.is_none() { reader.u32()? } else { 1 };
        if fixed.is_none() && usize::try_from(count).map_or(true, |count| count > ENTRIES_MAX) {
            // An empty value takes four octets in the file and sixteen in the list.
            return None;
        }
        let mut values = Vec::new();
        for _ in 0..count {
            match fixed {
                // Any number of nothing is nothing.
                Some(0) => break,
                Some(octets) => reader.take(octets).map(drop)?,
                None => {
                    let value = reader.padded()?;
                    // In front of an object stands what it is.
                    values.push(if kind == OBJECT { value.get(16..)? } else { value });
                }
            }
        }
        Some(Self { id, values })
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    /// A length, as many octets, and what fills the last four; the very last may lack that.
    fn padded(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let value = self.take(len)?;
        let padding = len.next_multiple_of(4).saturating_sub(len).min(self.0.len());
        self.take(padding)?;
        Some(value)
    }
}

fn text_of(value: &[u8]) -> String {
    let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

const SIGNATURE: &[u8] = &[0x78, 0x9f, 0x3e, 0x22];
const LEVEL_MESSAGE: &[u8] = &[1];
const LEVEL_ATTACHMENT: &[u8] = &[2];
const CHECKSUM_OCTETS: usize = 2;
/// Identities of attributes ([MS-OXTNEF] 2.1.3.3), without their types.
const BODY: u16 = 0x800c;
const ATTACH_DATA: u16 = 0x800f;
const ATTACH_TITLE: u16 = 0x8010;
const MESSAGE_PROPERTIES: u16 = 0x9003;
const ATTACHMENT: u16 = 0x9005;
/// Properties ([MS-OXPROPS]).
const PR_BODY: u16 = 0x1000;
const PR_RTF_COMPRESSED: u16 = 0x1009;
const PR_BODY_HTML: u16 = 0x1013;
const PR_ATTACH_DATA: u16 = 0x3701;
/// From here on properties have names.
const NAMED_FROM: u16 = 0x8000;
/// In a property's type: several values.
const MULTIPLE: u16 = 0x1000;
const OBJECT: u16 = 0x000d;
/// Of a text that is decompressed at once: more than the largest message.
const RTF_OCTETS_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
