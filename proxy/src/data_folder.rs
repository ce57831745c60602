//! The folder that holds all that Gatepost keeps, and who may look into it: nobody else.
//!
//! ```text
//! tls/cert.pem tls/key.pem    the self-signed pair, or none where the configuration names another
//! queue/                      segments, bodies, damaged records set aside
//! badmail/                    mail that could be neither delivered nor returned
//! quarantine/                 infected mail, until an operator decides
//! store/default.sqlite        mailboxes; others beside it where there is a [[database]] for them
//! stamp.key                   by which stamps of scans, and kept verdicts, are known as ours
//! verdicts/                   what each scan engine has said of which content
//! directory.sqlite            domains, accounts, aliases
//! scan/                       only where a command scans: what it writes while it looks at an item
//! rules/                      YARA rules of the operator, optional
//! tls-results.state           what came of TLS with other servers and is not reported yet
//! events/                     what was refused and why, and the way of each mail
//! control.sock                while a server runs: the way for `gatepost queue` to it
//! lock                        held by the one server that uses the folder
//! first-user.txt              only where the first start had no terminal to show the password on
//! ```

mod location;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use gatepost_core::scan::SealKey;
use zeroize::Zeroizing;

use crate::private::{self, FILE_MODE, PERMISSION_BITS};
pub use location::Environment;

