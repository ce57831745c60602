//! Holes that other mail servers had, all public and mended long ago: each row sends what was sent there, and asserts that
//! it gets nothing here. What happened, and which test would fail, is in the table of `README.md`, printed from the rows.
//!
//! ```text
//! a theme's ROWS (who, what happened, the test) -> table::run -> arena: one server, unharmed behind each row
//!                                               -> README.md
//! ```

mod addresses;
mod arena;
mod authentication;
mod chunking;
mod contents;
mod extension;
mod names;
mod programs;
mod resources;
mod starttls;
mod table;
