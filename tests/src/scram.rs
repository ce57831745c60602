//! A SCRAM-SHA-256 client (RFC 5802, RFC 7677), made to be wrong on purpose where a test asks for it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What the client says of channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// `n`: it cannot.
    None,
    /// `y`: it could, and believes that the server cannot.
    NotOffered,
    /// `p=tls-exporter` with these octets (RFC 9266).
    Exporter([u8; 32]),
    /// `p=` with another type.
    Other(String, Vec<u8>),
}

/// One exchange.
#[derive(Debug)]
pub struct Client {
    gs2_header: String,
    binding: Vec<u8>,
    bare: String,
    nonce: String,
    password: String,
}

// === impl Client ===

impl Client {
    /// Prepares the exchange, with a fresh nonce.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn new(user: &str, password: &str, binding: &Binding) -> Self {
        let mut random = [0; 18];
        rand::fill(&mut random).expect("randomness");
        Self::with_nonce(user, password, binding, &BASE64.encode(random))
    }

    /// Prepares the exchange with this nonce, as the RFC's examples do.
    #[must_use]
    pub fn with_nonce(user: &str, password: &str, binding: &Binding, nonce: &str) -> Self {
        let (gs2_header, binding) = match binding {
            Binding::None => ("n,,".to_owned(), Vec::new()),
            Binding::NotOffered => ("y,,".to_owned(), Vec::new()),
            Binding::Exporter(octets) => ("p=tls-exporter,,".to_owned(), octets.to_vec()),
            Binding::Other(name, octets) => (format!("p={name},,"), octets.clone()),
        };
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        Self { gs2_header, binding, bare, nonce: nonce.to_owned(), password: password.to_owned() }
    }

    /// The client's first message.
    #[must_use]
    pub fn first_message(&self) -> String {
        format!("{}{}", self.gs2_header, self.bare)
    }

    /// From the server's first message: the client's final message, and the signature that the server must show.
    ///
    /// # Panics
    /// When the server's message is malformed, or does not continue our nonce.
    #[must_use]
    pub fn answer(&self, server_first: &[u8]) -> (String, Vec<u8>) {
        let server_first = std::str::from_utf8(server_first).expect("SCRAM is UTF-8");
        let nonce = attribute(server_first, 'r');
        assert!(
            nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(),
            "the server adds to our nonce"
        );
        let salt = BASE64.decode(attribute(server_first, 's')).expect("the salt is base64");
        let iterations: u32 = attribute(server_first, 'i').parse().expect("a number of iterations");
        assert!(iterations >= 4096, "RFC 7677 section 4 asks for 4096 at least");

        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(iterations).expect("not zero");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, self.password.as_bytes(), &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);

        let mut channel = self.gs2_header.clone().into_bytes();
        channel.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(channel));
        let signed = format!("{},{server_first},{without_proof}", self.bare);
        let signature = mac(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let server_signature = mac(&mac(&salted, b"Server Key"), signed.as_bytes());
        (format!("{without_proof},p={}", BASE64.encode(proof)), server_signature)
    }
}

/// The salt and the iteration count that a server names: what an attacker may compare.
///
/// # Panics
/// When the message is malformed.
#[must_use]
pub fn salt_and_iterations(server_first: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(server_first).expect("SCRAM is UTF-8");
    (attribute(text, 's').to_owned(), attribute(text, 'i').to_owned())
}

fn attribute(message: &str, name: char) -> &str {
    let found = message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name}= in {message:?}"))
}

fn mac(key: &[u8], octets: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), octets).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3.
    #[test]
    fn the_client_computes_the_example_of_rfc_7677() {
        let client = Client::with_nonce("user", "pencil", &Binding::None, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(client.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (proof, signature) = client.answer(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(
            proof,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
