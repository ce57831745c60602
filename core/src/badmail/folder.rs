//! The files of bad mail, and which of them go.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{BadMessage, Cause, Metrics, Settings};
use crate::clock::millis;
use crate::disk::Disk;
use crate::disk::files::{Copied, copy, remove_if_there};

/// What is kept. One at a time works on it.
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    settings: Settings,
    metrics: Option<Metrics>,
    /// Octets by name; the names are in the order of time.
    kept: BTreeMap<String, u64>,
}

/// The reason file.
#[derive(Debug, Serialize)]
struct Reason<'a> {
    kept_at_ms: u64,
    id: String,
    cause: Cause,
    reason: &'a str,
    sender: &'a str,
    recipients: &'a [String],
    octets: u64,
    /// Whether it was larger than all bad mail together may be.
    cut: bool,
    /// Whether it could not be read to its end.
    damaged: bool,
}

// === impl Folder ===

impl Folder {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        settings: Settings,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        disk.make_folder(root)?;
        if let Some(parent) = root.parent() {
            disk.flush_folder(parent)?;
        }
        let mut folder = Self { disk, root: root.to_owned(), settings, metrics, kept: BTreeMap::new() };
        folder.take_stock()?;
        folder.make_room()?;
        Ok(folder)
    }

    /// Writes both files and flushes them, then makes room.
    pub(super) fn keep(&mut self, mut message: BadMessage, now_ms: u64) -> io::Result<String> {
        let (name, at_ms) = self.free_name(&message, now_ms);
        match self.write(&name, at_ms, &mut message) {
            Ok(octets) => {
                self.kept.insert(name.clone(), octets);
            }
            Err(error) => {
                // Half a mail helps nobody; the next opening removes what cannot be removed now.
                for suffix in [MAIL, REASON] {
                    let _gone = self.disk.remove(&self.path(&name, suffix));
                }
                return Err(error);
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.count(message.cause);
        }
        // The mail is safe. What is too much now can still go the next time.
        if let Err(error) = self.make_room() {
            tracing::warn!(%error, "old bad mail could not be removed");
        }
        Ok(name)
    }

    /// Removes what is too old as well. `now_ms` is of a clock that is not simply believed.
    pub(super) fn sweep(&mut self, settings: Settings, now_ms: u64) -> io::Result<()> {
        self.settings = settings;
        self.remove_surplus(now_ms)
    }

    /// What comes in, and a start, make nothing old: the clock may just be wrong.
    fn make_room(&mut self) -> io::Result<()> {
        self.remove_surplus(0)
    }

    fn remove_surplus(&mut self, now_ms: u64) -> io::Result<()> {
        let settings = self.settings;
        let age_ms = millis(settings.age);
        let mut octets = self.kept.values().fold(0_u64, |sum, octets| sum.saturating_add(*octets));
        while let Some((name, size)) = self.kept.first_key_value() {
            let is_old = kept_at_ms(name).is_some_and(|at| now_ms.saturating_sub(at) > age_ms);
            let is_too_much = self.kept.len() > settings.messages || octets > settings.octets;
            if !is_old && !is_too_much {
                break;
            }
            let (name, size) = (name.clone(), *size);
            // The reason first: without it the mail counts as half-written.
            for suffix in [REASON, MAIL] {
                remove_if_there(&*self.disk, &self.path(&name, suffix))?;
            }
            self.kept.remove(&name);
            octets = octets.saturating_sub(size);
            if let Some(metrics) = &self.metrics {
                metrics.removed.inc();
            }
            tracing::info!(name, "an old bad mail was removed to stay within the bounds");
        }
        if let Some(metrics) = &self.metrics {
            metrics.messages.set(i64::try_from(self.kept.len()).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// Which mails are whole. Files of other names are somebody else's and are left alone.
    fn take_stock(&mut self) -> io::Result<()> {
        let files = self.disk.list(&self.root)?;
        let names = |suffix: &'static str| {
            let names = files.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(suffix));
            names.filter(|name| kept_at_ms(name).is_some()).map(str::to_owned).collect::<Vec<_>>()
        };
        let (mails, reasons) = (names(MAIL), names(REASON));
        for name in reasons.iter().filter(|name| mails.contains(name)) {
            let size = |suffix| self.disk.open(&self.path(name, suffix), true)?.len();
            let octets = size(MAIL)?.saturating_add(size(REASON)?);
            self.kept.insert(name.clone(), octets);
        }
        for name in mails.iter().chain(&reasons).filter(|name| !self.kept.contains_key(*name)) {
            for suffix in [MAIL, REASON] {
                remove_if_there(&*self.disk, &self.path(name, suffix))?;
            }
        }
        Ok(())
    }

    /// Two mails may come within a millisecond, and the clock may have been set back.
    fn free_name(&self, message: &BadMessage, now_ms: u64) -> (String, u64) {
        let mut at_ms = now_ms;
        loop {
            let name = format!("{at_ms:013}-{}", message.id);
            if !self.kept.contains_key(&name) {
                return (name, at_ms);
            }
            at_ms = at_ms.saturating_add(1);
        }
    }

    fn write(&self, name: &str, at_ms: u64, message: &mut BadMessage) -> io::Result<u64> {
        let written = self.write_content(&self.path(name, MAIL), &mut message.content)?;
        let reason = Reason {
            kept_at_ms: at_ms,
            id: message.id.to_string(),
            cause: message.cause,
            reason: &message.reason,
            sender: &message.sender,
            recipients: &message.recipients,
            octets: written.octets,
            cut: written.cut,
            damaged: written.damaged,
        };
        let mut text = serde_json::to_vec_pretty(&reason)?;
        text.push(b'\n');
        let file = self.disk.create(&self.path(name, REASON))?;
        file.write_all_at(0, &[IoSlice::new(&text)])?;
        file.flush()?;
        self.disk.flush_folder(&self.root)?;
        Ok(written.octets.saturating_add(text.len() as u64))
    }

    fn write_content(&self, path: &Path, content: &mut dyn Read) -> io::Result<Copied> {
        copy(content, &*self.disk.create(path)?, self.settings.octets, &mut |_| ())
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        self.root.join(format!("{name}{suffix}"))
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

/// `1790000000000-1M829761E0000`: when it came here. `None` for every other name.
fn kept_at_ms(name: &str) -> Option<u64> {
    let (at_ms, id) = name.split_once('-')?;
    id.parse::<crate::queue::QueueId>().ok()?;
    at_ms.parse().ok()
}

const MAIL: &str = ".eml";
const REASON: &str = ".json";

#[cfg(test)]
mod tests;
