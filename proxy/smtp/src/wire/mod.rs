//! The grammar of RFC 5321 and its extensions: octets to values that cannot be invalid, and back.

pub mod auth;
pub mod client_name;
pub mod limits;
pub mod params;
pub mod path;
mod xtext;