/// A folder that exists, belongs to us and is closed to others.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// Held as long as this process serves the folder. The kernel gives it back at the process's end, however that comes.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Neither named nor to be derived.
    #[error("no data folder: give --data FOLDER, or set GATEPOST_DATA or HOME")]
    Unknown,
    /// It does not exist, and this command does not make one.
    #[error("there is no data folder {}: `gatepost run` makes it, or name another with --data", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{} is not a folder: name one with --data", path.display())]
    NotAFolder {
        /// What.
        path: PathBuf,
    },
    /// It, or something in it, cannot be made or read.
    #[error("{}: {error}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may look into it.
    #[error(
        "{} has mode {mode:04o}, so others can read it: `chmod {wanted:04o} {}` and start again",
        path.display(), path.display()
    )]
    Exposed {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, and this is user {us}: run as its owner, or name another folder", path.display())]
    Foreign {
        /// What.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Everybody may write into it.
    #[error("{} has mode {mode:04o}, so everybody can send mail by it: `chmod o-w {}` and start again", path.display(), path.display())]
    OpenToAll {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder whose files are sent and removed lies around our own.
    #[error("{} and the data folder must not lie in each other", path.display())]
    Overlap {
        /// What.
        path: PathBuf,
    },
    /// Another server uses it.
    #[error("another gatepost serves {}: stop it first, or name another folder with --data", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

// === impl DataFolder ===

impl DataFolder {
    /// The name of the file with what admission knows of peers.
    pub const ADMISSION: &str = "admission.state";
    /// The name of the file with the times at which mail to other servers was paused.
    pub const PAUSES: &str = "pauses.state";
    /// The name of the file with what came of TLS and is not reported yet.
    pub const TLS_RESULTS: &str = "tls-results.state";

    /// Makes the folder (and its parents) if it is missing, and checks it.
    ///
    /// # Errors
    /// It cannot be made, belongs to somebody else, or is open to others.
    pub fn prepare(root: PathBuf) -> Result<Self, FolderError> {
        refuse_other_than_folder(&root)?;
        private::make_folder(&root)?;
        Self::open(root)
    }

    /// Checks a folder that must exist.
    ///
    /// # Errors
    /// It is missing, belongs to somebody else, or is open to others.
    pub fn open(root: PathBuf) -> Result<Self, FolderError> {
        if !root.exists() {
            return Err(FolderError::Missing { path: root });
        }
        refuse_other_than_folder(&root)?;
        private::check_folder(&root)?;
        Ok(Self { root })
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// `Locked` where another process has it.
    pub fn lock(&self) -> Result<FolderLock, FolderError> {
        let path = self.root.join("lock");
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| FolderError::Io { path: path.clone(), error })?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Locked { path: self.root.clone() }),
            Err(TryLockError::Error(error)) => Err(FolderError::Io { path, error }),
        }
    }

    /// Writes a file, mode 0600, whole or not at all; it takes the place of one with the same name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn replace(&self, name: &str, contents: &[u8]) -> Result<PathBuf, FolderError> {
        let path = self.root.join(name);
        let draft = path.with_extension("new");
        let io = |error| FolderError::Io { path: path.clone(), error };
        if let Some(parent) = path.parent() {
            private::make_folder(parent)?;
        }
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => (),
        }
        let mut options = OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(FILE_MODE).open(&draft).map_err(io)?;
        file.write_all(contents)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(io)?;
        Ok(path)
    }

    /// Makes the folder of dropped mail if it is missing, mode 0700, and checks it: its mode decides who may send.
    ///
    /// # Errors
    /// It cannot be made, everybody may write into it, or it and the data folder lie in each other.
    pub fn prepare_pickup(&self, path: &Path) -> Result<(), FolderError> {
        refuse_other_than_folder(path)?;
        if !path.exists() {
            private::make_folder(path)?;
        }
        let io = |error| FolderError::Io { path: path.to_owned(), error };
        let mode = std::fs::metadata(path).map_err(io)?.mode() & PERMISSION_BITS;
        if mode & OTHERS_WRITE_BIT != 0 {
            return Err(FolderError::OpenToAll { path: path.to_owned(), mode });
        }
        let (pickup, data) = (path.canonicalize().map_err(io)?, self.root.canonicalize().map_err(io)?);
        if pickup.starts_with(&data) || data.starts_with(&pickup) {
            return Err(FolderError::Overlap { path: path.to_owned() });
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The self-signed certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.root.join(CERTIFICATE)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.root.join(KEY)
    }

    /// The queue's folder.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    /// Mail that could be neither delivered nor returned.
    #[must_use]
    pub fn badmail(&self) -> PathBuf {
        self.root.join("badmail")
    }

    /// Infected mail.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The mailbox database of this name.
    #[must_use]
    pub fn store(&self, database: &str) -> PathBuf {
        self.root.join("store").join(format!("{database}.{STORE_SUFFIX}"))
    }

    /// The names of the mailbox databases that lie here, sorted, whether they are in use or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn stores(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join("store")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some(name), true) = (name, path.extension().is_some_and(|it| it == STORE_SUFFIX)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Domains, accounts and aliases.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.root.join("directory.sqlite")
    }

    /// The event log.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// What stamps of scans are sealed with; `None` before the first server has run here.
    ///
    /// # Errors
    /// Others may read it, or it cannot be read.
    pub fn find_stamp_key(&self) -> Result<Option<SealKey>, FolderError> {
        let path = self.root.join(STAMP_KEY);
        let octets = match private::read_octets(&path, STAMP_KEY_OCTETS_MAX) {
            Ok(octets) => octets,
            Err(FolderError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // One that is cut or longer is as good as none: all is scanned again.
        Ok(octets.as_slice().try_into().ok().map(SealKey::new))
    }

    /// As `find_stamp_key`, made where there is none yet.
    ///
    /// # Errors
    /// It cannot be made, or the system has no random numbers.
    pub fn stamp_key(&self) -> Result<SealKey, FolderError> {
        if let Some(key) = self.find_stamp_key()? {
            return Ok(key);
        }
        let mut octets = Zeroizing::new([0; SealKey::OCTETS]);
        getrandom::fill(&mut *octets).map_err(|error| FolderError::Io {
            path: self.root.join(STAMP_KEY),
            error: io::Error::other(error.to_string()),
        })?;
        self.replace(STAMP_KEY, &*octets)?;
        Ok(SealKey::new(&octets))
    }

    /// Where scan commands write.
    #[must_use]
    pub fn scan_scratch(&self) -> PathBuf {
        self.root.join("scan")
    }

    /// What scan engines have said of content.
    #[must_use]
    pub fn verdicts(&self) -> PathBuf {
        self.root.join("verdicts")
    }

    /// What admission knows of peers.
    #[must_use]
    pub fn admission(&self) -> PathBuf {
        self.root.join(Self::ADMISSION)
    }

    /// When mail to other servers was paused.
    #[must_use]
    pub fn pauses(&self) -> PathBuf {
        self.root.join(Self::PAUSES)
    }

    /// What came of TLS and is not reported yet.
    #[must_use]
    pub fn tls_results(&self) -> PathBuf {
        self.root.join(Self::TLS_RESULTS)
    }

    /// The operator's YARA rules.
    #[must_use]
    pub fn rules(&self) -> PathBuf {
        self.root.join("rules")
    }
}

fn refuse_other_than_folder(path: &Path) -> Result<(), FolderError> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(FolderError::NotAFolder { path: path.to_owned() }),
        // What is missing or cannot be looked at is told by whoever uses it.
        _ => Ok(()),
    }
}

const CERTIFICATE: &str = "tls/cert.pem";
const KEY: &str = "tls/key.pem";
const STAMP_KEY: &str = "stamp.key";
const STORE_SUFFIX: &str = "sqlite";
/// One octet too many tells that it is not ours.
const STAMP_KEY_OCTETS_MAX: u64 = SealKey::OCTETS as u64 + 1;
const OTHERS_WRITE_BIT: u32 = 0o002;

#[cfg(test)]
mod tests;
