//! The arithmetic of SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677). Messages and their order belong to the edge.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use gatepost_smtp::client::scram::{Challenge, Proof};
use subtle::ConstantTimeEq as _;

use super::Password;

/// What a server keeps of a password to check SCRAM-SHA-256 proofs. It does not allow to log in elsewhere with it,
/// but it does allow to guess offline: it is as secret as a password hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Sent to the client.
    pub salt: Vec<u8>,
    /// PBKDF2 rounds, sent to the client.
    pub iterations: NonZeroU32,
    /// `H(ClientKey)`.
    pub stored_key: [u8; KEY_OCTETS],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; KEY_OCTETS],
}

/// Length of SHA-256's output.
pub const KEY_OCTETS: usize = 32;

// === impl ScramVerifier ===

impl ScramVerifier {
    /// Derives the verifier of a password.
    #[must_use]
    pub fn derive(password: &Password, salt: Vec<u8>, iterations: NonZeroU32) -> Self {
        let salted = salted(password, &salt, iterations);
        let client_key = mac(&salted, b"Client Key");
        Self { salt, iterations, stored_key: hash(&client_key), server_key: mac(&salted, b"Server Key") }
    }

    /// Checks a client's proof over `auth_message` and, if it is right, signs the same message for the client.
    /// Takes the same time for a right and a wrong proof.
    #[must_use]
    pub fn check(&self, auth_message: &[u8], proof: &[u8; KEY_OCTETS]) -> Option<[u8; KEY_OCTETS]> {
        let client_signature = mac(&hmac::Key::new(hmac::HMAC_SHA256, &self.stored_key), auth_message);
        let mut client_key = [0; KEY_OCTETS];
        for ((key, proof), signature) in client_key.iter_mut().zip(proof).zip(&client_signature) {
            *key = proof ^ signature;
        }
        let is_right = hash(&client_key).ct_eq(&self.stored_key);
        let server_signature = mac(&hmac::Key::new(hmac::HMAC_SHA256, &self.server_key), auth_message);
        bool::from(is_right).then_some(server_signature)
    }
}

/// Keys are redacted.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The client's side: what proves that it knows the password, and what the server has to show. Takes as long as
/// `iterations` say, so it is not for the runtime's threads.
#[must_use]
pub fn prove(password: &Password, challenge: &Challenge) -> Proof {
    let salted = salted(password, &challenge.salt, challenge.iterations);
    let sign = |key: &[u8]| mac(&hmac::Key::new(hmac::HMAC_SHA256, key), &challenge.auth_message);
    let mut client = mac(&salted, b"Client Key");
    let signature = sign(&hash(&client));
    for (octet, signature) in client.iter_mut().zip(signature) {
        *octet ^= signature;
    }
    Proof { client, server: sign(&mac(&salted, b"Server Key")) }
}

/// `SaltedPassword`, as a key.
fn salted(password: &Password, salt: &[u8], iterations: NonZeroU32) -> hmac::Key {
    let mut salted = zeroize::Zeroizing::new([0; KEY_OCTETS]);
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, iterations, salt, password.expose(), salted.as_mut_slice());
    hmac::Key::new(hmac::HMAC_SHA256, salted.as_slice())
}

/// HMAC-SHA-256.
pub(super) fn mac(key: &hmac::Key, message: &[u8]) -> [u8; KEY_OCTETS] {
    let mut out = [0; KEY_OCTETS];
    // The lengths are equal by the algorithm; copying what is there cannot fail.
    for (to, from) in out.iter_mut().zip(hmac::sign(key, message).as_ref()) {
        *to = *from;
    }
    out
}

fn hash(octets: &[u8]) -> [u8; KEY_OCTETS] {
    let mut out = [0; KEY_OCTETS];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, octets).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use proptest::prelude::*;

    use super::*;

    /// RFC 7677 section 3.
    const AUTH_MESSAGE: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn vector() -> ScramVerifier {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let pencil = Password::prepare(b"pencil").unwrap();
        ScramVerifier::derive(&pencil, salt, NonZeroU32::new(4096).unwrap())
    }

    fn proof() -> [u8; KEY_OCTETS] {
        let proof = BASE64_STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        proof.try_into().unwrap()
    }

    #[test]
    fn the_vector_of_rfc_7677_gives_its_server_signature() {
        let signature = vector().check(AUTH_MESSAGE, &proof()).expect("the proof is right");
        assert_eq!(BASE64_STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn the_vector_of_rfc_7677_gives_the_proofs_of_both_sides() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let challenge = Challenge { salt, iterations, auth_message: AUTH_MESSAGE.to_vec() };
        let proven = prove(&Password::prepare(b"pencil").unwrap(), &challenge);
        assert_eq!(proven.client, proof());
        assert_eq!(BASE64_STANDARD.encode(proven.server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn debug_output_does_not_show_the_keys() {
        assert_eq!(format!("{:?}", vector()), "ScramVerifier { iterations: 4096, .. }");
    }

    proptest! {
        #[test]
        fn what_a_client_computes_convinces_a_server_of_the_same_password_and_the_other_way_round(
            typed in "[a-z\u{e4}\u{aa} ]{1,12}",
            other in "[a-z\u{e4}\u{aa} ]{1,12}",
            salt in prop::collection::vec(any::<u8>(), 1..20),
            auth_message in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let (password, other) =
                (Password::prepare(typed.as_bytes()).unwrap(), Password::prepare(other.as_bytes()).unwrap());
            let iterations = NonZeroU32::new(2).unwrap();
            let verifier = ScramVerifier::derive(&password, salt.clone(), iterations);
            let proven = prove(&password, &Challenge { salt: salt.clone(), iterations, auth_message: auth_message.clone() });
            prop_assert_eq!(verifier.check(&auth_message, &proven.client), Some(proven.server));
            if other != password {
                let wrong = prove(&other, &Challenge { salt, iterations, auth_message: auth_message.clone() });
                prop_assert_eq!(verifier.check(&auth_message, &wrong.client), None);
                prop_assert_ne!(wrong.server, proven.server);
            }
        }

        #[test]
        fn a_proof_with_any_octet_changed_is_wrong(index in 0..KEY_OCTETS, flip in 1..=255_u8) {
            let mut proof = proof();
            proof[index] ^= flip;
            prop_assert_eq!(vector().check(AUTH_MESSAGE, &proof), None);
        }
    }
}
