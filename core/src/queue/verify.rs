//! Looks at every octet that counts, beside a running server or without one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::handle::Queue;
use super::recovery::{CORRUPT_FOLDER, aside_name, probable_id};
use super::said::Said;
use super::segment::{SEGMENT_HEADER_OCTETS, SegmentId};
use super::shared::{Loaded, Shared};
use super::survey::{self, Finding, Survey};
use super::{OpenError, QueueId};
use crate::disk::Disk;
use crate::intake::Body;

/// What `Queue::verify` looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments read.
    pub segments: usize,
    /// Whole records in them.
    pub records: usize,
    /// Messages with a pending recipient.
    pub messages: usize,
    /// Body files whose octets were compared with their hash.
    pub bodies: usize,
    /// Octets of segments and body files that were read.
    pub octets: u64,
    /// What is wrong, in the order of the segments.
    pub problems: Vec<Problem>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The message that it concerns, as far as its octets tell.
    pub id: Option<QueueId>,
    /// What is wrong.
    pub flaw: Flaw,
    /// Whether a start, or delivery, has found and told it before: what is left of it lies in `corrupt/`.
    pub was_told: bool,
}

/// What may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The first 512 octets of a segment; its records can be read all the same.
    #[error("the header is damaged")]
    Header,
    /// A part of a segment that should be records. What it costs, if anything, depends on what lay there.
    #[error("{0} octets are no record")]
    Record(u64),
    /// A whole record that says nothing sensible.
    #[error("a record cannot be understood")]
    Meaning,
    /// A segment ends before the place up to which it was flushed.
    #[error("the file is shorter than it was")]
    Short,
    /// A message cannot be delivered as it is.
    #[error("the mail cannot be read: {0}")]
    Mail(String),
}

// === impl Queue ===

impl Queue {
    /// Checks every record of every segment, and the octets of each body file that a message needs. Changes nothing.
    /// Blocking; reads all that is there.
    ///
    /// # Errors
    /// A segment of a newer version, or a folder that cannot be read. Damage is no error: see `Verified::problems`.
    pub fn verify(disk: Arc<dyn Disk>, root: &Path) -> Result<Verified, OpenError> {
        let survey = Survey::new(&*disk, root)?;
        let corrupt = root.join(CORRUPT_FOLDER);
        let aside = survey::names(&*disk, &corrupt).map_err(OpenError::io(&corrupt))?;
        let mut verified = Verified::default();
        for segment in &survey.segments {
            let path = segment.path(root);
            verified
                .look_at(&*disk, root, &survey, &aside, *segment)
                .map_err(|source| OpenError::Io { path, source })?;
        }
        let snapshot = Self::inspect(disk, root)?;
        let shared = snapshot.shared();
        let ids = shared.index().ids();
        for id in ids {
            verified.messages = verified.messages.saturating_add(1);
            verified.read_mail(shared, id);
        }
        Ok(verified)
    }
}

// === impl Verified ===

impl Verified {
    fn look_at(
        &mut self,
        disk: &dyn Disk,
        root: &Path,
        survey: &Survey,
        aside: &BTreeSet<String>,
        segment: SegmentId,
    ) -> io::Result<()> {
        let Some(mut reader) = survey::open(disk, root, segment)? else { return Ok(()) };
        let path = segment.path(root);
        let mut problems = Vec::new();
        let mut report = |offset, flaw| {
            let was_told = aside.contains(&aside_name(segment, offset));
            problems.push(Problem { path: path.clone(), offset, id: None, flaw, was_told });
        };
        if survey.headless.contains(&segment) {
            report(0, Flaw::Header);
        }
        let end = match survey.ends.get(&segment) {
            Some(end) => *end,
            None => reader.extent()?.end,
        };
        if end > reader.len() {
            report(reader.len(), Flaw::Short);
        }
        let end = end.min(reader.len());
        let mut records = 0_usize;
        survey::walk(&mut reader, end, |offset, finding| match finding {
            Finding::Record(head, payload) => {
                records = records.saturating_add(1);
                if Said::of_payload(head.kind, payload).is_err() {
                    report(offset, Flaw::Meaning);
                }
            }
            Finding::Damage(octets) => report(offset, Flaw::Record(octets)),
        })?;
        for problem in &mut problems {
            if matches!(problem.flaw, Flaw::Record(_) | Flaw::Meaning) {
                problem.id = probable_id(&mut reader, problem.offset)?;
            }
        }
        self.segments = self.segments.saturating_add(1);
        self.records = self.records.saturating_add(records);
        self.octets = self.octets.saturating_add(end.saturating_sub(SEGMENT_HEADER_OCTETS));
        self.problems.append(&mut problems);
        Ok(())
    }

    /// A record of the queue's own was read with its segment; a file is read here.
    fn read_mail(&mut self, shared: &Shared, id: QueueId) {
        let Some(place) = shared.index().get(id).map(super::index::Entry::place) else { return };
        let failed = match shared.glimpse(place) {
            Loaded::Whole(message) => {
                let Body::File(file) = &message.body else { return };
                self.bodies = self.bodies.saturating_add(1);
                self.octets = self.octets.saturating_add(file.octets());
                let read = file.reader().and_then(|mut reader| io::copy(&mut reader, &mut io::sink()));
                read.err().map(|error| error.to_string())
            }
            Loaded::Damaged => Some("its record is damaged".to_owned()),
            // Beside a running server it may have been delivered meanwhile.
            Loaded::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => None,
            Loaded::Unreadable(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            let path = place.segment.path(&shared.root);
            let (offset, flaw) = (place.offset, Flaw::Mail(why));
            self.problems.push(Problem { path, offset, id: Some(id), flaw, was_told: false });
        }
    }
}
