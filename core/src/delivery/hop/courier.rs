//! Makes connections.

use std::io;
use std::time::Duration;

use gatepost_smtp::client::Patience;
use gatepost_smtp::wire::client_name::ClientName;

use super::{Connection, HopFailure, NextHop};
use crate::disk::IoPool;

/// What all connections share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What we call ourselves.
    pub name: ClientName,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for what.
    pub patience: Patience,
}

/// Makes connections, and has the threads that read bodies for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Courier {
    settings: Settings,
    pool: IoPool,
}

// === impl Courier ===

impl Courier {
    /// With threads of its own.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        Ok(Self { settings, pool: IoPool::start("gatepost-hop", THREADS)? })
    }

    /// A connection that a mail can be sent over.
    ///
    /// # Errors
    /// Where the server cannot be reached, does not want us, or is not secured as demanded.
    pub async fn connect(&self, hop: &NextHop) -> Result<Connection, HopFailure> {
        let _ = (&self.settings, &self.pool, hop);
        todo!()
    }
}

/// Large bodies are read by these, in parts; a slow disk then holds up no more than these.
const THREADS: usize = 2;

/// For a connection: a host that does not answer costs this once for each address.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);
