//! Early talkers: who speaks before the greeting does not read replies.
//!
//! RFC 5321 section 3.1 has the client wait for 220. Programs that throw mail at as many servers as they can often do not,
//! so a short silence before the greeting tells them apart. Nothing is read while we wait: what came stays in the kernel.

mod passed;

use std::time::Duration;

use tokio::net::TcpStream;

pub(super) use passed::Passed;

/// What came too early, as far as its first octets tell; never those octets themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    /// A TLS handshake: most likely a client that was told the wrong port.
    Tls,
    /// A PROXY header of a balancer that is not listed.
    Proxy,
    /// HTTP: a browser, or one that was made to send mail.
    Http,
    /// EHLO or HELO.
    Hello,
    /// Anything else.
    Other,
}

/// What was heard before the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing: as it should be.
    Silence,
    /// The end of the stream, or an error, which the session meets again by itself: nothing for the peer, nor against it.
    Gone,
    /// Words.
    Words(Early),
}

/// Waits before the greeting; tells what came meanwhile.
pub(crate) async fn listen(stream: &TcpStream, wait: Duration) -> Heard {
    let mut start = [0; START_OCTETS];
    let heard = tokio::time::timeout(wait, stream.peek(&mut start)).await;
    match heard {
        Ok(Ok(octets)) if octets > 0 => Heard::Words(Early::of(start.get(..octets).unwrap_or_default())),
        Ok(_) => Heard::Gone,
        Err(_) => Heard::Silence,
    }
}

// === impl Early ===

impl Early {
    fn of(start: &[u8]) -> Self {
        let begins_with =
            |word: &[u8]| start.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if start.starts_with(TLS_HANDSHAKE) {
            Self::Tls
        } else if begins_with(b"PROXY ") || start.starts_with(b"\r\n\r\n\0") {
            Self::Proxy
        } else if [&b"GET "[..], b"POST ", b"HEAD ", b"OPTIONS", b"CONNECT", b"PUT "]
            .into_iter()
            .any(begins_with)
        {
            Self::Http
        } else if begins_with(b"EHLO") || begins_with(b"HELO") {
            Self::Hello
        } else {
            Self::Other
        }
    }

    /// In words, for the evidence.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tls => "a TLS handshake",
            Self::Proxy => "a PROXY header",
            Self::Http => "an HTTP request",
            Self::Hello => "EHLO or HELO",
            Self::Other => "something else",
        }
    }
}

/// As much as tells the kinds apart.
const START_OCTETS: usize = 8;
/// Record type handshake, version 3 (RFC 8446 section 5.1).
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, theirs)
    }

    #[tokio::test]
    async fn what_comes_early_is_told_and_stays_unread() {
        let kinds: [(&[u8], Early); 6] = [
            (b"\x16\x03\x01\x02\x00", Early::Tls),
            (b"PROXY TCP4 192.0.2.1", Early::Proxy),
            (b"POST / HTTP/1.1\r\n", Early::Http),
            (b"ehlo x\r\n", Early::Hello),
            (b"MAIL FROM:<>\r\n", Early::Other),
            (b"E", Early::Other),
        ];
        for (octets, kind) in kinds {
            let (mut ours, mut theirs) = pair().await;
            theirs.write_all(octets).await.unwrap();
            assert_eq!(listen(&ours, Duration::from_secs(20)).await, Heard::Words(kind), "{octets:?}");
            let mut read = vec![0; octets.len()];
            ours.read_exact(&mut read).await.unwrap();
            assert_eq!(read, octets);
        }
    }

    #[tokio::test]
    async fn a_peer_that_waits_or_leaves_has_not_spoken() {
        let (ours, theirs) = pair().await;
        assert_eq!(listen(&ours, Duration::from_millis(20)).await, Heard::Silence);
        drop(theirs);
        assert_eq!(listen(&ours, Duration::from_secs(20)).await, Heard::Gone);
    }
}
