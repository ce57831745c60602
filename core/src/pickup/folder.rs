//! The folder, as files. Everything here blocks.
//!
//! A file is renamed to `QUEUE-ID.taken` before it is read, and the folder flushed: so after a crash the name tells whether
//! the mail is in the queue already, and what one server has taken nobody changes any more by its old name.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::queue::QueueId;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    /// How long a file must have stood still before it is taken.
    rest: Duration,
}

/// What lies there and may be a mail.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The id under which it was taken before.
    pub(super) taken_as: Option<QueueId>,
}

/// A file that is ours now.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: QueueId,
    /// What it was called when it was dropped, or the id under which it was taken before.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file: File,
}

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum Contents {
    Whole(Vec<u8>),
    TooLarge,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It cannot be: the others are not concerned.
    #[error(transparent)]
    File(io::Error),
    /// The folder cannot be changed now.
    #[error(transparent)]
    Folder(io::Error),
}

// === impl Folder ===

impl Folder {
    pub(super) const fn new(root: PathBuf, rest: Duration) -> Self {
        Self { root, rest }
    }

    /// Up to `FILES_MAX` files. Names that begin with a dot or end in `.tmp` or `.part` are still being written, and so is
    /// what was changed a moment ago; one without a single octet has hardly been begun.
    /// What is known to be hopeless is left out, so that it does not hide the rest.
    pub(super) fn look(&self, hopeless: &HashSet<PathBuf>) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_draft = name.starts_with('.') || DRAFTS.iter().any(|suffix| name.ends_with(suffix));
            if is_draft || !entry.file_type()?.is_file() || hopeless.contains(&entry.path()) {
                continue;
            }
            let taken_as = name.strip_suffix(TAKEN).and_then(|id| id.parse().ok());
            if taken_as.is_none() && !self.has_come_to_rest(&entry)? {
                continue;
            }
            found.push(Found { path: entry.path(), taken_as });
            if found.len() >= FILES_MAX {
                break;
            }
        }
        Ok(found)
    }

    fn has_come_to_rest(&self, entry: &DirEntry) -> io::Result<bool> {
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read?,
        };
        let rest = if metadata.len() == 0 { self.rest.saturating_mul(EMPTY_RESTS) } else { self.rest };
        // A time to come says nothing: programs can set it.
        Ok(metadata.modified()?.elapsed().map_or(true, |age| age >= rest))
    }

    /// Makes it ours. `None`: it has gone meanwhile.
    pub(super) fn take(&self, found: &Found, id: QueueId) -> Result<Option<Taken>, NotTaken> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(flags.cast_signed()).open(&found.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        // A second name could be a file of ours, by which somebody without a right to read it would have it sent.
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file with one name").into());
        }
        let path = self.root.join(format!("{id}{TAKEN}"));
        match fs::rename(&found.path, &path) {
            Ok(()) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Somebody else's in a sticky folder, or immutable.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                return Err(error.into());
            }
            Err(error) => return Err(NotTaken::Folder(error)),
        }
        let name = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Some(Taken { id, name, path, file }))
    }

    /// Makes renames and removals durable.
    pub(super) fn flush(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

// === impl NotTaken ===

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

// === impl Taken ===

impl Taken {
    /// Reads it, unless it is longer than that.
    pub(super) fn read(&mut self, octets_max: u64) -> io::Result<Contents> {
        let mut octets = Vec::new();
        (&self.file).take(octets_max.saturating_add(1)).read_to_end(&mut octets)?;
        self.file.rewind()?;
        if octets.len() as u64 > octets_max { Ok(Contents::TooLarge) } else { Ok(Contents::Whole(octets)) }
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// Removes a file, which may be gone.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const TAKEN: &str = ".taken";
const DRAFTS: [&str; 2] = [".tmp", ".part"];
/// Who makes a file and then thinks about what to write.
const EMPTY_RESTS: u32 = 30;
/// In one look: the next one is a moment later, and the names are in memory.
const FILES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn drafts_folders_and_links_are_no_mail() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("pickup");
        fs::create_dir(&root).unwrap();
        for name in ["mail.eml", ".hidden", "half.tmp", "half.part", "0000000000005.taken"] {
            fs::write(root.join(name), "x").unwrap();
        }
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(outer.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), root.join("link")).unwrap();
        let mut found = Folder::new(root.clone(), Duration::ZERO).look(&HashSet::new()).unwrap();
        found.sort_by_key(|found| found.path.clone());
        let names: Vec<_> =
            found.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["0000000000005.taken", "mail.eml"]);
        assert_eq!(found[0].taken_as, Some(QueueId(5)));
        assert_eq!(found[1].taken_as, None);
    }

    /// By `cp`, and by programs that know nothing of drafts: half a mail must not be sent, and the other half lost.
    #[test]
    fn a_file_that_is_being_written_is_left_alone_until_it_stands_still() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().to_owned(), Duration::from_secs(2));
        let seen = || folder.look(&HashSet::new()).unwrap().len();
        let file = File::create(root.path().join("a")).unwrap();
        let age = |seconds| file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        assert_eq!(seen(), 0);
        age(30);
        assert_eq!(seen(), 0, "nothing is in it yet");
        (&file).write_all(b"From: me").unwrap();
        assert_eq!(seen(), 0);
        age(3);
        assert_eq!(seen(), 1);
        file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
        assert_eq!(seen(), 1, "a time to come does not keep it for ever");
        file.set_len(0).unwrap();
        age(120);
        assert_eq!(seen(), 1, "an empty one is told in the end");
        fs::write(root.path().join("0000000000005.taken"), "x").unwrap();
        assert_eq!(seen(), 2, "what is ours nobody writes to");
    }

    #[test]
    fn a_file_with_a_second_name_or_behind_a_link_is_not_taken() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("pickup");
        fs::create_dir(&root).unwrap();
        let secret = outer.path().join("secret");
        fs::write(&secret, "x").unwrap();
        fs::hard_link(&secret, root.join("hard")).unwrap();
        std::os::unix::fs::symlink(&secret, root.join("soft")).unwrap();
        let folder = Folder::new(root.clone(), Duration::ZERO);
        for name in ["hard", "soft"] {
            let found = Found { path: root.join(name), taken_as: None };
            assert!(folder.take(&found, QueueId(1)).is_err(), "{name}");
            assert!(root.join(name).symlink_metadata().is_ok(), "{name} stays");
        }
    }

    #[test]
    fn a_taken_file_has_the_name_of_its_mail_and_is_read_up_to_the_limit() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "12345").unwrap();
        let folder = Folder::new(root.path().to_owned(), Duration::ZERO);
        let found = folder.look(&HashSet::new()).unwrap().remove(0);
        let mut taken = folder.take(&found, QueueId(7)).unwrap().unwrap();
        assert_eq!((taken.name.as_str(), taken.id), ("a", QueueId(7)));
        assert!(folder.take(&found, QueueId(8)).unwrap().is_none(), "it is gone");
        assert!(matches!(taken.read(4).unwrap(), Contents::TooLarge));
        assert!(matches!(taken.read(5).unwrap(), Contents::Whole(octets) if octets == b"12345"));
        assert_eq!(folder.look(&HashSet::new()).unwrap()[0].taken_as, Some(QueueId(7)));
        taken.remove().unwrap();
        taken.remove().unwrap();
        folder.flush().unwrap();
        assert!(folder.look(&HashSet::new()).unwrap().is_empty());
    }
}
