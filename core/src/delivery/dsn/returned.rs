//! What comes back of the mail: all of it, or its headers.

use std::io::{self, Read};

use gatepost_smtp::wire::params::Ret;
use memchr::memmem;

use super::report::{Action, Told};
use crate::intake::Body;
use crate::queue::NewMessage;

/// What comes back; octets with CRLF at the end of each line, as they came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// The whole mail.
    Whole(Vec<u8>),
    /// Its header section, without the empty line; cut behind a line where it is long.
    Headers(Vec<u8>),
}

/// Whether the sender is to have all of it, if a scan lets it: it is for a failure (RFC 3461 section 4.3), he has not asked for
/// headers alone, and it is not large. What must stay in TLS is shown no more than is needed, whatever he has asked for
/// (RFC 8689 section 5).
pub(in crate::delivery) fn wants_whole(message: &NewMessage, told: &[Told]) -> bool {
    told.iter().any(|told| told.action == Action::Failed)
        && message.submission.envelope.params.ret != Some(Ret::Hdrs)
        && !message.submission.envelope.params.requiretls
        && message.body.octets() <= WHOLE_OCTETS_MAX
}

// === impl Returned ===

impl Returned {
    /// Blocking where the body is a file.
    ///
    /// # Errors
    /// The body cannot be read.
    pub(super) fn read(trace: &[u8], body: &Body, whole: bool) -> io::Result<Self> {
        let octets_max = if whole { WHOLE_OCTETS_MAX } else { HEADERS_OCTETS_MAX as u64 };
        let mut octets = trace.to_vec();
        body.reader()?.take(octets_max).read_to_end(&mut octets)?;
        Ok(if whole { Self::Whole(octets) } else { Self::headers(octets) })
    }

    /// What is left where the body cannot be read: our own trace.
    pub(super) fn trace_alone(trace: &[u8]) -> Self {
        Self::headers(trace.to_vec())
    }

    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Whole(octets) | Self::Headers(octets) => octets,
        }
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        match self {
            Self::Whole(octets) | Self::Headers(octets) => octets,
        }
    }

    fn headers(mut octets: Vec<u8>) -> Self {
        let end = if octets.starts_with(b"\r\n") {
            0
        } else if let Some(at) = memmem::find(&octets, b"\r\n\r\n") {
            at.saturating_add(2)
        } else {
            memmem::rfind(&octets, b"\r\n").map_or(0, |at| at.saturating_add(2))
        };
        octets.truncate(end);
        Self::Headers(octets)
    }
}

/// With the report it stays well below what the queue keeps in memory. Who has sent a larger mail has it still.
const WHOLE_OCTETS_MAX: u64 = 128 * 1024;
/// Longer ones are those of an attack.
pub(super) const HEADERS_OCTETS_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::dsn::report::tests::message;

    fn headers(body: &[u8]) -> Vec<u8> {
        let body = Body::Memory(body.to_vec().into());
        Returned::read(b"Received: x\r\n", &body, false).unwrap().octets().to_vec()
    }

    #[test]
    fn the_headers_end_before_the_empty_line() {
        assert_eq!(headers(b"Subject: a\r\n\r\nbody\r\n\r\n"), b"Received: x\r\nSubject: a\r\n");
        assert_eq!(headers(b"\r\nbody\r\n\r\n"), b"Received: x\r\n");
        assert_eq!(headers(b"Subject: a\r\nTo"), b"Received: x\r\nSubject: a\r\n");
        assert_eq!(headers(b""), b"Received: x\r\n");
    }

    #[test]
    fn long_headers_are_cut_behind_a_line() {
        let octets = headers("A: b\r\n".repeat(100_000).as_bytes());
        assert!(octets.ends_with(b"A: b\r\n") && octets.len() < 33_000, "{}", octets.len());
    }

    #[test]
    fn a_whole_mail_comes_back_of_one_that_failed_and_is_not_large() {
        let failed = [Told::new(0, Action::Failed, "5.1.1 gone", None)];
        let delayed = [Told::new(0, Action::Delayed, "4.2.0 not yet", None)];
        let usual = message("<a@b.example>", "");
        assert!(wants_whole(&usual, &failed) && !wants_whole(&usual, &delayed));
        assert!(!wants_whole(&message("<a@b.example>", " RET=HDRS"), &failed));
        assert!(wants_whole(&message("<a@b.example>", " RET=FULL"), &failed));
        assert!(!wants_whole(&message("<a@b.example>", " RET=FULL REQUIRETLS"), &failed));
        let mut large = message("<a@b.example>", " RET=FULL");
        large.body = Body::Memory(vec![b'x'; 200_000].into());
        assert!(!wants_whole(&large, &failed));
    }
}
