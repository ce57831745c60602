//! The accounts of this machine, and what they may read.
//!
//! Read from `/etc/passwd` and `/etc/group`, where service users are made. Accounts of a directory service are for the
//! service manager to switch to.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::values::UserName;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
    /// Besides `gid`.
    groups: Vec<u32>,
}

/// Why there is no such account to run as.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The files of accounts cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Nobody has this name.
    #[error("there is no user {0:?} in {PASSWD}: `useradd --system {0}` makes one")]
    Unknown(String),
    /// The user is root under another name.
    #[error("user {0:?} has the rights of root")]
    Root(String),
}

// === impl Account ===

impl Account {
    /// Looks the user up.
    ///
    /// # Errors
    /// Unknown, or root in disguise.
    pub fn find(name: &UserName) -> Result<Self, AccountError> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|error| AccountError::Read { path: path.into(), error })
        };
        Self::parse(name.as_str(), &read(PASSWD)?, &read(GROUP)?)
    }

    /// passwd(5) and group(5).
    fn parse(name: &str, passwd: &str, group: &str) -> Result<Self, AccountError> {
        let (uid, gid) = passwd
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let found = fields.next() == Some(name);
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                found.then_some((uid, gid))
            })
            .ok_or_else(|| AccountError::Unknown(name.to_owned()))?;
        if uid == 0 || gid == 0 {
            return Err(AccountError::Root(name.to_owned()));
        }
        let is_member = |members: &str| members.split(',').any(|member| member == name);
        let groups = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let id = fields.nth(2)?.parse().ok()?;
            // Root's group opens root's files: a service is no member of it here, whatever the file says.
            (is_member(fields.next()?) && id != gid && id != 0).then_some(id)
        });
        Ok(Self { name: name.to_owned(), uid, gid, groups: groups.collect() })
    }

    /// As the configuration has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether we already are this user.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.uid
    }

    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) const fn gid(&self) -> u32 {
        self.gid
    }

    pub(super) fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Whether this user can read the file: it, and every folder on the way to it, by owner, group and mode. What this does
    /// not see are access control lists.
    ///
    /// # Errors
    /// We cannot see it ourselves.
    pub fn can_read(&self, path: &Path) -> io::Result<bool> {
        let path = path.canonicalize()?;
        if !self.has(&path.metadata()?, READ) {
            return Ok(false);
        }
        for folder in path.ancestors().skip(1) {
            if !self.has(&folder.metadata()?, SEARCH) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has(&self, metadata: &Metadata, right: u32) -> bool {
        let shift = if metadata.uid() == self.uid {
            6
        } else if metadata.gid() == self.gid || self.groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        metadata.mode() & (right << shift) != 0
    }
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PASSWD_TEXT: &str =
        "root:x:0:0::/root:/bin/sh\n# no line\nmail:x:8:12::/:/bin/false\ntoor:x:0:0::/:\n";
    const GROUP_TEXT: &str = "root:x:0:mail\nmail:x:12:\ntls:x:40:web,mail\nmailer:x:41:mailer\n";

    #[test]
    fn a_user_has_his_own_group_and_those_that_name_him_but_never_that_of_root() {
        let account = Account::parse("mail", PASSWD_TEXT, GROUP_TEXT).unwrap();
        assert_eq!(account, Account { name: "mail".into(), uid: 8, gid: 12, groups: vec![40] });
    }

    #[test]
    fn nobody_and_root_cannot_be_run_as() {
        assert!(matches!(Account::parse("web", PASSWD_TEXT, GROUP_TEXT), Err(AccountError::Unknown(_))));
        for root in ["root", "toor"] {
            assert!(matches!(Account::parse(root, PASSWD_TEXT, GROUP_TEXT), Err(AccountError::Root(_))));
        }
    }

    #[test]
    fn a_key_in_a_closed_folder_cannot_be_read() {
        let outer = tempfile::tempdir().unwrap();
        let key = outer.path().join("key.pem");
        fs::write(&key, "").unwrap();
        let owner = key.metadata().unwrap();
        let account = |uid, gid| Account { name: "a".into(), uid, gid, groups: Vec::new() };
        let (stranger, us) = (account(12_345, 12_345), account(owner.uid(), owner.gid()));
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(&key, 0o604);
        set(outer.path(), 0o701);
        assert!(us.can_read(&key).unwrap() && stranger.can_read(&key).unwrap());
        set(outer.path(), 0o700);
        assert!(us.can_read(&key).unwrap() && !stranger.can_read(&key).unwrap());
        set(outer.path(), 0o701);
        set(&key, 0o600);
        assert!(!stranger.can_read(&key).unwrap());
    }
}
