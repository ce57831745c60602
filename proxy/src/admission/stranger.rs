//! The checks of strangers that take time. Whoever is trusted, listed or known from a log-in does not wait for them.

use std::time::Duration;

use tokio::net::TcpStream;

use super::dnsbl::BlockLists;
use super::guest::Guest;
use super::pregreet;
use super::verdict::{Mode, Refused, Rule};

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
    /// Both at the same time: who waits for the one need not wait for the other.
    ///
    /// # Errors
    /// The rule that refuses, and what it saw.
    pub(crate) async fn make(
        self,
        stream: &TcpStream,
        guest: &Guest,
        block_lists: &BlockLists,
    ) -> Result<(), Refused> {
        if !guest.is_stranger() {
            return Ok(());
        }
        let early = async {
            let wait = self.pregreet_wait.filter(|_| guest.mode(Rule::Pregreet) != Mode::Off)?;
            let early = pregreet::listen(stream, wait).await?;
            let evidence = format!("spoke before the greeting: {}", early.name());
            Some(Refused { rule: Rule::Pregreet, evidence })
        };
        let listed = async {
            if !self.dnsbl || guest.mode(Rule::Dnsbl) == Mode::Off {
                return None;
            }
            let evidence = block_lists.refuse(guest.address()).await?;
            Some(Refused { rule: Rule::Dnsbl, evidence })
        };
        let (early, listed) = tokio::join!(early, listed);
        guest.enforce(early)?;
        guest.enforce(listed)
    }
}
