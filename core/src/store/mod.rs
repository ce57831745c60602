//! Mailboxes: where a delivered mail lies until its reader deletes it.
//!
//! ```text
//! delivery --deliver/record--> MailStore --list/fetch--> access::gate
//!          <--disposition-----           <--mark/delete--
//! ```
//! In: taking mail so that a replay after a crash does nothing twice, handing it out, remembering what a scan said.
//! Out: who lives here (`directory`), whether a mail may be shown (`access::gate`), protocols (`access`).

pub mod databases;
pub mod error;
pub mod mail_store;
pub mod metrics;
pub mod sqlite;
pub mod survey;

pub use databases::{Database, Databases};
pub use error::{OpenError, StoreError};
pub use mail_store::{
    Delivery, Listing, MailStore, MailboxCopy, MailboxTotals, ScanMark, StoredMessage, Summary,
};
pub use metrics::Metrics;
pub use sqlite::{Settings, SqliteStore};
pub use survey::{BodyMark, ContentHash, Copied, Encounter, Position, Replaced, Replacement};

/// The database that has every mailbox for which there is no other.
pub const DATABASE: &str = "default";
