//! The checks of strangers that take time. Whoever is trusted, listed or known from a log-in does not wait for them.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::dnsbl::BlockLists;
use super::pregreet;
use super::verdict::{Refused, Rule};

/// Which of them a listener makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StrangerChecks {
    /// How long the peer must be silent before the greeting; `None` where the greeting comes at once, or not from us.
    pub pregreet_wait: Option<Duration>,
    /// Whether the block and allow lists are asked.
    pub dnsbl: bool,
}

// === impl StrangerChecks ===

impl StrangerChecks {
    /// What both have found: who waits for the one need not wait for the other.
    pub(super) async fn make(
        self,
        stream: &TcpStream,
        address: IpAddr,
        block_lists: &BlockLists,
    ) -> [Option<Refused>; 2] {
        let early = async {
            let early = pregreet::listen(stream, self.pregreet_wait?).await?;
            let evidence = format!("spoke before the greeting: {}", early.name());
            Some(Refused { rule: Rule::Pregreet, evidence })
        };
        let listed = async {
            let evidence = if self.dnsbl { block_lists.refuse(address).await? } else { return None };
            Some(Refused { rule: Rule::Dnsbl, evidence })
        };
        let (early, listed) = tokio::join!(early, listed);
        [early, listed]
    }
}
