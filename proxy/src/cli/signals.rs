//! What an operator can ask of a running server by a signal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for something.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What one asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Reload,
    Stop,
}

// === impl Signals ===

impl Signals {
    /// From here on these signals no longer end the process.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    pub(super) async fn stop_again(&mut self) {
        while self.next().await != Request::Stop {}
    }
}
