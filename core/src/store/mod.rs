//! Mailbox databases.
