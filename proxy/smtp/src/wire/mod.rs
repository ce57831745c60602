//! The grammar of RFC 5321 and its extensions: octets to values that cannot be invalid, and back.

pub mod auth;
pub mod bdat;
pub mod client_name;
pub mod command;
pub mod data;
pub mod limits;
pub mod line;
pub mod params;
pub mod path;
pub mod reply;
mod xtext;
