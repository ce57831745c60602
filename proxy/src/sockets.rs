//! The listening sockets: bound before anything is given up, taken when the runtime runs.
//!
//! A service manager may pass sockets that it has bound itself (systemd's socket activation): the one with the name of a
//! listener (`FileDescriptorName=`) is used instead of the listener's address.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Sockets {
    /// By the name of their listener.
    passed: HashMap<String, TcpListener>,
    bound: HashMap<(String, SocketAddr), TcpListener>,
    /// Whether no other can be had any more.
    sealed: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address cannot be had.
    #[error(transparent)]
    Bind(#[from] io::Error),
    /// The process has given up listening anew.
    #[error("the sandbox forbids to listen anew: a new listener takes a restart")]
    Sealed,
}

// === impl Sockets ===

impl Sockets {
    /// With what the service manager has passed to this process. Its variables are taken out of the environment.
    #[must_use]
    pub fn of_service_manager() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut passed = HashMap::new();
        for (index, name) in (0..sockets.len()).zip(names.split(':').map(str::to_owned).chain(unnamed())) {
            match sockets.take_tcp_listener(index) {
                Ok(Some(_)) if passed.contains_key(&name) => {
                    tracing::warn!(
                        ?name,
                        "the service manager passed two sockets of this name; one is not used"
                    );
                }
                Ok(Some(socket)) => drop(passed.insert(name, socket)),
                Ok(None) => (),
                Err(error) => tracing::warn!(?name, %error, "the service manager passed no TCP socket"),
            }
        }
        Self { passed, ..Self::default() }
    }

    /// Gets the socket of a listener ready.
    ///
    /// # Errors
    /// The address is taken, not ours, or a privileged port.
    pub fn prepare(&mut self, name: &str, address: SocketAddr) -> Result<(), SocketError> {
        let socket = self.take(name, address)?;
        self.bound.insert((name.to_owned(), address), socket);
        Ok(())
    }

    /// From now on there are only those that are here.
    pub const fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether `take` would have one without asking the system to listen.
    #[must_use]
    pub fn has(&self, name: &str, address: SocketAddr) -> bool {
        !self.sealed || self.passed.contains_key(name) || self.bound.contains_key(&(name.to_owned(), address))
    }

    /// The socket of a listener: prepared, passed, or new. It does not block.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn take(&mut self, name: &str, address: SocketAddr) -> Result<TcpListener, SocketError> {
        if let Some(socket) = self.bound.remove(&(name.to_owned(), address)) {
            return Ok(socket);
        }
        let socket = match self.passed.remove(name) {
            Some(socket) => {
                tracing::info!(listener = name, "the service manager passed the socket");
                socket
            }
            None if self.sealed => return Err(SocketError::Sealed),
            None => listen(address)?,
        };
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Names of sockets that were passed for no listener.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.passed.keys().map(String::as_str)
    }
}

/// Binds with `SO_REUSEADDR`, as the standard library does: a restart must not wait for the last run's connections to
/// leave TIME_WAIT.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    // A second call only changes the length of the backlog.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// What systemd calls a socket without a name.
fn unnamed() -> impl Iterator<Item = String> {
    std::iter::repeat_with(|| "unknown".to_owned())
}

/// Connections that come faster than a task gets its turn; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_prepared_socket_is_the_one_that_is_taken() {
        let mut sockets = Sockets::default();
        sockets.prepare("smtp", ANY).unwrap();
        sockets.seal();
        assert!(sockets.has("smtp", ANY));
        assert!(!sockets.has("smtps", ANY));
        sockets.take("smtp", ANY).unwrap();
        assert!(matches!(sockets.take("smtp", ANY), Err(SocketError::Sealed)), "it is gone");
    }

    #[test]
    fn a_passed_socket_goes_before_the_address_and_waits_for_a_later_listener() {
        let passed = TcpListener::bind(ANY).unwrap();
        let address = passed.local_addr().unwrap();
        let passed = HashMap::from([("smtp".to_owned(), passed)]);
        let mut sockets = Sockets { passed, sealed: true, ..Sockets::default() };
        assert_eq!(sockets.unused().collect::<Vec<_>>(), ["smtp"]);
        let taken = sockets.take("smtp", ANY).unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
    }
}
