//! Messages and their parts, under every reading.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use super::{DEPTH_MAX, Depth, PARTS_MAX, Walk};
use crate::scan::item::ItemName;
use crate::scan::mime::{self, Entity, TransferEncoding};
use crate::scan::verdict::Obstacle;

/// What a part without a `Content-Type` is (RFC 2046 section 5.1.5: inside `multipart/digest`, a message).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Assumed {
    Text,
    Message,
}

impl Walk<'_> {
    /// A message or a part of one: header section and body.
    pub(super) fn entity(
        &mut self,
        name: &ItemName,
        octets: &[u8],
        assumed: Assumed,
        depth: Depth,
    ) -> ControlFlow<()> {
        if depth.messages > DEPTH_MAX {
            return self.obstacle(name, Obstacle::TooDeep);
        }
        self.parts = self.parts.saturating_add(1);
        if self.parts > PARTS_MAX {
            return self.give_up(name, Obstacle::TooManyParts);
        }
        self.count_walked(name, octets.len())?;
        let mut seen = HashSet::new();
        match Entity::readings(octets) {
            Ok(readings) => {
                readings.iter().try_for_each(|entity| self.reading(name, entity, assumed, depth, &mut seen))
            }
            Err(obstacle) => self.obstacle(name, obstacle),
        }
    }

    /// One way to read a part.
    fn reading(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        assumed: Assumed,
        depth: Depth,
        seen: &mut SeenParts,
    ) -> ControlFlow<()> {
        let name = match entity.media_types.first() {
            Some(media) => name.typed(media.label()),
            None => name.clone(),
        };
        let name = match &entity.file_name {
            Some(file_name) => name.called(file_name),
            None => name,
        };
        self.declared(&name, entity)?;
        // Where several types or an encoding contradict the parts, a reader may as well see one body.
        let is_plain = entity.media_types.len() <= 1 && entity.encodings == [TransferEncoding::Identity];
        if self.multipart(&name, entity, depth, seen)? == Found::Parts && is_plain {
            return ControlFlow::Continue(());
        }
        let is_message = if entity.lax.is_silent() {
            assumed == Assumed::Message
        } else {
            // Some readers open every type of it as they open `message/rfc822`.
            entity.lax.names("message/")
        };
        if is_message && !entity.is_cut && !entity.encodings.contains(&TransferEncoding::Identity) {
            // A reader that knows RFC 2046 section 5.2.1 ignores the encoding.
            self.entity(&name.inside("message"), entity.body, Assumed::Text, depth.in_message())?;
        }
        self.leaves(&name, entity, is_message, depth)
    }

    /// What a part's fields alone tell.
    fn declared(&mut self, name: &ItemName, entity: &Entity<'_>) -> ControlFlow<()> {
        if entity.is_ambiguous {
            self.obstacle(name, Obstacle::Ambiguous)?;
        }
        for (media, obstacle) in [
            ("multipart/encrypted", Obstacle::Encrypted),
            ("message/partial", Obstacle::Fragment),
            ("message/external-body", Obstacle::External),
        ] {
            if entity.lax.names(media) {
                self.obstacle(name, obstacle)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The parts of a multipart, as it stands and decoded: RFC 2045 section 6.4 forbids to encode one, and readers disagree
    /// about what then counts.
    fn multipart(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        depth: Depth,
        seen: &mut SeenParts,
    ) -> ControlFlow<(), Found> {
        let lax = &entity.lax;
        let has_boundary = entity.media_types.iter().any(|media| !media.boundaries.is_empty());
        if !has_boundary && lax.boundaries.is_empty() && !lax.is_multipart {
            return ControlFlow::Continue(Found::None);
        }
        let mut found = self.parts(name, entity, entity.body, depth, seen)?;
        for encoding in entity.encodings.iter().filter(|encoding| **encoding != TransferEncoding::Identity) {
            let decoded = mime::decode(entity.body, *encoding);
            self.count_octets(name, decoded.len())?;
            if self.parts(name, entity, &decoded, depth, &mut HashSet::new())? == Found::Parts {
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
        depth: Depth,
        seen: &mut SeenParts,
    ) -> ControlFlow<(), Found> {
        let mut found = Found::None;
        let mut boundaries = 0_usize;
        for media in &entity.media_types {
            let assumed = if media.is("multipart", "digest") { Assumed::Message } else { Assumed::Text };
            for boundary in &media.boundaries {
                boundaries = boundaries.saturating_add(1);
                if self.split(name, body, boundary, assumed, depth, seen)? == Found::Parts {
                    found = Found::Parts;
                }
            }
        }
        let lax = self.lax_parts(name, entity, body, depth, seen)?;
        if !entity.lax.is_multipart || !mime::has_delimiter(body) {
            return ControlFlow::Continue(found);
        }
        let has_boundary = boundaries > 0 || !entity.lax.boundaries.is_empty();
        if entity.lax.is_coded || !has_boundary {
            // Readers guess, each in his own way.
            self.obstacle(name, Obstacle::Ambiguous)?;
        }
        if entity.lax.is_coded || (found == Found::None && lax == Found::None) {
            // Under the empty boundary, every line that might be a delimiter is one.
            self.split(name, body, b"", Assumed::Text, depth, seen)?;
        }
        ControlFlow::Continue(found)
    }

    /// The parts under boundaries that the standard does not know, which thus prove nothing about the body as a whole.
    fn lax_parts(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        body: &[u8],
        depth: Depth,
        seen: &mut SeenParts,
    ) -> ControlFlow<(), Found> {
        let assumed = if entity.lax.is_digest { Assumed::Message } else { Assumed::Text };
        let mut found = Found::None;
        for boundary in &entity.lax.boundaries {
            if self.split(name, body, boundary, assumed, depth, seen)? == Found::Parts {
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
        depth: Depth,
        seen: &mut SeenParts,
    ) -> ControlFlow<(), Found> {
        self.count_walked(name, body.len())?;
        let mut pieces = 0_usize;
        let mut parts = mime::Parts::lax(body, boundary);
        for part in parts.by_ref() {
            pieces = pieces.saturating_add(1);
            if seen.insert((part.as_ptr_range(), assumed)) {
                let name = name.inside_part(pieces);
                self.entity(&name, part, assumed, depth.in_message())?;
            }
        }
        if parts.has_lone_return() && !boundary.is_empty() {
            self.obstacle(name, Obstacle::Ambiguous)?;
        }
        if parts.has_odd_delimiter() && !boundary.is_empty() {
            // To other readers these lines are content.
            self.count_walked(name, body.len())?;
            for part in mime::Parts::strict(body, boundary) {
                if seen.insert((part.as_ptr_range(), assumed)) {
                    let name = name.inside("part by the letter");
                    self.entity(&name, part, assumed, depth.in_message())?;
                }
            }
        }
        ControlFlow::Continue(if pieces == 0 { Found::None } else { Found::Parts })
    }

    /// A part without parts of its own, once for each decoding that differs.
    fn leaves(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        is_message: bool,
        depth: Depth,
    ) -> ControlFlow<()> {
        let mut seen = Vec::new();
        for encoding in &entity.encodings {
            let decoded = mime::decode(entity.body, *encoding);
            self.count_octets(name, decoded.len())?;
            if entity.encodings.len() > 1 {
                let hash = blake3::hash(&decoded);
                if seen.contains(&hash) {
                    continue;
                }
                seen.push(hash);
            }
            let lies_open = matches!(decoded, Cow::Borrowed(_));
            self.leaf(name, entity, &decoded, lies_open, is_message, depth)?;
        }
        ControlFlow::Continue(())
    }

    fn leaf(
        &mut self,
        name: &ItemName,
        entity: &Entity<'_>,
        decoded: &[u8],
        lies_open: bool,
        is_message: bool,
        depth: Depth,
    ) -> ControlFlow<()> {
        // As a message, the fields of a body that is cut are among those of the reading that is not.
        let is_known = lies_open && entity.is_cut;
        if is_message && !is_known {
            self.entity(&name.inside("message"), decoded, Assumed::Text, depth.in_message())?;
            if lies_open && entity.is_plainly_message() {
                return ControlFlow::Continue(());
            }
        }
        if lies_open && (is_message || entity.is_text()) {
            // Encoded files in it were found in what is around it.
            self.opened(name, decoded, depth)?;
        } else {
            self.text(name, decoded, depth)?;
        }
        if is_message || is_known {
            return ControlFlow::Continue(());
        }
        // A text, too: a program may go by the name of the file.
        self.perhaps_message(name, decoded, depth)
    }
}

/// Which octets of an entity have been walked as a part, and as what: the same ones under another reading are nothing new.
type SeenParts = HashSet<(Range<*const u8>, Assumed)>;

/// Whether a body had parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    None,
    Parts,
}
