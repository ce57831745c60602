//! Threads for blocking file work.

use std::io;

/// A fixed number of threads with a bounded queue before them. Cheap to clone; the threads end with the last clone.
#[derive(Debug, Clone)]
pub struct IoPool {}

impl IoPool {
    /// Starts `threads` threads named `name`.
    pub fn start(_name: &str, _threads: usize) -> io::Result<Self> {
        todo!()
    }
}
