//! The memory that peers may make us hold, by its uses.

use std::io;

use gatepost_core::memory::MemoryBudget;
use gatepost_core::scan::{Rewriter, Scanner};

use crate::admission::memory::Memory;
use crate::config::Config;

/// The memory that peers may make us hold, and what parts of it are for.
pub(super) struct Shares {
    pub(super) memory: Memory,
    /// Half: the rest must do for who is not being scanned.
    pub(super) scans: MemoryBudget,
}

// === impl Shares ===

impl Shares {
    pub(super) fn new(config: &Config) -> Self {
        let whole = MemoryBudget::new(config.limits.memory.count());
        let bodies = whole.share(config.limits.body_memory.count());
        let scans = whole.share(config.limits.memory.half().count());
        Self { memory: Memory { whole, bodies }, scans }
    }

    /// Rewrites mails in what is left of the whole.
    pub(super) fn rewriter(&self, scanner: &Scanner) -> io::Result<Rewriter> {
        Rewriter::start(scanner.clone(), self.memory.whole.share(u64::MAX))
    }

    pub(super) fn resize(&self, config: &Config) {
        self.memory.whole.resize(config.limits.memory.count());
        self.memory.bodies.resize(config.limits.body_memory.count());
        self.scans.resize(config.limits.memory.half().count());
    }
}
