//! Which items a message has: the raw message, every decoded part, every nested message, every entry of every zip archive.
//!
//! The walk goes depth first and hands each item to a [`Visitor`] as soon as it is decoded, so that a virus in the first part
//! ends the work and one item lies in memory at a time. Its limits are counted over the whole message; what they hide from
//! the engine is reported as an [`Obstacle`], never passed over in silence.
//!
//! Not looked into (the engine sees the octets as they are): archives other than zip, uuencoded text, TNEF, streams inside
//! OLE documents and PDF, and messages that are archive entries.

use std::ops::ControlFlow;

use super::archive;
use super::item::ItemName;
use super::mime::{self, Entity, TransferEncoding};
use super::verdict::Obstacle;

/// Receives what the walk finds. `Break` ends the walk.
pub trait Visitor {
    /// One item.
    fn item(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()>;
    /// Something that could not be looked into.
    fn obstacle(&mut self, name: &ItemName, obstacle: Obstacle) -> ControlFlow<()>;
    /// So many more octets were decoded or unpacked.
    fn hold(&mut self, _octets: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Walks a message as it was received, header section first.
pub fn walk_message(message: &[u8], visitor: &mut dyn Visitor) {
    let mut walk = Walk::new(visitor);
    let name = ItemName::root("message");
    // A broken-off walk has told the visitor all it had to say.
    let _ = walk.visit(&name, message).is_continue()
        && walk.entity(&name, message, Assumed::Text, 0).is_continue();
}

/// Walks a file that need not be a message: the file itself and, if it is an archive, its entries.
pub fn walk_file(octets: &[u8], visitor: &mut dyn Visitor) {
    let mut walk = Walk::new(visitor);
    let _ = walk.content(&ItemName::root("file"), octets, 0);
}

/// What a part without a `Content-Type` is (RFC 2046 section 5.1.5: inside `multipart/digest`, a message).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assumed {
    Text,
    Message,
}

/// One walk and what it has used up of its limits.
pub(super) struct Walk<'v> {
    visitor: &'v mut dyn Visitor,
    parts: usize,
    entries: usize,
    item_octets: usize,
    walked_octets: usize,
}

// === impl Walk ===

impl<'v> Walk<'v> {
    pub(super) fn new(visitor: &'v mut dyn Visitor) -> Self {
        Self { visitor, parts: 0, entries: 0, item_octets: 0, walked_octets: 0 }
    }

    /// An item, and what is inside it if it is an archive.
    pub(super) fn content(&mut self, name: &ItemName, octets: &[u8], archives: usize) -> ControlFlow<()> {
        self.visit(name, octets)?;
        if !archive::looks_like_zip(octets) {
            return ControlFlow::Continue(());
        }
        if archives >= ARCHIVE_DEPTH_MAX {
            return self.obstacle(name, Obstacle::TooDeep);
        }
        archive::walk_zip(self, name, octets, archives.saturating_add(1))
    }

    pub(super) fn visit(&mut self, name: &ItemName, octets: &[u8]) -> ControlFlow<()> {
        self.visitor.item(name, octets)
    }

    /// Reports an obstacle; the walk goes on with what lies beside it.
    pub(super) fn obstacle(&mut self, name: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        self.visitor.obstacle(name, obstacle)
    }

