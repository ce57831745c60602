//! The grammar of RFC 5321 and its extensions: octets to values that cannot be invalid, and back.
//!
//! # Quirks
//!
//! Strict by default; these deviations are tolerated, each with its reason where it is implemented:
//! - white space at the end of a command line (`verb`, `quirk_trailing_space`);
//! - an underscore in the name of EHLO, and an address literal in HELO (`client_name`, `quirk_underscore`);
//! - `=` as an empty response in the middle of an AUTH exchange (`auth`, `quirk_equals_sign`);
//! - a space behind the colon of MAIL and RCPT (`command`, `quirk_space_after_colon`) and a bare LF as the end of a line
//!   (`line` and `data`, `quirk_bare_lf`), both from peers alone that are allowed them, and noticed;
//! - body lines over 1,000 octets, and octets above 127 under `BODY=7BIT` (`data`).

pub mod auth;
pub mod bdat;
pub mod client_name;
pub mod command;
pub mod data;
pub mod extension;
pub mod limits;
pub mod line;
pub mod params;
pub mod path;
pub mod reply;
pub mod reply_parse;
pub mod token;
pub mod verb;
pub mod xclient;
mod xtext;
