//! The whole directory in memory, immutable: questions are answered without a lock and without the disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gatepost_smtp::server::Identity;
use gatepost_smtp::wire::path::{Domain, ForwardPath, Mailbox, ReversePath};

use super::address::{canonical_domain, canonical_local_part};
use super::alias::Aliases;
use super::{AccountClass, AccountName, Alias, Credentials, Forwarding};
use crate::forwarding::secret::Secret;
use crate::forwarding::srs::NotOurs;

/// The directory at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Per local domain (A-labels, lower case): local part -> where its mail goes.
    domains: HashMap<String, HashMap<String, Resolution>>,
    /// By account name.
    accounts: HashMap<String, Account>,
    /// Where `postmaster` goes where nobody else was named for it (RFC 5321 section 4.5.1).
    postmaster: Option<Resolution>,
    /// In the directory's order.
    domain_order: Vec<String>,
    /// What rewritten senders are signed with, the newest first.
    secrets: Vec<Secret>,
}

/// One user, or a machine that may log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// His name, which is his address and his mailbox where his class has one.
    pub name: AccountName,
    /// What he is once he has logged in.
    pub class: AccountClass,
    /// What is kept of his password.
    pub credentials: Arc<Credentials>,
}

/// Where a recipient lives.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Here, in these mailboxes (at least one, each once, named as their accounts).
    Local(Arc<[String]>),
    /// Here, and its mail goes on to other servers, at least in part.
    Forwarded(Arc<Forwarding>),
    /// Here: what stands for a sender in mail that went on from here (SRS).
    Rewritten {
        /// Whom it stands for.
        leads_to: Result<Arc<Forwarding>, NotOurs>,
        /// Whether it is for notifications alone, which have the null sender.
        bounces_only: bool,
    },
    /// The domain is local, nobody has this local part: 550 5.1.1.
    UnknownLocal,
    /// Elsewhere, address literals included.
    Foreign,
}

// === impl Snapshot ===

impl Snapshot {
    /// Takes a directory's rows. Users come in the order of their creation: the first one with a mailbox
    /// is `postmaster`.
    pub(super) fn new(
        domains: Vec<String>,
        accounts: Vec<Account>,
        aliases: impl IntoIterator<Item = Alias>,
    ) -> Self {
        let aliases: Aliases = aliases.into_iter().collect();
        let residents: HashSet<_> = accounts
            .iter()
            .filter(|account| account.class.has_mailbox())
            .map(|account| &account.name)
            .collect();
        let mut by_domain: HashMap<String, HashMap<String, Resolution>> =
            domains.iter().map(|domain| (domain.clone(), HashMap::new())).collect();
        let mut place = |address: &AccountName, place: Resolution| {
            if let Some(locals) = by_domain.get_mut(address.domain()) {
                locals.insert(address.local_part().to_owned(), place);
            }
        };
        for address in aliases.addresses() {
            let (mailboxes, targets) = aliases.follow(address, |name| residents.contains(name));
            let mailboxes: Arc<[String]> = mailboxes.into();
            if !targets.is_empty() {
                place(address, Resolution::Forwarded(Arc::new(Forwarding { mailboxes, targets })));
            } else if !mailboxes.is_empty() {
                place(address, Resolution::Local(mailboxes));
            }
        }
        for name in &residents {
            place(name, Resolution::Local([name.to_string()].into()));
        }
        let postmaster = accounts.iter().find(|account| account.class.has_mailbox());
        Self {
            domains: by_domain,
            postmaster: postmaster.map(|account| Resolution::Local([account.name.to_string()].into())),
            accounts: accounts.into_iter().map(|account| (account.name.to_string(), account)).collect(),
            domain_order: domains,
            secrets: Vec::new(),
        }
    }

    pub(super) fn with_secrets(self, secrets: Vec<Secret>) -> Self {
        Self { secrets, ..self }
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Where a recipient lives. The local part is taken as one word: no percent hack, no bang path, no inner `@`.
    pub fn resolve(&self, path: &ForwardPath) -> Resolution {
        match path {
            ForwardPath::Mailbox(mailbox) => self.resolve_mailbox(mailbox),
            ForwardPath::Postmaster => {
                let named =
                    self.domain_order.first().and_then(|domain| self.domains.get(domain)?.get(POSTMASTER));
                named.or(self.postmaster.as_ref()).cloned().unwrap_or(Resolution::UnknownLocal)
            }
        }
    }

    /// Whether a domain (A-labels, lower case) is local.
    #[must_use]
    pub fn has_domain(&self, domain: &str) -> bool {
        self.domains.contains_key(domain)
    }

    /// Whether a user may send as this address: his own or an alias that points to him. The null path is everybody's,
    /// since disposition notifications have it (RFC 8098 section 2.1).
    #[must_use]
    pub fn may_send_as(&self, user: &str, path: &ReversePath) -> bool {
        match path {
            ReversePath::Null => true,
            ReversePath::Mailbox(mailbox) => {
                self.resolve_mailbox(mailbox).mailboxes().iter().any(|mailbox| mailbox == user)
            }
        }
    }

    /// The account of this name, as somebody typed it.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Account> {
        let name: AccountName = name.parse().ok()?;
        self.accounts.get(name.as_str())
    }

    /// How many accounts there are.
    #[must_use]
    pub fn users(&self) -> usize {
        self.accounts.len()
    }

    fn resolve_mailbox(&self, mailbox: &Mailbox) -> Resolution {
        let Domain::Name(domain) = mailbox.domain() else {
            return Resolution::Foreign;
        };
        let Some(locals) = canonical_domain(domain).and_then(|domain| self.domains.get(&domain)) else {
            return Resolution::Foreign;
        };
        let local_part = canonical_local_part(mailbox.local_part());
        let by_default = || self.postmaster.as_ref().filter(|_| local_part == POSTMASTER);
        locals.get(&local_part).or_else(by_default).cloned().unwrap_or(Resolution::UnknownLocal)
    }
}

// === impl Resolution ===

impl Resolution {
    /// The mailboxes here.
    #[must_use]
    pub fn mailboxes(&self) -> &[String] {
        match self {
            Self::Local(mailboxes) => mailboxes,
            Self::Forwarded(forwarding) => &forwarding.mailboxes,
            Self::Rewritten { .. } | Self::UnknownLocal | Self::Foreign => &[],
        }
    }

    /// Whether the address is one of this server.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Forwarded(_))
    }
}

// === impl Account ===

impl Account {
    /// Whom a proof that was checked against this account's credentials makes of a peer.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { user: self.name.to_string(), class: self.class.peer_class() }
    }
}

/// Every domain has one (RFC 5321 section 4.5.1).
const POSTMASTER: &str = "postmaster";

#[cfg(test)]
mod tests;
