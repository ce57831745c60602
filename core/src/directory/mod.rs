//! Who lives here and who may log in: domains, users, credentials, aliases.
//!
//! ```text
//! directory.sqlite --load--> Snapshot (in memory, lock-free) --> resolve, may_send_as, account
//!        ^                                                            |
//!        +-- edits (CLI, first run)                       PasswordVerifier (bounded threads)
//! ```
//! In: addresses, names, passwords. Out: mailboxes, identities. A password is never kept: a user has an argon2id hash
//! and, unless switched off, a SCRAM-SHA-256 verifier. An identity is only ever made from a proof that was checked, and
//! has the class of its account.

pub mod address;
pub mod alias;
pub mod class;
pub mod credentials;
mod database;
pub mod error;
mod handle;
pub mod metrics;
pub mod password;
pub mod plain;
pub mod scram;
pub mod snapshot;
pub mod verify;

pub use address::{AccountName, DomainName, InvalidName};
pub use alias::{Alias, AliasTarget, Forwarding};
pub use class::{AccountClass, UnknownClass};
pub use credentials::{Credentials, Scram, Workspace};
pub use error::{DirectoryError, EditError};
pub use handle::{Directory, UserSummary};
pub use metrics::Metrics;
pub use password::{Password, PasswordError};
pub use plain::{Plain, may_act_as};
pub use scram::ScramVerifier;
pub use snapshot::{Account, Resolution, Snapshot};
pub use verify::{PasswordVerifier, Settings, Unavailable};
