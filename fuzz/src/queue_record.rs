//! Payloads of the queue's message records.

use gatepost_core::queue::reencode_message;

/// What reads as a message is written as octets that read the same.
pub fn check(payload: &[u8]) {
    let Some(written) = reencode_message(payload) else { return };
    assert_eq!(reencode_message(&written), Some(written.clone()), "writing is stable");
    assert!(written.starts_with(&payload[..8]), "the id stays");
}
