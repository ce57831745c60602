//! The PROXY protocol, versions 1 and 2: a balancer says whose connection it passes on (`proxy-protocol.txt` of the
//! HAProxy project; "section" below means that text).
//!
//! Only the networks that a listener names are believed, and from those the header is required: a header that may be left
//! out could be put in by a client behind the balancer (section 2). Everybody else is an ordinary peer, to whose protocol
//! these octets belong. The header comes before everything, TLS included, and not one octet behind it is taken.

mod header;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use header::{BINARY_START, LENGTH_END, TEXT_START, payload_octets};
pub use header::{Header, HeaderError, decode};

/// Why a balancer's connection is closed without a word.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It has said too little.
    #[error("no whole PROXY header within {HEADER_TIME_MAX:?}")]
    TimedOut,
    /// It has closed, or the connection broke.
    #[error("the connection ended before its PROXY header did: {0}")]
    Ended(#[from] io::Error),
    /// It has said something else.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

// === impl ReadError ===

impl ReadError {
    /// A stable name for metric labels.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Ended(_) => "ended",
            Self::Header(error) => error.name(),
        }
    }
}

/// Takes the header off the stream, to its last octet and not beyond.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, ReadError> {
    let octets = tokio::time::timeout(HEADER_TIME_MAX, take(stream)).await;
    let octets = octets.map_err(|_| ReadError::TimedOut)??;
    Ok(decode(&octets)?)
}

/// Both versions are longer than what tells them apart.
async fn take<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, ReadError> {
    let mut octets = vec![0; BINARY_START.len()];
    stream.read_exact(&mut octets).await?;
    if octets == BINARY_START {
        take_binary(stream, &mut octets).await?;
    } else if octets.starts_with(TEXT_START) {
        take_text(stream, &mut octets).await?;
    } else {
        return Err(HeaderError::Missing.into());
    }
    Ok(octets)
}

/// Version 1 ends with its line, wherever that is: it is read octet by octet, since what follows is not ours to take.
async fn take_text<S: AsyncRead + Unpin>(stream: &mut S, octets: &mut Vec<u8>) -> Result<(), ReadError> {
    while octets.last() != Some(&b'\n') {
        if octets.len() >= TEXT_OCTETS_MAX {
            return Err(HeaderError::TooLong.into());
        }
        octets.push(stream.read_u8().await?);
    }
    Ok(())
}

/// Version 2 says its length, which is believed up to a limit.
async fn take_binary<S: AsyncRead + Unpin>(stream: &mut S, octets: &mut Vec<u8>) -> Result<(), ReadError> {
    let start = octets.len();
    octets.resize(LENGTH_END, 0);
    stream.read_exact(octets.get_mut(start..).unwrap_or_default()).await?;
    let payload = payload_octets(octets).ok_or(HeaderError::Malformed)?;
    if payload > PAYLOAD_OCTETS_MAX {
        return Err(HeaderError::TooLong.into());
    }
    octets.resize(LENGTH_END.saturating_add(payload), 0);
    stream.read_exact(octets.get_mut(LENGTH_END..).unwrap_or_default()).await?;
    Ok(())
}

/// Section 2 asks for at least three seconds, so that a lost packet is sent again in time.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// Section 2.1: the longest line of version 1, CRLF included.
const TEXT_OCTETS_MAX: usize = 107;
/// The largest addresses have 216 octets (section 2.2); what balancers add behind them (names, certificates' subjects, ids of
/// theirs) stays below a kilobyte. The field itself could say 64 KiB.
const PAYLOAD_OCTETS_MAX: usize = 2048;

#[cfg(test)]
mod tests;
