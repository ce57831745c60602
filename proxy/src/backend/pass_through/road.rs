//! How one listener passes its sessions through: whose mail, and to which servers.

use std::sync::Arc;
use std::time::Duration;

use gatepost_core::delivery::route::DomainPattern;
use gatepost_core::directory::Directory;
use gatepost_smtp::client::Capabilities;
use gatepost_smtp::server::{Answer, Refusal, Right, Rights};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::reply_parse::ReplyClass;

use super::choice::{Candidate, Turns, choose};
use super::upstream::{Link, NoLink, Room, Upstream, Whom};
use super::{Inspectors, ListenerSettings, Settings};

/// What all passages of a listener share.
#[derive(Debug)]
pub(super) struct Road {
    pub(super) hostname: Arc<str>,
    pub(super) trace_header: bool,
    pub(super) delays_mail: bool,
    pub(super) scan_time: Option<Duration>,
    pub(super) fails_open: bool,
    pub(super) header_firewall: bool,
    pub(super) inspectors: Inspectors,
    pub(super) block_time: Duration,
    domains: Vec<DomainPattern>,
    directory: Directory,
    upstreams: Vec<Arc<Upstream>>,
    turns: Turns,
}

// === impl Road ===

impl Road {
    pub(super) fn new(
        settings: &Settings,
        listener: &ListenerSettings,
        upstreams: Vec<Arc<Upstream>>,
        directory: Directory,
        inspectors: Inspectors,
    ) -> Self {
        Self {
            hostname: settings.hostname.as_str().into(),
            trace_header: listener.trace_header,
            delays_mail: listener.delays_mail,
            scan_time: listener.scan_time,
            fails_open: listener.fails_open,
            header_firewall: listener.header_firewall,
            inspectors,
            block_time: settings.block_time,
            domains: settings.domains.clone(),
            directory,
            upstreams,
            turns: Turns::default(),
        }
    }

    pub(super) fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name() == name).cloned()
    }

    /// Whether one of the servers has answered when it was asked last.
    pub(super) fn is_answered(&self) -> bool {
        // Before it is met, a server counts as up so that it is tried at all.
        self.upstreams.iter().any(|upstream| upstream.is_up() && upstream.offered().is_some())
    }

    /// What every server offers that was ever met; nothing where none was. Which of them a session will meet is not known
    /// before its first mail.
    pub(super) fn offered(&self) -> Capabilities {
        let mut known = self.upstreams.iter().filter_map(|upstream| upstream.offered());
        let first = known.next().unwrap_or_default();
        known.fold(first, Capabilities::and)
    }

    /// Whether somebody may hand in mail from this address: a user as himself, others as whom their class may send as.
    pub(super) fn may_send(&self, user: Option<&str>, rights: Rights, path: &ReversePath) -> bool {
        if user.is_some_and(|user| self.directory.may_send_as(user, path)) {
            return true;
        }
        let is_ours = || match path {
            ReversePath::Null => false,
            ReversePath::Mailbox(mailbox) => self.is_ours(&ForwardPath::Mailbox(mailbox.clone())),
        };
        rights.contains(Right::AcceptAnySender)
            && (rights.contains(Right::AcceptAuthoritativeDomainSender) || !is_ours())
    }

    /// Whether somebody may hand in mail for this address. The server behind takes what comes from here for trusted, as
    /// often as not; so who may relay is decided here. An address of these domains with another in its local part is none of
    /// them, unless the server behind decides on all.
    pub(super) fn may_reach(&self, rights: Rights, path: &ForwardPath) -> bool {
        let ForwardPath::Mailbox(mailbox) = path else { return true };
        rights.contains(Right::AcceptAnyRecipient)
            || self.domains.contains(&DomainPattern::Any)
            || (self.is_ours(path) && !mailbox.may_be_routed())
    }

    /// Whether one of the servers is told whose mail it gets.
    pub(super) fn tells(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.identity().is_told())
    }

    /// A connection for a transaction that has not begun: to the next server, or to another where it has none. Where none has one
    /// left, a stranger makes room.
    ///
    /// # Errors
    /// No server has one, or one has turned this client away: for good, so that no other is asked, or all that answer.
    pub(super) async fn link(&self, whom: Whom<'_>) -> Result<Link, Answer> {
        let turn = self.turns.next();
        let mut turned_away = None;
        // More servers than the mask has bits are not asked; nobody has them.
        let (mut tried, mut busy) = (0_u64, 0_u64);
        let mut room = Room::Left;
        let bit = |index: usize| 1_u64.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        loop {
            let candidates =
                self.upstreams.iter().enumerate().take(UPSTREAMS_MAX).map(|(index, upstream)| Candidate {
                    weight: upstream.weight(),
                    is_up: upstream.is_up(),
                    is_tried: tried & bit(index) != 0,
                });
            let Some((index, upstream)) =
                choose(&candidates, turn).and_then(|index| Some((index, self.upstreams.get(index)?)))
            else {
                if room == Room::Left && busy != 0 {
                    (room, tried) = (Room::Made, !busy);
                    continue;
                }
                return Err(turned_away.map_or(Answer::Refused(Refusal::BehindUnavailable), Answer::Said));
            };
            match upstream.link(whom, room).await {
                Ok(link) => return Ok(link),
                Err(NoLink::TurnedAway(said)) if said.class() == ReplyClass::Permanent => {
                    return Err(Answer::Said(said));
                }
                Err(NoLink::TurnedAway(said)) => turned_away = Some(said),
                Err(error) => {
                    if matches!(error, NoLink::Busy) {
                        busy |= bit(index);
                    }
                    tracing::debug!(upstream = upstream.name(), %error, "asking another server behind");
                }
            }
            tried |= bit(index);
        }
    }

    fn is_ours(&self, path: &ForwardPath) -> bool {
        self.domains.iter().any(|domain| domain.is_of(path))
    }
}

