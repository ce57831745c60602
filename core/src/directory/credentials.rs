//! What is kept of a password: hashes that are slow to guess.

use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::{self, PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::{Password, ScramVerifier};

/// Of one user. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// argon2id as a PHC string: for PLAIN, LOGIN, POP3.
    pub(super) hash: String,
    /// For SCRAM; `None` where it was switched off when the password was set.
    pub(super) scram: Option<ScramVerifier>,
}

/// Whether a new password gets a SCRAM verifier besides its hash. Without one the user can log in by PLAIN and LOGIN
/// alone, and a stolen directory is only as fast to guess as argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scram {
    /// Both are stored.
    On,
    /// argon2id alone.
    Off,
}

/// The system gave no random numbers, or argon2 refused our own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashFailed;

// === impl Credentials ===

impl Credentials {
    /// Hashes a password. Blocking: some 30 ms of one core.
    ///
    /// # Errors
    /// [`HashFailed`] where the system has no random numbers.
    pub fn of(password: &Password, scram: Scram) -> Result<Self, HashFailed> {
        let mut salt = [0; SALT_OCTETS];
        getrandom::fill(&mut salt).map_err(|_| HashFailed)?;
        let salt = SaltString::encode_b64(&salt).map_err(|_| HashFailed)?;
        let hash = argon2()?.hash_password(password.expose(), &salt).map_err(|_| HashFailed)?.to_string();
        let scram = match scram {
            Scram::Off => None,
            Scram::On => {
                // Not argon2's salt: SCRAM's is sent to anybody who asks.
                let mut salt = vec![0; SALT_OCTETS];
                getrandom::fill(&mut salt).map_err(|_| HashFailed)?;
                Some(ScramVerifier::derive(password, salt, SCRAM_ITERATIONS))
            }
        };
        Ok(Self { hash, scram })
    }

    /// Whether this is the password. Blocking: some 20 ms of one core and 19 MiB.
    #[must_use]
    pub fn matches(&self, password: &Password) -> bool {
        // A hash that cannot be read matches nothing; the parameters are those that it was made with.
        PasswordHash::new(&self.hash)
            .and_then(|hash| Argon2::default().verify_password(password.expose(), &hash))
            .is_ok()
    }

    /// What a guess costs: algorithm, version and parameters of the hash.
    #[cfg(test)]
    pub(super) fn cost(&self) -> String {
        self.hash.split('$').take(4).collect::<Vec<_>>().join("$")
    }

    /// What SCRAM needs, if it was stored.
    #[must_use]
    pub const fn scram(&self) -> Option<&ScramVerifier> {
        self.scram.as_ref()
    }
}

/// Redacted.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl From<password_hash::Error> for HashFailed {
    fn from(_: password_hash::Error) -> Self {
        Self
    }
}

fn argon2() -> Result<Argon2<'static>, HashFailed> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None).map_err(|_| HashFailed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// OWASP's Password Storage Cheat Sheet, second of its equivalent settings: m=19 MiB, t=2, p=1. More memory would let
/// fewer log-ins run beside each other on a small machine.
const ARGON2_MEMORY_KIB: u32 = 19_456;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// RFC 7677 section 4: at least 4,096, and 15,000 by its rule of thumb of a tenth of a second, which today's phones beat
/// by far. Users whose password was set under another count keep that one, and can be told from decoys by it: change it
/// together with all passwords.
pub const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(15_000).unwrap();
/// RFC 9106 section 3.1 recommends 16 octets for argon2; SCRAM's is as long.
pub const SALT_OCTETS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_matches() {
        let credentials = Credentials::of(&password("pencil"), Scram::On).unwrap();
        assert!(credentials.matches(&password("pencil")));
        assert!(!credentials.matches(&password("pencil ")));
        assert!(credentials.scram().is_some());
    }

    #[test]
    fn the_stored_hash_names_its_algorithm_and_cost_and_two_of_them_differ() {
        let one = Credentials::of(&password("pencil"), Scram::Off).unwrap();
        let two = Credentials::of(&password("pencil"), Scram::Off).unwrap();
        assert!(one.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.hash);
        assert_ne!(one, two);
        assert_eq!(one.scram(), None);
    }

    #[test]
    fn a_hash_that_cannot_be_read_matches_nothing() {
        for hash in ["", "pencil", "$argon2id$", "$plain$pencil"] {
            let credentials = Credentials { hash: hash.to_owned(), scram: None };
            assert!(!credentials.matches(&password("pencil")));
        }
    }

    fn password(text: &str) -> Password {
        Password::prepare(text.as_bytes()).unwrap()
    }
}
