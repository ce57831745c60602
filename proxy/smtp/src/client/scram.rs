//! The client's side of SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677), without arithmetic: what follows from the password is
//! computed by the driver, from a `Challenge` to a `Proof`.
//!
//! ```text
//! Start -> client-first -> AwaitingFirst -> Challenge -> AwaitingProof -> client-final -> AwaitingFinal -> the server's proof
//! ```
//! A server that does not prove that it knows the password has not let us in, whatever it says.

mod message;

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use message::{ServerFinal, ServerFirst};

/// What SCRAM needs and a machine without randomness and sockets does not have. It is for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    /// Fresh random octets: by them the server's proof is known to be a new one.
    pub random: [u8; RANDOM_OCTETS],
    /// What binds an exchange to this TLS connection (RFC 9266, `tls-exporter`), where it has such.
    pub exporter: Option<Exporter>,
}

/// Exported keying material of a TLS connection. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Exporter(pub [u8; 32]);

/// What a server asks to be computed from the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// At least one octet.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2, within `ITERATIONS_MIN` and `ITERATIONS_MAX`.
    pub iterations: NonZeroU32,
    /// What both sides sign: all that was said.
    pub auth_message: Vec<u8>,
}

/// What comes of it (RFC 5802 section 3). Its `Debug` shows nothing: passwords can be guessed against it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    /// `ClientProof`: that we know the password.
    pub client: [u8; KEY_OCTETS],
    /// `ServerSignature`: what a server shows that knows it too.
    pub server: [u8; KEY_OCTETS],
}

/// Why an exchange has failed. All of them are the server's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ScramFault {
    /// Against the grammar.
    #[error("a message that is none of SCRAM")]
    Malformed,
    /// `m=`, which must not be passed over and which we do not know.
    #[error("a mandatory extension of SCRAM that is not known")]
    MandatoryExtension,
    /// The nonce does not go on from ours: the message is from another exchange.
    #[error("a nonce that is not for this login")]
    Nonce,
    /// Fewer rounds than `ITERATIONS_MIN`.
    #[error("an iteration count under {ITERATIONS_MIN}, which would make the password easy to guess")]
    TooFewIterations,
    /// More rounds than `ITERATIONS_MAX`.
    #[error("an iteration count over {ITERATIONS_MAX}")]
    TooManyIterations,
    /// `e=` of RFC 5802 section 7.
    #[error("an error in place of the server's proof")]
    Error,
    /// The server's signature is wrong or missing.
    #[error("no proof that it knows the password")]
    Unproven,
}

/// Which of the two mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// SCRAM-SHA-256.
    Unbound,
    /// SCRAM-SHA-256-PLUS.
    Plus,
}

/// Client-first is said.
#[derive(Debug)]
pub(super) struct AwaitingFirst {
    nonce: String,
    /// `client-first-message-bare`.
    bare: String,
    /// What `c=` is to say.
    binding: Vec<u8>,
}

/// Server-first was heard.
#[derive(Debug)]
pub(super) struct AwaitingProof {
    without_proof: String,
}

/// Client-final is said.
#[derive(Debug)]
pub(super) struct AwaitingFinal {
    server_signature: [u8; KEY_OCTETS],
}

/// The three of them.
#[derive(Debug)]
pub(super) enum Exchange {
    First(AwaitingFirst),
    Proof(AwaitingProof),
    Final(AwaitingFinal),
}

// === impl Variant ===

impl Variant {
    /// As it stands behind AUTH.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unbound => "SCRAM-SHA-256",
            Self::Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

// === impl AwaitingFirst ===

impl AwaitingFirst {
    /// Client-first, for a variant that the server offers. The name goes as it is: how names are compared is the server's
    /// matter.
    pub(super) fn begin(variant: Variant, user: &str, means: &Means) -> (String, Self) {
        let (header, exporter) = match (variant, &means.exporter) {
            (Variant::Plus, Some(Exporter(octets))) => ("p=tls-exporter,,", octets.as_slice()),
            // We could, and the server does not: one that does has been robbed of its offer (RFC 5802 section 6).
            (Variant::Unbound, Some(_)) => ("y,,", [].as_slice()),
            (_, None) => ("n,,", [].as_slice()),
        };
        let nonce = STANDARD.encode(means.random);
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        let binding = [header.as_bytes(), exporter].concat();
        (format!("{header}{bare}"), Self { nonce, bare, binding })
    }

    /// Server-first.
    pub(super) fn challenged(self, server_first: &[u8]) -> Result<(Challenge, AwaitingProof), ScramFault> {
        let first = ServerFirst::parse(server_first)?;
        let is_ours = first.nonce.strip_prefix(self.nonce.as_str()).is_some_and(|added| !added.is_empty());
        if !is_ours {
            return Err(ScramFault::Nonce);
        }
        if first.iterations < ITERATIONS_MIN {
            return Err(ScramFault::TooFewIterations);
        }
        let rounds = u32::try_from(first.iterations).ok().filter(|rounds| *rounds <= ITERATIONS_MAX);
        let iterations = rounds.and_then(NonZeroU32::new).ok_or(ScramFault::TooManyIterations)?;
        let without_proof = format!("c={},r={}", STANDARD.encode(&self.binding), first.nonce);
        let auth_message = format!("{},{},{without_proof}", self.bare, first.text).into_bytes();
        Ok((Challenge { salt: first.salt, iterations, auth_message }, AwaitingProof { without_proof }))
    }
}

// === impl AwaitingProof ===

impl AwaitingProof {
    /// Client-final.
    pub(super) fn proved(self, proof: &Proof) -> (String, AwaitingFinal) {
        let message = format!("{},p={}", self.without_proof, STANDARD.encode(proof.client));
        (message, AwaitingFinal { server_signature: proof.server })
    }
}

// === impl AwaitingFinal ===

impl AwaitingFinal {
    /// Server-final.
    pub(super) fn concluded(&self, server_final: &[u8]) -> Result<(), ScramFault> {
        match ServerFinal::parse(server_final)? {
            ServerFinal::Error => Err(ScramFault::Error),
            ServerFinal::Verifier(shown) if is_same(&shown, &self.server_signature) => Ok(()),
            ServerFinal::Verifier(_) => Err(ScramFault::Unproven),
        }
    }
}

// === Debug of secrets ===

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// In a time that does not tell where they differ.
fn is_same(left: &[u8; KEY_OCTETS], right: &[u8; KEY_OCTETS]) -> bool {
    left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right)) == 0
}

/// 120 bits, which nobody meets twice; 20 characters without padding.
pub const RANDOM_OCTETS: usize = 15;

/// Length of SHA-256's output.
pub const KEY_OCTETS: usize = 32;

/// RFC 7677 section 4. A server that asks for less wants a proof that is cheap to guess passwords against.
pub const ITERATIONS_MIN: u64 = 4096;

/// About half a second of a processor. Servers ask for 4,096 to some 600,000; what is beyond would let one keep our threads
/// busy, for an hour at 4,294,967,295.
pub const ITERATIONS_MAX: u32 = 1_000_000;