/// Those that one listener can have.
const UPSTREAMS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use gatepost_smtp::server::{ClassRights, PeerClass};

    use super::*;
    use crate::testing::{House, house};

    fn road(house: &House, domains: &[DomainPattern]) -> Road {
        Road {
            hostname: "mx.example".into(),
            trace_header: false,
            delays_mail: false,
            scan_time: None,
            fails_open: false,
            header_firewall: false,
            inspectors: house.backend.inspectors(),
            block_time: Duration::from_secs(1),
            domains: domains.to_vec(),
            directory: house.directory.clone(),
            upstreams: Vec::new(),
            turns: Turns::default(),
        }
    }

    #[tokio::test]
    async fn who_may_write_to_whom_as_whom() {
        let house = house();
        let behind = road(&house, &[DomainPattern::Exactly("behind.example".into())]);
        let rights = |class| ClassRights::default().of(class);
        let (stranger, partner, user, server) = (
            rights(PeerClass::Anonymous),
            rights(PeerClass::Partner),
            rights(PeerClass::User),
            rights(PeerClass::Server),
        );
        let reaches = |rights, path: &str| behind.may_reach(rights, &path.parse().unwrap());
        assert!(reaches(stranger, "<ann@Behind.Example>") && reaches(stranger, "<Postmaster>"));
        for routed in
            ["<a%else.example@behind.example>", "<else.example!a@behind.example>", "<\"a@b\"@behind.example>"]
        {
            assert!(!reaches(stranger, routed) && reaches(user, routed), "{routed}");
        }
        assert!(!reaches(stranger, "<ann@sub.behind.example>") && !reaches(stranger, "<ann@[127.0.0.1]>"));
        assert!(reaches(user, "<ann@elsewhere.example>") && reaches(server, "<ann@elsewhere.example>"));
        let sends = |name, rights, path: &str| behind.may_send(name, rights, &path.parse().unwrap());
        assert!(sends(None, stranger, "<a@elsewhere.example>") && sends(None, stranger, "<>"));
        assert!(
            sends(None, stranger, "<ann@behind.example>"),
            "a right of strangers, unless it is taken from them"
        );
        assert!(!sends(None, partner, "<ann@behind.example>"));
        assert!(sends(Some("me@localhost"), user, "<me@localhost>"));
        assert!(!sends(Some("me@localhost"), user, "<ann@behind.example>"));
        assert!(
            road(&house, &[DomainPattern::Any])
                .may_reach(stranger, &"<ann%x.example@elsewhere.example>".parse().unwrap())
        );
    }
}
