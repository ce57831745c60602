//! Domains, users, credentials, aliases.
