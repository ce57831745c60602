//! An ICAP server that repairs: the test string goes, the rest of the item stays. No program among Debian's does that.

use std::sync::Arc;

use crate::icap_service::{self, Said, Service};
use crate::mail;

/// A running one; it ends with the process.
#[derive(Debug)]
pub struct Repairer {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

struct Repair;

// === impl Repairer ===

impl Repairer {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start() -> Self {
        Self { port: icap_service::start(&Arc::new(Repair)) }
    }

    /// The server's settings that have it asked.
    #[must_use]
    pub fn engine(&self) -> String {
        let port = self.port;
        format!("[[scan.engine]]\ntype = \"icap\"\naddress = \"127.0.0.1:{port}\"\nservice = \"repair\"\n")
    }
}

impl Service for Repair {
    fn tag(&self) -> String {
        "repair-1".to_owned()
    }

    fn look(&self, item: Vec<u8>) -> Said {
        let repaired = without(&item, mail::eicar().as_bytes());
        if repaired == item { Said::Clean } else { Said::Repaired("Repairable", repaired) }
    }
}

fn without(item: &[u8], bad: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(item.len());
    let mut rest = item;
    while let Some(at) = rest.windows(bad.len()).position(|window| window == bad) {
        left.extend_from_slice(&rest[..at]);
        rest = &rest[at + bad.len()..];
    }
    left.extend_from_slice(rest);
    left
}
