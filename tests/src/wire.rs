//! A scripted socket that speaks lines, in the clear or in TLS.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, StreamOwned};

/// A connection to the server under test. Every wait is bounded.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Only while one turns into the other.
    Upgrading,
}

// === impl Wire ===

impl Wire {
    /// Connects to a loopback port.
    ///
    /// # Panics
    /// When nothing listens there.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("no connection to port {port}: {error}"))
    }

    /// Connects to a loopback port.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?)
    }

    /// Connects to any address of this machine.
    ///
    /// # Panics
    /// When nothing listens there.
    #[must_use]
    pub fn connect_to(address: SocketAddr) -> Self {
        let connected = TcpStream::connect_timeout(&address, PATIENCE).and_then(Self::over);
        connected.unwrap_or_else(|error| panic!("no connection to {address}: {error}"))
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Stream::Plain(stream), unread: Vec::new() })
    }

    /// Connects to a loopback port from this address of 127.0.0.0/8, which stands for a network of its own.
    ///
    /// # Panics
    /// When nothing listens there.
    #[must_use]
    pub fn connect_from(source: Ipv4Addr, port: u16) -> Self {
        Self::try_connect_from(source, port)
            .unwrap_or_else(|error| panic!("no connection from {source} to port {port}: {error}"))
    }

    fn try_connect_from(source: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(source, 0))?;
        connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        Self::over(socket.into())
    }

    /// Turns the connection into TLS.
    ///
    /// # Panics
    /// When the handshake fails, or the server has sent plaintext ahead of it.
    pub fn secure(&mut self, config: Arc<ClientConfig>) {
        self.try_secure(config).unwrap_or_else(|error| panic!("the TLS handshake failed: {error}"));
    }

    /// Turns the connection into TLS.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// When the server has sent plaintext ahead of it.
    pub fn try_secure(&mut self, config: Arc<ClientConfig>) -> io::Result<()> {
        assert!(
            self.unread.is_empty(),
            "plaintext ahead of the handshake: {:?}",
            self.unread.escape_ascii().to_string()
        );
        let Stream::Plain(mut stream) = std::mem::replace(&mut self.stream, Stream::Upgrading) else {
            panic!("TLS within TLS");
        };
        let name = ServerName::try_from("localhost").expect("a legal name");
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        self.stream = Stream::Tls(Box::new(StreamOwned::new(tls, stream)));
        Ok(())
    }

    /// Ends TLS from our side by its own farewell, and goes on in the clear over the same connection.
    ///
    /// # Panics
    /// Outside of TLS.
    pub fn leave_tls(&mut self) {
        let Stream::Tls(mut stream) = std::mem::replace(&mut self.stream, Stream::Upgrading) else {
            panic!("no TLS to leave");
        };
        stream.conn.send_close_notify();
        // A server that has gone already has heard enough.
        stream.flush().ok();
        self.unread.clear();
        self.stream = Stream::Plain(stream.sock);
    }

    /// Sends octets in one write.
    ///
    /// # Panics
    /// When they cannot be sent.
    pub fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends octets in one write.
    ///
    /// # Errors
    /// When they cannot be sent.
    pub fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(octets),
            Stream::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
            Stream::Upgrading => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads a line; its CRLF is checked and taken off.
    ///
    /// # Panics
    /// When the server closes, stalls, or ends a line otherwise.
    pub fn line(&mut self) -> Vec<u8> {
        self.try_line().unwrap_or_else(|error| panic!("no line came: {error}"))
    }

    /// Reads a line; its CRLF is checked and taken off.
    ///
    /// # Errors
    /// When the server closes or stalls.
    ///
    /// # Panics
    /// When the line ends in a bare LF.
    pub fn try_line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let found =
                self.unread.get(searched..).unwrap_or_default().iter().position(|&octet| octet == b'\n');
            if let Some(at) = found {
                let mut line: Vec<u8> = self.unread.drain(..=searched + at).collect();
                assert!(line.ends_with(b"\r\n"), "a line without CR: {:?}", line.escape_ascii().to_string());
                line.truncate(line.len() - 2);
                return Ok(line);
            }
            searched = self.unread.len();
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the server closes, and returns what came.
    ///
    /// A reset counts as a close here: a server that drops a connection with octets unread cannot avoid one.
    ///
    /// # Panics
    /// When the server stalls instead.
    #[must_use]
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        || error.kind() == io::ErrorKind::TimedOut =>
                {
                    panic!(
                        "the server keeps the connection open; so far it said {:?}",
                        self.unread.escape_ascii().to_string()
                    )
                }
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.unread)
    }

    /// Whether the server says nothing for `duration` and keeps the connection.
    ///
    /// # Panics
    /// When the socket does not take the time-out.
    #[must_use]
    pub fn is_quiet_for(&mut self, duration: Duration) -> bool {
        self.socket().set_read_timeout(Some(duration)).expect("a time-out can be set");
        let filled = self.fill();
        self.socket().set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        self.unread.is_empty()
            && matches!(filled, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Closes our sending side only. A server that has closed already need not be told.
    ///
    /// # Panics
    /// When the socket is gone.
    pub fn finish_sending(&mut self) {
        let done = self.socket().shutdown(Shutdown::Write);
        assert!(!done.is_err_and(|error| error.kind() != io::ErrorKind::NotConnected), "the socket is open");
    }

    /// The TLS channel binding `tls-exporter` (RFC 9266).
    ///
    /// # Panics
    /// Outside of TLS.
    #[must_use]
    pub fn tls_exporter(&self) -> [u8; 32] {
        let Stream::Tls(stream) = &self.stream else { panic!("no TLS, no exporter") };
        let connection: &ConnectionCommon<_> = &stream.conn;
        connection
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
            .expect("the handshake is done")
    }

    /// The protocol version in use.
    #[must_use]
    pub fn tls_version(&self) -> Option<rustls::ProtocolVersion> {
        match &self.stream {
            Stream::Tls(stream) => stream.conn.protocol_version(),
            _ => None,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Upgrading => panic!("the connection is gone"),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer),
            Stream::Tls(stream) => stream.read(&mut buffer),
            Stream::Upgrading => Err(io::ErrorKind::NotConnected.into()),
        }?;
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

/// Longer than any answer takes on a busy machine, shorter than a test may run.
const PATIENCE: Duration = Duration::from_secs(30);
