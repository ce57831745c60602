//! The files of the quarantine, and which of them go.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Record, Written};
use super::{Details, Metrics, Selection, Settings, Suspect};
use crate::clock::millis;
use crate::disk::Disk;
use crate::disk::files::{Copied, copy, remove_if_there, replace};
use crate::queue::QueueId;
use crate::scan::Ruling;

mod files;
mod later;
pub(super) mod rulings;

use files::{MAIL, NEW, RECORD, name_of, read_whole};

/// What is kept. One at a time works on it.
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    settings: Settings,
    metrics: Option<Metrics>,
    kept: BTreeMap<QueueId, Entry>,
    /// As they were taken by releases that are in the queue, and could not be taken out of here.
    unfinished: BTreeMap<QueueId, Record>,
}

struct Entry {
    record: Record,
    /// Whether the queue will not tell of these copies again.
    settled: bool,
    /// Whether it is being released.
    busy: bool,
}

/// A mail that had to go.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) record: Record,
    pub(super) why: &'static str,
}

/// Why a mail cannot be taken for its release.
#[derive(Debug)]
pub(super) enum NotTaken {
    Unknown,
    Busy,
    /// It is in the queue already.
    Released(io::Error),
}

// === impl Folder ===

impl Folder {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        settings: Settings,
        metrics: Option<Metrics>,
    ) -> io::Result<(Self, Vec<Removed>)> {
        disk.make_folder(root)?;
        if let Some(parent) = root.parent() {
            disk.flush_folder(parent)?;
        }
        let mut folder = Self {
            disk,
            root: root.to_owned(),
            settings,
            metrics,
            kept: BTreeMap::new(),
            unfinished: BTreeMap::new(),
        };
        folder.take_stock()?;
        let removed = folder.make_room()?;
        Ok((folder, removed))
    }

    /// Writes what is not here yet and flushes it, then makes room.
    pub(super) fn keep(&mut self, suspect: &Suspect, now_ms: u64) -> io::Result<Vec<Removed>> {
        let id = suspect.message.id;
        let known = self.kept.get(&id).map(|entry| &entry.record);
        let is_new = |index: &&u32| known.is_none_or(|record| !record.knows(**index));
        let due: Vec<u32> = suspect.recipients.iter().filter(is_new).copied().collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let is_more = known.is_some_and(|record| !record.recipients.is_empty());
        let mut record = match known {
            Some(record) if is_more => record.clone(),
            known => {
                let gone = known.map_or_else(Vec::new, |record| record.gone.clone());
                let written = self.write_content(id, suspect)?;
                Record { gone, ..Record::new(suspect, now_ms, &written) }
            }
        };
        record.add(suspect, &due);
        self.write_record(id, &record)?;
        let busy = self.kept.get(&id).is_some_and(|entry| entry.busy);
        self.kept.insert(id, Entry { record, settled: false, busy });
        if let Some(metrics) = self.metrics.as_ref().filter(|_| !is_more) {
            metrics.count_kept(suspect.files);
        }
        // The mail is safe. What is too much now can still go the next time.
        Ok(self.make_room().unwrap_or_else(|error| {
            tracing::warn!(%error, "old mail in the quarantine could not be removed");
            Vec::new()
        }))
    }

    pub(super) fn settled(&mut self, id: QueueId) -> io::Result<()> {
        let Some(entry) = self.kept.get_mut(&id) else { return Ok(()) };
        entry.settled = true;
        if entry.record.recipients.is_empty() { self.remove(id) } else { Ok(()) }
    }

    pub(super) fn reconcile(&mut self, queued: &HashSet<QueueId>) -> io::Result<()> {
        let ids: Vec<QueueId> = self.kept.keys().copied().collect();
        for id in ids {
            let Some(entry) = self.kept.get_mut(&id) else { continue };
            entry.settled = !queued.contains(&id);
            match entry.record.releasing_as.as_ref().map(|text| text.parse::<QueueId>()) {
                Some(Ok(released)) if queued.contains(&released) => self.remove(id)?,
                Some(_) => self.mark_releasing(id, None)?,
                None if entry.record.recipients.is_empty() && entry.settled => self.remove(id)?,
                None => {}
            }
        }
        Ok(())
    }

    pub(super) fn select(&self, selection: &Selection) -> Vec<Record> {
        let mut found: Vec<Record> = self.passing(selection).map(|(_, entry)| entry.record.clone()).collect();
        found.sort_by(|a, b| (a.kept_at_ms, &a.id).cmp(&(b.kept_at_ms, &b.id)));
        found
    }

    pub(super) fn show(&self, id: QueueId) -> io::Result<Option<Details>> {
        let whole = self.kept.get(&id).filter(|entry| !entry.record.recipients.is_empty());
        let Some(entry) = whole else { return Ok(None) };
        let mut header = self.read(id, 0, HEADER_OCTETS_MAX)?;
        let end = memchr::memmem::find(&header, b"\r\n\r\n").map_or(header.len(), |at| at.saturating_add(2));
        header.truncate(end);
        let header = String::from_utf8_lossy(&header).into_owned();
        Ok(Some(Details { record: entry.record.clone(), header }))
    }

    pub(super) fn delete(&mut self, selection: &Selection, removed: &mut Vec<Record>) -> io::Result<()> {
        let idle = self.passing(selection).filter(|(_, entry)| !entry.busy);
        let ids: Vec<QueueId> = idle.map(|(id, _)| *id).collect();
        for id in ids {
            let record = self.kept.get(&id).map(|entry| entry.record.clone());
            self.remove(id)?;
            removed.extend(record);
            if let Some(metrics) = &self.metrics {
                metrics.deleted.inc();
            }
        }
        Ok(())
    }

    /// Removes what is too old as well. `now_ms` is of a clock that is not simply believed.
    pub(super) fn resize(&mut self, settings: Settings, now_ms: u64) -> io::Result<Vec<Removed>> {
        self.settings = settings;
        self.sweep(now_ms)
    }

    /// For its release; nobody else can take or delete it until it is given back. What was released before and is still here
    /// is taken out now.
    pub(super) fn take(&mut self, id: QueueId) -> Result<Record, NotTaken> {
        if let Some(taken) = self.unfinished.get(&id).cloned() {
            self.take_out(&taken, id).map_err(NotTaken::Released)?;
        }
        match self.kept.get_mut(&id).filter(|entry| !entry.record.recipients.is_empty()) {
            None => Err(NotTaken::Unknown),
            Some(entry) if entry.busy => Err(NotTaken::Busy),
            Some(entry) => {
                entry.busy = true;
                Ok(entry.record.clone())
            }
        }
    }

    pub(super) fn give_back(&mut self, id: QueueId) {
        if let Some(entry) = self.kept.get_mut(&id) {
            entry.busy = false;
        }
    }

    /// Notes as what the mail goes back into the queue, or that it does not.
    pub(super) fn mark_releasing(&mut self, id: QueueId, released: Option<QueueId>) -> io::Result<()> {
        let Some(entry) = self.kept.get(&id) else { return Ok(()) };
        let releasing_as = released.map(|id| id.to_string());
        let record = Record { releasing_as, ..entry.record.clone() };
        self.write_record(id, &record)?;
        if let Some(entry) = self.kept.get_mut(&id) {
            entry.record = record;
        }
        Ok(())
    }

    /// The copies of these recipients are in the queue again. Where others have come meanwhile, they stay.
    pub(super) fn released(&mut self, taken: &Record, id: QueueId, overruled: bool) -> io::Result<()> {
        if let Some(metrics) = &self.metrics {
            metrics.released.inc();
            metrics.overruled.inc_by(u64::from(overruled));
        }
        self.give_back(id);
        self.unfinished.insert(id, taken.clone());
        self.take_out(taken, id)
    }

    fn take_out(&mut self, taken: &Record, id: QueueId) -> io::Result<()> {
        let Some(entry) = self.kept.get(&id) else { return Ok(()) };
        if entry.record.recipients.len() == taken.recipients.len() {
            self.remove(id)?;
            self.unfinished.remove(&id);
            return Ok(());
        }
        let mut record = Record { releasing_as: None, ..entry.record.clone() };
        record.recipients.retain(|kept| !taken.recipients.contains(kept));
        record.gone.extend(taken.recipients.iter().map(|kept| kept.index));
        self.write_record(id, &record)?;
        if let Some(entry) = self.kept.get_mut(&id) {
            entry.record = record;
        }
        self.unfinished.remove(&id);
        Ok(())
    }

    /// A piece of a mail; shorter than asked for at its end.
    pub(super) fn read(&self, id: QueueId, offset: u64, octets: usize) -> io::Result<Vec<u8>> {
        let file = self.disk.open(&self.path(id, MAIL), true)?;
        let mut piece = vec![0; octets];
        let count = file.read_at(offset, &mut piece)?;
        piece.truncate(count);
        Ok(piece)
    }

    fn passing<'a>(&'a self, selection: &'a Selection) -> impl Iterator<Item = (&'a QueueId, &'a Entry)> {
        let whole = self.kept.iter().filter(|(_, entry)| !entry.record.recipients.is_empty());
        whole.filter(|(id, entry)| selection.passes(**id, &entry.record))
    }

    /// What comes in, and a start, make nothing old: the clock may just be wrong.
    fn make_room(&mut self) -> io::Result<Vec<Removed>> {
        self.sweep(0)
    }

    fn sweep(&mut self, now_ms: u64) -> io::Result<Vec<Removed>> {
        let mut removed = Vec::new();
        let age_ms = millis(self.settings.age);
        while let Some((id, why)) = self.too_much(now_ms, age_ms) {
            let record = self.kept.get(&id).map(|entry| entry.record.clone());
            self.remove(id)?;
            removed.extend(record.map(|record| Removed { record, why }));
            if let Some(metrics) = &self.metrics {
                metrics.expired.inc();
            }
        }
        self.measure();
        Ok(removed)
    }

    /// The oldest mail, where it has to go. The newest goes by age alone.
    fn too_much(&self, now_ms: u64, age_ms: u64) -> Option<(QueueId, &'static str)> {
        let whole = || self.kept.iter().filter(|(_, entry)| !entry.record.recipients.is_empty());
        let idle = whole().filter(|(_, entry)| !entry.busy);
        let (id, oldest) = idle.min_by_key(|(id, entry)| (entry.record.kept_at_ms, **id))?;
        let octets = whole().fold(0_u64, |sum, (_, entry)| sum.saturating_add(entry.record.octets));
        let (count, Settings { messages, octets: octets_max, .. }) = (whole().count(), self.settings);
        let why = if now_ms.saturating_sub(oldest.record.kept_at_ms) > age_ms {
            TOO_OLD
        } else if count > 1 && (count > messages || octets > octets_max) {
            TOO_MUCH
        } else {
            return None;
        };
        Some((*id, why))
    }

    /// Takes the mail out for good. Where the queue may still tell of it, that it was here stays known.
    fn remove(&mut self, id: QueueId) -> io::Result<()> {
        let Some(entry) = self.kept.get(&id) else { return Ok(()) };
        if entry.settled {
            // The record first: without it the mail counts as half-written.
            remove_if_there(&*self.disk, &self.path(id, RECORD))?;
            remove_if_there(&*self.disk, &self.path(id, MAIL))?;
            self.disk.flush_folder(&self.root)?;
            self.kept.remove(&id);
        } else {
            let mut record = Record { releasing_as: None, ..entry.record.clone() };
            record.gone.extend(record.recipients.drain(..).map(|kept| kept.index));
            self.write_record(id, &record)?;
            remove_if_there(&*self.disk, &self.path(id, MAIL))?;
            self.kept.insert(id, Entry { record, settled: false, busy: false });
        }
        self.measure();
        Ok(())
    }

    fn measure(&self) {
        let Some(metrics) = &self.metrics else { return };
        let whole = self.kept.values().filter(|entry| !entry.record.recipients.is_empty());
        let (count, octets) = whole.fold((0_usize, 0_u64), |(count, octets), entry| {
            (count.saturating_add(1), octets.saturating_add(entry.record.octets))
        });
        metrics.messages.set(i64::try_from(count).unwrap_or(i64::MAX));
        metrics.octets.set(i64::try_from(octets).unwrap_or(i64::MAX));
    }

    /// Which mails are whole. Files of other names are somebody else's and are left alone.
    fn take_stock(&mut self) -> io::Result<()> {
        let files = self.disk.list(&self.root)?;
        let ids = |suffix| files.iter().filter_map(|path| name_of(path, suffix)).collect::<HashSet<_>>();
        let (mails, records) = (ids(MAIL), ids(RECORD));
        for id in ids(NEW) {
            remove_if_there(&*self.disk, &self.path(id, NEW))?;
        }
        for &id in &records {
            let text = read_whole(&*self.disk, &self.path(id, RECORD))?;
            match Record::parse(&text) {
                Ok(record) if mails.contains(&id) || record.recipients.is_empty() => {
                    self.kept.insert(id, Entry { record, settled: false, busy: false });
                }
                // Its removal was under way.
                Ok(_) => remove_if_there(&*self.disk, &self.path(id, RECORD))?,
                Err(error) => {
                    tracing::error!(queue_id = %id, error, "a record of the quarantine cannot be read; it is left alone");
                }
            }
        }
        let is_tombstone = |id| self.kept.get(id).is_some_and(|entry| entry.record.recipients.is_empty());
        for id in mails.iter().filter(|id| !records.contains(id) || is_tombstone(id)) {
            remove_if_there(&*self.disk, &self.path(*id, MAIL))?;
        }
        Ok(())
    }

    fn write_content(&self, id: QueueId, suspect: &Suspect) -> io::Result<Written> {
        let path = self.path(id, MAIL);
        remove_if_there(&*self.disk, &path)?;
        let message = &suspect.message;
        let mut content = io::Cursor::new(&message.trace).chain(message.body.reader()?);
        let written = self.copy(&path, &mut content);
        if written.is_err() {
            // Half a mail helps nobody; the next opening removes what cannot be removed now.
            let _gone = self.disk.remove(&path);
        }
        written
    }

    fn copy(&self, path: &Path, content: &mut dyn Read) -> io::Result<Written> {
        let file = self.disk.create(path)?;
        let mut hasher = blake3::Hasher::new();
        let Copied { octets, damaged, .. } = copy(content, &*file, u64::MAX, &mut |part| {
            hasher.update(part);
        })?;
        Ok(Written { octets, hash: hasher.finalize(), damaged })
    }

    /// In the place of the one before, all or nothing.
    fn write_record(&self, id: QueueId, record: &Record) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        self.replace(&self.path(id, NEW), &self.path(id, RECORD), &text)
    }

    fn replace(&self, new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
        replace(&*self.disk, new, path, text)
    }

    fn path(&self, id: QueueId, suffix: &str) -> PathBuf {
        self.root.join(format!("{id}{suffix}"))
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder")
            .field("root", &self.root)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

const TOO_OLD: &str = "too old";
const TOO_MUCH: &str = "no room for newer ones";
/// Longer header sections are those of an attack.
const HEADER_OCTETS_MAX: usize = 32 * 1024;
