//! Which items a message has: the raw message, every decoded part, every nested message, and everything in archives,
//! compressed files, uuencoded or yEnc text, TNEF and signed CMS, down through all of them.
//!
//! The walk goes depth first and hands each item to a [`Visitor`] as soon as it is decoded, so that a virus in the first part
//! ends the work and one item lies in memory at a time. Its limits are counted over the whole message; what they hide from
//! the engine is reported as an [`Obstacle`], never passed over in silence.
//!
//! Not looked into (the engine sees the octets as they are): archives other than zip, tar, 7z, gzip, bzip2, xz and lzma, and
//! streams inside OLE documents and PDF.

mod entity;

use std::ops::ControlFlow;
use std::time::Instant;

use super::archive;
use super::coded_text;
use super::item::ItemName;
use super::mime;
use super::sealed;
use super::tnef;
use super::verdict::Obstacle;
use entity::Assumed;

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
    /// When the walk has to end; it is then as good as ended.
    fn due(&self) -> Option<Instant> {
        None
    }
}

/// Walks a message as it was received, header section first.
pub fn walk_message(message: &[u8], visitor: &mut dyn Visitor) {
    let mut walk = Walk::new(visitor);
    let name = ItemName::root("message");
    // A broken-off walk has told the visitor all it had to say.
    let _ = walk.visit(&name, message).is_continue()
        && coded_text::walk(&mut walk, &name, message, Depth::default()).is_continue()
        && walk.entity(&name, message, Assumed::Text, Depth::default()).is_continue();
}

/// Walks a file as no message: the file itself and what is inside.
pub fn walk_file(octets: &[u8], visitor: &mut dyn Visitor) {
    let mut walk = Walk::new(visitor);
    let _ = walk.text(&ItemName::root("file"), octets, Depth::default());
}

/// Whether the first line could be a header field, or what stands before a message in a mailbox of Unix.
#[must_use]
pub fn begins_like_a_message(octets: &[u8]) -> bool {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    mime::is_field(line) || line.starts_with(b"From ")
}

/// How much lies around an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Depth {
    /// Multiparts and messages.
    pub(super) messages: usize,
    /// Archives, compressed files and the like.
    pub(super) archives: usize,
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

    /// An item, and what is inside it.
    pub(super) fn content(&mut self, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
        self.text(name, octets, depth)?;
        self.perhaps_message(name, octets, depth)
    }

    /// What some program may open as a message, though nothing calls it one.
    fn perhaps_message(&mut self, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
        let Some(octets) = mime::as_message(octets) else { return ControlFlow::Continue(()) };
        self.entity(&name.inside("message"), octets, Assumed::Text, depth.in_message())
    }

    /// An item that no program takes for a message, and what is inside it.
    fn text(&mut self, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
        self.opened(name, octets, depth)?;
        coded_text::walk(self, name, octets, depth)
    }

    /// An item, and what is inside it beside encoded files that lie open in it.
    fn opened(&mut self, name: &ItemName, octets: &[u8], depth: Depth) -> ControlFlow<()> {
        self.visit(name, octets)?;
        archive::walk(self, name, octets, depth)?;
        sealed::walk(self, name, octets, depth)?;
        tnef::walk(self, name, octets, depth)
    }

    /// When the scan has to end.
    pub(super) fn due(&self) -> Option<Instant> {
        self.visitor.due()
    }

    /// Ends the walk once the scan has to end: for work that hands nothing over for long.
    pub(super) fn check_due(&mut self) -> ControlFlow<()> {
        self.visitor.hold(0)
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

    /// Counts octets that are gone over once more without becoming an item.
    pub(super) fn count_walked(&mut self, name: &ItemName, octets: usize) -> ControlFlow<()> {
        self.walked_octets = self.walked_octets.saturating_add(octets);
        if self.walked_octets > WALKED_OCTETS_MAX {
            return self.give_up(name, Obstacle::TooLarge);
        }
        self.check_due()
    }
}

// === impl Depth ===

impl Depth {
    /// One multipart or message further in.
    pub(super) fn in_message(self) -> Self {
        Self { messages: self.messages.saturating_add(1), ..self }
    }

    /// One archive further in.
    pub(super) fn in_archive(self) -> Self {
        Self { archives: self.archives.saturating_add(1), ..self }
    }
}

/// Mail that was forwarded ten times nests twenty levels. Each level costs one pass over its octets and a few stack frames.
pub const DEPTH_MAX: usize = 32;
/// A compressed tar archive in another one in a zip archive is packaging, and five levels; more is an attempt to tire a scanner.
/// Each level holds one unpacked entry in memory, counted with all others.
pub const ARCHIVE_DEPTH_MAX: usize = 6;
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
