//! The server's end of a connection: plaintext, or TLS over it. It can be made to end in the middle of anything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The server's end of a connection.
pub(crate) struct Line {
    over: Over,
    /// What may still be written and read before the connection breaks.
    write_octets: usize,
    read_octets: usize,
}

enum Over {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

// === impl Line ===

impl Line {
    pub(crate) const fn plain(stream: TcpStream) -> Self {
        Self { over: Over::Plain(stream), write_octets: usize::MAX, read_octets: usize::MAX }
    }

    /// One that breaks once so many octets were written or read.
    pub(crate) fn breaking_after(self, write_octets: usize, read_octets: usize) -> Self {
        Self { write_octets, read_octets, ..self }
    }

    /// The handshake follows with the first octet that is read or written.
    pub(crate) fn secure(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let Over::Plain(stream) = &self.over else { return Err(io::ErrorKind::AlreadyExists.into()) };
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        self.over = Over::Tls(Box::new(StreamOwned::new(session, stream.try_clone()?)));
        Ok(())
    }

    /// The connection below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.over {
            Over::Plain(stream) => stream,
            Over::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.read_octets);
        if length == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let read = match &mut self.over {
            Over::Plain(stream) => stream.read(&mut buffer[..length]),
            Over::Tls(stream) => stream.read(&mut buffer[..length]),
        }?;
        self.read_octets -= read;
        Ok(read)
    }
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let octets = &octets[..octets.len().min(self.write_octets)];
        if octets.is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let written = match &mut self.over {
            Over::Plain(stream) => stream.write(octets),
            Over::Tls(stream) => stream.write(octets),
        }?;
        self.write_octets -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.over {
            Over::Plain(stream) => stream.flush(),
            Over::Tls(stream) => stream.flush(),
        }
    }
}

/// What was sent in the clear behind STARTTLS is not part of what is said inside TLS.
pub(crate) fn drop_buffered(line: &mut BufReader<Line>) {
    line.consume(line.buffer().len());
}
