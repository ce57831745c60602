//! The checks of strangers that take time. Whoever is trusted, listed or known from a log-in does not wait for them.

use std::time::Duration;

use tokio::net::TcpStream;

use super::dnsbl::BlockLists;
use super::guest::Guest;
use super::pregreet::{self, Heard};
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
            if guest.has_waited() {
                return None;
            }
            let early = match pregreet::listen(stream, wait).await {
                Heard::Words(early) => early,
                Heard::Silence => {
                    guest.waited();
                    return None;
                }
                Heard::Gone => return None,
            };
            let evidence = format!("spoke before the greeting: {}", early.name());
            Some(Refused { rule: Rule::Pregreet, evidence })
        };
        let (early, listed) = tokio::join!(early, self.look_up(guest, block_lists));
        guest.enforce(early)?;
        listed
    }

    /// The block lists alone, for who has had his greeting.
    ///
    /// # Errors
    /// They have the peer.
    pub(crate) async fn look_up(self, guest: &Guest, block_lists: &BlockLists) -> Result<(), Refused> {
        if !self.dnsbl || !guest.is_stranger() || guest.mode(Rule::Dnsbl) == Mode::Off {
            return Ok(());
        }
        let evidence = block_lists.refuse(guest.address()).await;
        guest.enforce(evidence.map(|evidence| Refused { rule: Rule::Dnsbl, evidence }))
    }
}
