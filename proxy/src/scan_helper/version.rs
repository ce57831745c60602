//! The version of a command's signatures: what another command says, or a hash of files.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use gatepost_core::scan::engines::command::wire::Answer;

use super::program;
use super::settings::{Settings, Version};

/// What was hashed before.
#[derive(Debug, Default)]
pub(super) struct Versions {
    files: HashMap<PathBuf, (State, blake3::Hash)>,
}

/// A file that has not changed has the same; every change sets the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    octets: u64,
    changed: (i64, i64),
}

// === impl Versions ===

impl Versions {
    /// The version, and whether this process has run a program for it, and so has to end.
    pub(super) fn tell(
        &mut self,
        settings: &Settings,
        scratch: &Path,
        session: &UnixStream,
    ) -> (Answer, bool) {
        match &settings.version {
            Version::Command(words) => (by_command(settings, words, scratch, session), true),
            Version::Files(paths) => match self.hash(settings, paths) {
                Ok(version) => (Answer::Version(version), false),
                Err(reason) => (Answer::Failed(reason), false),
            },
        }
    }

    /// Of how the program is run, of itself, and of the files.
    fn hash(&mut self, settings: &Settings, paths: &[PathBuf]) -> Result<String, String> {
        let mut files: Vec<PathBuf> = settings.programs().collect();
        for path in paths {
            list(path, 0, &mut files).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let mut hasher = blake3::Hasher::new();
        let how = format!("{:?} {:?} {:?}\n", settings.command, settings.clean, settings.infected);
        hasher.update(how.as_bytes());
        for path in files {
            let hash = self.hash_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            hasher.update(format!("{path:?} {hash}\n").as_bytes());
        }
        let hash = hasher.finalize().to_hex();
        Ok(hash.get(..DIGITS).unwrap_or_default().to_owned())
    }

    fn hash_file(&mut self, path: &Path) -> io::Result<blake3::Hash> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let state = State {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        match self.files.get(path) {
            Some((known, hash)) if *known == state => Ok(*hash),
            _ => {
                let mut hasher = blake3::Hasher::new();
                io::copy(&mut file, &mut hasher)?;
                let hash = hasher.finalize();
                self.files.insert(path.to_owned(), (state, hash));
                Ok(hash)
            }
        }
    }
}

fn by_command(settings: &Settings, words: &[String], scratch: &Path, session: &UnixStream) -> Answer {
    let ended = File::open("/dev/null")
        .map_err(program::RunError::from)
        .and_then(|input| program::run(words, input, scratch, settings.timeout(), session));
    match ended {
        Ok(ended) if ended.code == Some(0) && !ended.output.is_empty() => Answer::Version(ended.output),
        Ok(ended) => Answer::Failed(format!("its version: {}", ended.failure())),
        Err(error) => Answer::Failed(format!("its version: {error}")),
    }
}

/// The file, or all in a folder and in folders of it, in an order that does not change.
fn list(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return if files.len() > FILES_MAX { Err(io::Error::other("too many files")) } else { Ok(()) };
    }
    if depth >= DEPTH_MAX {
        return Err(io::Error::other("nested too deeply"));
    }
    let mut inside = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    inside.sort();
    inside.iter().try_for_each(|path| list(path, depth.saturating_add(1), files))
}

/// As many as the embedded engine's version has.
const DIGITS: usize = 16;
/// Signatures are a few large files, not a tree of small ones.
const FILES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        Settings {
            command: vec!["/bin/sh".to_owned()],
            clean: vec![0],
            infected: vec![1],
            version: Version::Files(vec![folder.to_owned()]),
            folders: Vec::new(),
            timeout_ms: 1_000,
            memory: 1 << 30,
            item_octets_max: 1_000,
            processes: 1,
            sandbox: crate::config::SandboxMode::Off,
            scratch: folder.to_owned(),
        }
    }

    #[test]
    fn the_version_changes_with_any_file_and_with_how_the_program_is_run() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("more")).unwrap();
        std::fs::write(folder.path().join("a.db"), "one").unwrap();
        std::fs::write(folder.path().join("more/b.db"), "two").unwrap();
        let (mut versions, paths) = (Versions::default(), [folder.path().to_owned()]);
        let mut tell = |settings: &Settings| versions.hash(settings, &paths).unwrap();
        let first = tell(&settings(folder.path()));
        assert_eq!(tell(&settings(folder.path())), first);
        std::fs::write(folder.path().join("more/b.db"), "three").unwrap();
        let second = tell(&settings(folder.path()));
        assert_ne!(second, first);
        std::fs::rename(folder.path().join("a.db"), folder.path().join("c.db")).unwrap();
        let third = tell(&settings(folder.path()));
        assert_ne!(third, second);
        let other = Settings { clean: vec![0, 7], ..settings(folder.path()) };
        assert_ne!(tell(&other), third);
        std::fs::remove_dir_all(folder.path().join("more")).unwrap();
        assert_ne!(tell(&settings(folder.path())), third);
    }

    #[test]
    fn files_that_are_not_there_have_no_version() {
        let folder = tempfile::tempdir().unwrap();
        let gone = [folder.path().join("gone")];
        let error = Versions::default().hash(&settings(folder.path()), &gone).unwrap_err();
        assert!(error.contains("gone"), "{error}");
    }
}
