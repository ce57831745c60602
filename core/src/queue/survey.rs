//! All whole records on disk, read without believing anything: for `verify` and `salvage`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::OpenError;
use super::reader::SegmentReader;
use super::record::{ALIGNMENT, BATCH_OCTETS, Kind, RecordHead};
use super::segment::{
    FORMAT_VERSION, HEADER_FIELDS_OCTETS, HeaderFound, Opening, SEGMENT_HEADER_OCTETS, SegmentId,
    decode_header,
};
use crate::disk::Disk;

/// The segments of a folder and where each ends, as far as an opening tells.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) segments: Vec<SegmentId>,
    pub(super) ends: BTreeMap<SegmentId, u64>,
    /// Those whose header is damaged.
    pub(super) headless: Vec<SegmentId>,
}

/// What lies at a place of a segment.
pub(super) enum Finding<'a> {
    Record(RecordHead, &'a [u8]),
    /// So many octets that are no record.
    Damage(u64),
}

// === impl Survey ===

impl Survey {
    /// Of all segments in `root`; none where there is no such folder.
    pub(super) fn new(disk: &dyn Disk, root: &Path) -> Result<Self, OpenError> {
        let listed = match disk.list(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(OpenError::io(root))?,
        };
        let mut segments: Vec<SegmentId> =
            listed.iter().filter_map(|path| SegmentId::of_path(path)).collect();
        segments.sort_unstable();
        let mut survey = Self { segments, ..Self::default() };
        for segment in survey.segments.clone() {
            survey.read_start(disk, root, segment)?;
        }
        Ok(survey)
    }

    fn read_start(&mut self, disk: &dyn Disk, root: &Path, segment: SegmentId) -> Result<(), OpenError> {
        let path = segment.path(root);
        let Some(mut reader) = open(disk, root, segment).map_err(OpenError::io(&path))? else {
            return Ok(());
        };
        let header = reader.octets(0, HEADER_FIELDS_OCTETS).map_err(OpenError::io(&path))?;
        match decode_header(header.unwrap_or_default(), segment) {
            HeaderFound::Known => {}
            HeaderFound::Newer(found) => {
                return Err(OpenError::NewerVersion { path, found, known: FORMAT_VERSION });
            }
            HeaderFound::Damaged => self.headless.push(segment),
        }
        let opening = opening(&mut reader).map_err(OpenError::io(&path))?;
        self.ends.extend(opening.into_iter().flat_map(|opening| opening.ends));
        Ok(())
    }
}

/// The names of the files in a folder; none where there is no such folder.
pub(super) fn names(disk: &dyn Disk, folder: &Path) -> io::Result<BTreeSet<String>> {
    let listed = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        listed => listed?,
    };
    Ok(listed.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// A segment; `None` where it has gone meanwhile, beside a running server.
pub(super) fn open(disk: &dyn Disk, root: &Path, segment: SegmentId) -> io::Result<Option<SegmentReader>> {
    match disk.open(&segment.path(root), true).and_then(|file| SegmentReader::new(file, segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// What the first record of a segment says, where its batch was not blotted out.
pub(super) fn opening(reader: &mut SegmentReader) -> io::Result<Option<Opening>> {
    // What a blotted-out one says of ends was not true for long.
    if !reader.begins_batch(SEGMENT_HEADER_OCTETS)? {
        return Ok(None);
    }
    let offset = SEGMENT_HEADER_OCTETS.saturating_add(BATCH_OCTETS);
    let record = reader.record(offset, reader.len())?;
    let opening = record.filter(|(head, _)| head.kind == Kind::Opening);
    Ok(opening.and_then(|(_, payload)| Opening::decode(payload).ok()))
}

/// Shows all that lies between the header and `end`.
pub(super) fn walk(
    reader: &mut SegmentReader,
    end: u64,
    mut show: impl FnMut(u64, Finding<'_>),
) -> io::Result<()> {
    let mut offset = SEGMENT_HEADER_OCTETS;
    while offset < end {
        if let Some((head, payload)) = reader.record(offset, end)? {
            show(offset, Finding::Record(head, payload));
            offset = offset.saturating_add(head.octets());
        } else {
            let next = reader.next_record(offset.saturating_add(ALIGNMENT), end)?.unwrap_or(end);
            show(offset, Finding::Damage(next.saturating_sub(offset)));
            offset = next;
        }
    }
    Ok(())
}
