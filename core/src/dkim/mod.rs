//! DKIM signatures (RFC 6376) by RSA and Ed25519 (RFC 8463), both over SHA-256, `relaxed/relaxed`.
//!
//! ```text
//! body, as it streams by -> canonical: BodyHash --\
//! header section -> canonical: relaxed fields -----> signer: DKIM-Signature line <- key
//!                -> signers: whose mail is it?
//! ```
//! A mail is never in memory as a whole: its header section is, and its body goes by in pieces.

mod canonical;
pub mod key;
pub mod signer;
pub mod signers;

pub use canonical::BodyHash;
pub use key::{Algorithm, InvalidKey, SigningKey};
pub use signer::{InvalidName, Selector, SignError, Signer};
pub use signers::Signers;
