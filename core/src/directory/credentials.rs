//! What is kept of a password: hashes that are slow to guess.

use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::{self, Output, PasswordHash, PasswordHasher as _, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};

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

/// What a check works in, for one at a time. Whoever checks often keeps it: memory of this size that is taken anew for each
/// check stays with the allocator several times over.
#[derive(Default)]
pub struct Workspace {
    blocks: Vec<Block>,
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

    /// Whether this is the password. Blocking: some 20 ms of one core, and 19 MiB that stay in `workspace`.
    #[must_use]
    pub fn matches(&self, password: &Password, workspace: &mut Workspace) -> bool {
        // A hash that cannot be read matches nothing.
        let outcome = PasswordHash::new(&self.hash).and_then(|hash| workspace.matches(password, &hash));
        outcome.unwrap_or(false)
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

// === impl Workspace ===

impl Workspace {
    /// The parameters are those that the hash was made with.
    fn matches(&mut self, password: &Password, hash: &PasswordHash<'_>) -> password_hash::Result<bool> {
        let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(false) };
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
        let params = Params::try_from(hash)?;
        self.blocks.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm)?, version, params);
        let mut salt_octets = [0; Salt::MAX_LENGTH];
        let salt = salt.decode_b64(&mut salt_octets)?;
        let found = Output::init_with(expected.len(), |out| {
            Ok(argon2.hash_password_into_with_memory(password.expose(), salt, out, &mut self.blocks)?)
        })?;
        // Takes as long wherever they differ.
        Ok(found == expected)
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
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
        let mut workspace = Workspace::default();
        assert!(credentials.matches(&password("pencil"), &mut workspace));
        assert!(!credentials.matches(&password("pencil "), &mut workspace));
        assert!(credentials.scram().is_some());
    }

    #[test]
    fn a_workspace_that_was_used_is_as_good_as_a_new_one() {
        let costly = Credentials::of(&password("pencil"), Scram::Off).unwrap();
        let params = Params::new(64, 1, 1, Some(24)).unwrap();
        let salt = SaltString::encode_b64(b"another salt").unwrap();
        let cheap = Argon2::new(Algorithm::Argon2i, Version::V0x10, params);
        let hash = cheap.hash_password(b"ballpoint", &salt).unwrap().to_string();
        let cheap = Credentials { hash, scram: None };
        let mut workspace = Workspace::default();
        for _ in 0..2 {
            for (credentials, right, wrong) in
                [(&costly, "pencil", "ballpoint"), (&cheap, "ballpoint", "pencil")]
            {
                assert!(credentials.matches(&password(right), &mut workspace));
                assert!(!credentials.matches(&password(wrong), &mut workspace));
            }
        }
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
        let mut workspace = Workspace::default();
        for hash in ["", "pencil", "$argon2id$", "$plain$pencil"] {
            let credentials = Credentials { hash: hash.to_owned(), scram: None };
            assert!(!credentials.matches(&password("pencil"), &mut workspace));
        }
    }

    fn password(text: &str) -> Password {
        Password::prepare(text.as_bytes()).unwrap()
    }
}
