//! The files that are left: the data folder (and that of dropped mail) to write, some folders to read, and no TCP address to bind.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
    Scope, path_beneath_rules,
};

/// Which folders stay open to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Everything in it may be read, made, changed and removed; nothing may be run.
    pub data: PathBuf,
    /// The same holds for it.
    pub pickup: Option<PathBuf>,
    /// Everything in them may be read. Folders rather than files: a file that is replaced is another file, whose name only
    /// is the same.
    pub read: Vec<PathBuf>,
}

/// Why there is no ruleset.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// Switched off, not built in, or of the first version, which cannot let files move between folders.
    #[error(
        "the kernel has no landlock, or has it switched off (Linux 5.19 or later, with `landlock` among its LSMs)"
    )]
    Kernel,
    /// A rule or the ruleset was refused.
    #[error("{0}")]
    Ruleset(#[from] RulesetError),
    /// The data folder, or that of dropped mail, cannot be opened.
    #[error("{0}")]
    Data(#[from] landlock::PathFdError),
}

/// Folders that are held open. The rules know a folder by its inode; that of a process in `/proc` could be dropped and
/// made anew, which no rule would know.
#[derive(Debug)]
pub(super) struct Pins {
    _read: Vec<PathFd>,
}

/// Confines the calling thread, and all threads that it will spawn, for good. Folders that are not there are left out: what
/// appears later under such a name cannot be read before a restart.
pub(super) fn confine(folders: &Folders) -> Result<(Pins, ABI), LandlockError> {
    // Held besides the rules, which let go of what they are made from.
    let pins = Pins { _read: folders.read.iter().filter_map(|folder| PathFd::new(folder).ok()).collect() };
    let read = path_beneath_rules(&folders.read, AccessFs::ReadFile | AccessFs::ReadDir);
    let write = folders.written().map(PathFd::new).collect::<Result<Vec<_>, _>>()?;
    let write = write
        .into_iter()
        .map(|folder| Ok::<_, RulesetError>(PathBeneath::new(folder, AccessFs::from_all(RIGHTS) & !NEVER)));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .map_err(|_| LandlockError::Kernel)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?;
    // A service manager in a container may be reached by such a name, and only there.
    if !notifies_by_abstract_name() {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let status = ruleset.create()?.add_rules(read)?.add_rules(write)?.restrict_self()?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(LandlockError::Kernel),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok((pins, effective_abi)),
        _ => Err(LandlockError::Kernel),
    }
}

/// Whether a file lies in one of the folders, symbolic links followed. What is not there is let through: who reads it says
/// better what is wrong.
#[must_use]
pub(super) fn is_readable(folders: &Folders, path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return true };
    folders
        .read
        .iter()
        .chain(folders.written())
        .filter_map(|folder| folder.canonicalize().ok())
        .any(|folder| path.starts_with(folder))
}

// === impl Folders ===

impl Folders {
    fn written(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.data).chain(&self.pickup)
    }
}

fn notifies_by_abstract_name() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"))
}

/// The first version in which a file can be moved between folders, as the queue does with damaged records.
const LEAST: ABI = ABI::V2;
/// Of Linux 6.12. Rights of later versions (such as over named UNIX sockets, by which the service manager is told how we
/// are) are not asked for.
const RIGHTS: ABI = ABI::V6;
/// No program, device, socket or link to elsewhere is made in these folders; the control socket is there before.
const NEVER: BitFlags<AccessFs> = landlock::make_bitflags!(AccessFs::{
    Execute | MakeChar | MakeBlock | MakeSock | MakeFifo | MakeSym | IoctlDev
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outside_is_told_even_through_a_link() {
        let outer = tempfile::tempdir().unwrap();
        let [data, read, other] = ["data", "read", "other"].map(|name| {
            let folder = outer.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("file"), "").unwrap();
            folder
        });
        std::os::unix::fs::symlink(other.join("file"), read.join("link")).unwrap();
        let folders = Folders { data: data.clone(), pickup: None, read: vec![read.clone()] };
        assert!(is_readable(&folders, &data.join("file")));
        assert!(is_readable(&folders, &read.join("file")));
        assert!(!is_readable(&folders, &other.join("file")));
        assert!(!is_readable(&folders, &read.join("link")));
        assert!(!is_readable(&folders, &read.join("../other/file")));
        assert!(is_readable(&folders, &other.join("missing")));
    }
}