    /// Counts an archive's entry.
    pub(super) fn count_entry(&mut self, name: &ItemName) -> ControlFlow<()> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > ENTRIES_MAX {
            self.give_up(name, Obstacle::TooManyEntries)
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Counts the octets of a decoded part or an unpacked entry.
    pub(super) fn count_octets(&mut self, name: &ItemName, octets: usize) -> ControlFlow<()> {
        self.item_octets = self.item_octets.saturating_add(octets);
        if self.item_octets > ITEM_OCTETS_MAX {
            return self.give_up(name, Obstacle::TooLarge);
        }
        self.visitor.hold(octets)
    }

    /// Reports that a limit of the whole message is used up: nothing after this is looked at.
    fn give_up(&mut self, name: &ItemName, obstacle: Obstacle) -> ControlFlow<()> {
        let _ = self.visitor.obstacle(name, obstacle);
        ControlFlow::Break(())
    }

    /// A message or a part of one: header section and body.
    fn entity(&mut self, name: &ItemName, octets: &[u8], assumed: Assumed, depth: usize) -> ControlFlow<()> {
        if depth > DEPTH_MAX {
            return self.obstacle(name, Obstacle::TooDeep);
        }
        self.parts = self.parts.saturating_add(1);
        if self.parts > PARTS_MAX {
            return self.give_up(name, Obstacle::TooManyParts);
        }
        self.walked_octets = self.walked_octets.saturating_add(octets.len());
        if self.walked_octets > WALKED_OCTETS_MAX {
            return self.give_up(name, Obstacle::TooLarge);
        }
        match Entity::readings(octets) {
            Ok(readings) => readings.iter().try_for_each(|entity| self.reading(name, entity, assumed, depth)),
            Err(obstacle) => self.obstacle(name, obstacle),
        }
    }

    /// One way to read a part.
    fn reading(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        assumed: Assumed,
        depth: usize,
    ) -> ControlFlow<()> {
        let name = match entity.media_types.first() {
            Some(media) => name.typed(media.label()),
            None => name.clone(),
        };
        // Where several types or an encoding contradict the parts, a reader may as well see one body.
        let is_plain = entity.media_types.len() <= 1 && entity.encodings == [TransferEncoding::Identity];
        if self.multipart(&name, entity, depth)? == Found::Parts && is_plain {
            return ControlFlow::Continue(());
        }
        if entity.media_types.iter().any(|media| media.is("message", "partial")) {
            self.obstacle(&name, Obstacle::Fragment)?;
        }
        let is_message = match entity.media_types.as_slice() {
            [] => assumed == Assumed::Message,
            types => types.iter().any(mime::MediaType::is_message),
        };
        if is_message && !entity.encodings.contains(&TransferEncoding::Identity) {
            // A reader that knows RFC 2046 section 5.2.1 ignores the encoding.
            self.entity(&name.inside("message"), entity.body, Assumed::Text, depth.saturating_add(1))?;
        }
        for encoding in &entity.encodings {
            self.leaf(&name, entity, *encoding, is_message, depth)?;
        }
        ControlFlow::Continue(())
    }

    /// The parts of a multipart, as it stands and decoded: RFC 2045 section 6.4 forbids to encode one, and readers disagree
    /// about what then counts.
    fn multipart(&mut self, name: &ItemName, entity: &Entity<'_>, depth: usize) -> ControlFlow<(), Found> {
        let lax = &entity.lax;
        let has_boundary = entity.media_types.iter().any(|media| !media.boundaries.is_empty());
        if !has_boundary && lax.boundaries.is_empty() && !lax.is_multipart {
            return ControlFlow::Continue(Found::None);
        }
        let mut found = self.parts(name, entity, entity.body, depth)?;
        for encoding in entity.encodings.iter().filter(|encoding| **encoding != TransferEncoding::Identity) {
            let decoded = mime::decode(entity.body, *encoding);
            self.count_octets(name, decoded.len())?;
            if self.parts(name, entity, &decoded, depth)? == Found::Parts {
                found = Found::Parts;
            }
        }
        ControlFlow::Continue(found)
    }

    /// The parts of one body. Where several `Content-Type` fields name several boundaries, readers disagree about which one
    /// counts, so each is followed.
    fn parts(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        body: &[u8],
        depth: usize,
    ) -> ControlFlow<(), Found> {
        let mut found = Found::None;
        let mut boundaries = 0_usize;
        for media in &entity.media_types {
            let assumed = if media.is("multipart", "digest") { Assumed::Message } else { Assumed::Text };
            for boundary in &media.boundaries {
                boundaries = boundaries.saturating_add(1);
                if self.split(name, body, boundary, assumed, depth)? == Found::Parts {
                    found = Found::Parts;
                }
            }
        }
        let lax = self.lax_parts(name, entity, body, depth)?;
        if !entity.lax.is_multipart || !mime::has_delimiter(body) {
            return ControlFlow::Continue(found);
        }
        let has_boundary = boundaries > 0 || !entity.lax.boundaries.is_empty();
        if entity.lax.is_coded || !has_boundary {
            // Readers guess, each in his own way.
            self.obstacle(name, Obstacle::Broken)?;
        }
        if entity.lax.is_coded || (found == Found::None && lax == Found::None) {
            // Under the empty boundary, every line that might be a delimiter is one.
            self.split(name, body, b"", Assumed::Text, depth)?;
        }
        ControlFlow::Continue(found)
    }

    /// The parts under boundaries that the standard does not know, which thus prove nothing about the body as a whole.
    fn lax_parts(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        body: &[u8],
        depth: usize,
    ) -> ControlFlow<(), Found> {
        let assumed = if entity.lax.is_digest { Assumed::Message } else { Assumed::Text };
        let mut found = Found::None;
        for boundary in &entity.lax.boundaries {
            self.walked_octets = self.walked_octets.saturating_add(body.len());
            if self.walked_octets > WALKED_OCTETS_MAX {
                self.give_up(name, Obstacle::TooLarge)?;
            }
            if self.split(name, body, boundary, assumed, depth)? == Found::Parts {
                found = Found::Parts;
            }
        }
        ControlFlow::Continue(found)
    }

    /// The parts under one boundary.
    fn split(
        &mut self,
        name: &ItemName,
        body: &[u8],
        boundary: &[u8],
        assumed: Assumed,
        depth: usize,
    ) -> ControlFlow<(), Found> {
        let mut found = Found::None;
        for (part, number) in mime::Parts::new(body, boundary).zip(1_usize..) {
            found = Found::Parts;
            let name = name.inside(&format!("part {number}"));
            self.entity(&name, part, assumed, depth.saturating_add(1))?;
        }
        ControlFlow::Continue(found)
    }

    /// A part without parts of its own.
    fn leaf(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        encoding: TransferEncoding,
        is_message: bool,
        depth: usize,
    ) -> ControlFlow<()> {
        let decoded = mime::decode(entity.body, encoding);
        self.count_octets(name, decoded.len())?;
        if is_message {
            self.entity(&name.inside("message"), &decoded, Assumed::Text, depth.saturating_add(1))?;
            if entity.media_types.len() <= 1 {
                return ControlFlow::Continue(());
            }
        }
        self.content(name, &decoded, 0)
    }
}

/// Whether a body had parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    None,
    Parts,
}

/// Mail that was forwarded ten times nests twenty levels. Each level costs one pass over its octets and a few stack frames.
pub const DEPTH_MAX: usize = 32;
/// Zip in zip in zip is packaging; more is an attempt to tire a scanner. Each level holds one unpacked entry in memory.
pub const ARCHIVE_DEPTH_MAX: usize = 4;
/// A digest of a busy list has a few hundred parts.
pub const PARTS_MAX: usize = 2_000;
/// Source trees and office documents have thousands of entries; a directory is 200 octets of memory for each.
pub const ENTRIES_MAX: usize = 10_000;
/// Over all decoded parts and unpacked entries: five times the largest message. Bounds what the engine has to look at.
pub const ITEM_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// Every level of nesting passes over its octets once. Only a message that gives the same octets many meanings comes near.
pub const WALKED_OCTETS_MAX: usize = 2 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests;
