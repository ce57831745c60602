//! What can go wrong, by who is at fault: the operator's edit, or the file and the disk below.

use std::path::PathBuf;

use super::{AccountClass, InvalidName, PasswordError};

/// The directory's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Other users of the machine could read the credentials.
    #[error("{path} is accessible to others (mode {mode:04o}): run `chmod 600 {path}`", path = .path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Written by a newer version of Gatepost.
    #[error("the directory has schema version {found}, this program knows versions up to {known}")]
    Newer {
        /// What the file says.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// A row that no version of ours has written.
    #[error("the directory holds an invalid {what}")]
    Damaged {
        /// What kind of value, from our own list.
        what: &'static str,
    },
    /// The database failed.
    #[error("the directory's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the directory's file cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// The system has no random numbers or no thread to give.
    #[error("the system refused {0}")]
    System(&'static str),
}

/// An edit was refused, and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Not an address or domain that can live here.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Not a password that can be set.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No such local domain.
    #[error("{domain} is not a local domain: add it with `gatepost domain add {domain}`")]
    UnknownDomain {
        /// Which.
        domain: String,
    },
    /// It is there already.
    #[error("{domain} is a local domain already")]
    DomainExists {
        /// Which.
        domain: String,
    },
    /// Users or aliases still live there.
    #[error(
        "{domain} still has {addresses} {}",
        if *addresses == 1 { "user or alias: remove it first" } else { "users and aliases: remove them first" }
    )]
    DomainInUse {
        /// Which.
        domain: String,
        /// How many addresses.
        addresses: u64,
    },
    /// No such user.
    #[error("there is no user {name}")]
    UnknownUser {
        /// Which.
        name: String,
    },
    /// The account is of a class that has no mailbox.
    #[error("{name} is an account of class {class}, which has no mailbox")]
    NoMailbox {
        /// Which.
        name: String,
        /// Its class.
        class: AccountClass,
    },
    /// Aliases lead to the mailbox that the account would lose.
    #[error(
        "{name} still has {aliases} {}, and would have no mailbox for their mail: remove them first",
        if *aliases == 1 { "alias" } else { "aliases" }
    )]
    HasAliases {
        /// Which.
        name: String,
        /// How many.
        aliases: u64,
    },
    /// No such alias.
    #[error("there is no alias {address} that leads to {target}")]
    UnknownAlias {
        /// Which address.
        address: String,
        /// Where it should have led.
        target: String,
    },
    /// The alias would lead to itself, by way of others or at once.
    #[error("{address} would lead to itself")]
    AliasLoop {
        /// Which.
        address: String,
    },
    /// The alias would lead to more addresses than one mail should have recipients.
    #[error("{address} would lead to more than {limit} addresses")]
    TooManyTargets {
        /// Which.
        address: String,
        /// How many it may lead to.
        limit: usize,
    },
    /// A user or an alias has this address.
    #[error("{address} is taken by a user or an alias")]
    AddressTaken {
        /// Which.
        address: String,
    },
    /// Not the edit's fault.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

// === impl EditError ===

impl From<rusqlite::Error> for EditError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Directory(error.into())
    }
}
