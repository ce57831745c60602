//! Addresses that stand for others: users here, further aliases, addresses elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use gatepost_smtp::wire::path::Mailbox;

use super::address::DomainName;
use super::{AccountName, InvalidName};

/// One line of an address that leads somewhere else. An address may have several, and its mail goes to all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address.
    pub address: AccountName,
    /// Where its mail goes.
    pub target: AliasTarget,
}

/// Where an alias leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasTarget {
    /// To a user of this server, or to another alias.
    Here(AccountName),
    /// To another server; its domain is in A-labels and lower case.
    Elsewhere(Mailbox),
}

/// Where the mail of an address goes that does not, or not only, end in mailboxes here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Mailboxes here that get it as well, each once; there may be none.
    pub mailboxes: Arc<[String]>,
    /// Addresses elsewhere, each once, at least one.
    pub targets: Vec<Mailbox>,
}

/// All aliases, to be followed to their ends.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    targets: BTreeMap<AccountName, Vec<AliasTarget>>,
}

// === impl AliasTarget ===

impl AliasTarget {
    /// Reads an address; which domains are local decides what it is.
    pub(super) fn read(text: &str, is_local: impl Fn(&DomainName) -> bool) -> Result<Self, InvalidName> {
        let no_address = || InvalidName::NoAddress { text: text.to_owned() };
        let (local_part, domain) = text.rsplit_once('@').ok_or_else(no_address)?;
        let domain: DomainName = domain.parse()?;
        if is_local(&domain) {
            return text.parse().map(Self::Here);
        }
        format!("{local_part}@{domain}").parse().map(Self::Elsewhere).map_err(|_| no_address())
    }

    /// As `read`, of what was taken once. Its domain may have become local since, where nobody can have such a local part:
    /// it stays what it was, and its mail is refused as that for any unknown address.
    pub(super) fn read_kept(text: &str, is_local: impl Fn(&DomainName) -> bool) -> Result<Self, InvalidName> {
        match Self::read(text, is_local) {
            Err(InvalidName::LocalPart { .. }) => Self::read(text, |_| false),
            target => target,
        }
    }
}

impl fmt::Display for AliasTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(name) => write!(f, "{name}"),
            Self::Elsewhere(mailbox) => write!(f, "{mailbox}"),
        }
    }
}

// === impl Aliases ===

impl FromIterator<Alias> for Aliases {
    fn from_iter<T: IntoIterator<Item = Alias>>(aliases: T) -> Self {
        let mut targets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for alias in aliases {
            targets.entry(alias.address).or_default().push(alias.target);
        }
        Self { targets }
    }
}

impl Aliases {
    /// Every address that is one.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &AccountName> {
        self.targets.keys()
    }

    /// All ends of an alias, each once: mailboxes here, and addresses elsewhere. Each alias on the way is followed once, so
    /// that one that leads to itself all the same adds nothing. What leads to nobody adds nothing either.
    pub(super) fn follow(
        &self,
        address: &AccountName,
        has_mailbox: impl Fn(&AccountName) -> bool,
    ) -> (Vec<String>, Vec<Mailbox>) {
        let (mut mailboxes, mut elsewhere) = (Vec::new(), Vec::new());
        for target in self.reachable(address) {
            match target {
                AliasTarget::Here(name) if has_mailbox(name) => mailboxes.push(name.to_string()),
                AliasTarget::Here(_) => {}
                AliasTarget::Elsewhere(mailbox) => elsewhere.push(mailbox.clone()),
            }
        }
        (mailboxes, elsewhere)
    }

    /// Whether mail for an alias would come back to it.
    pub(super) fn is_loop(&self, address: &AccountName) -> bool {
        self.reachable(address)
            .iter()
            .any(|target| matches!(target, AliasTarget::Here(name) if name == address))
    }

    /// What an alias leads to by any number of steps, each once, in the order in which it is met.
    pub(super) fn reachable(&self, address: &AccountName) -> Vec<&AliasTarget> {
        let (mut met, mut seen) = (Vec::new(), BTreeSet::new());
        let mut open: Vec<&AliasTarget> = self.of(address).rev().collect();
        while let Some(target) = open.pop() {
            if !seen.insert(target.to_string()) {
                continue;
            }
            met.push(target);
            if let AliasTarget::Here(name) = target {
                open.extend(self.of(name).rev());
            }
        }
        met
    }

    fn of(&self, address: &AccountName) -> impl DoubleEndedIterator<Item = &AliasTarget> {
        self.targets.get(address).map(Vec::as_slice).unwrap_or_default().iter()
    }
}

/// What one alias may lead to, aliases on the way included: a mail has no more recipients by default, and each of them
/// takes room in the queue. Longer lists are a matter for a mailing list manager.
pub(super) const TARGETS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn aliases(lines: &[(&str, &str)]) -> Aliases {
        let is_local = |domain: &DomainName| domain.as_str() == "here.example";
        lines
            .iter()
            .map(|(address, target)| Alias {
                address: address.parse().unwrap(),
                target: AliasTarget::read(target, is_local).unwrap(),
            })
            .collect()
    }

    fn follow(aliases: &Aliases, address: &str) -> (Vec<String>, Vec<String>) {
        let has_mailbox = |name: &AccountName| name.local_part().starts_with("user");
        let (mailboxes, elsewhere) = aliases.follow(&address.parse().unwrap(), has_mailbox);
        (mailboxes, elsewhere.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_alias_is_followed_to_all_its_ends_and_each_is_met_once() {
        let aliases = aliases(&[
            ("sales@here.example", "user1@here.example"),
            ("sales@here.example", "team@here.example"),
            ("sales@here.example", "B@Other.Example"),
            ("team@here.example", "user2@here.example"),
            ("team@here.example", "User1@HERE.example"),
            ("team@here.example", "B@other.example"),
            ("team@here.example", "b@other.example"),
            ("team@here.example", "nobody@here.example"),
        ]);
        let (mailboxes, elsewhere) = follow(&aliases, "sales@here.example");
        assert_eq!(mailboxes, ["user1@here.example", "user2@here.example"]);
        assert_eq!(
            elsewhere,
            ["B@other.example", "b@other.example"],
            "case counts left of another server's @"
        );
        assert_eq!(follow(&aliases, "user1@here.example"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn one_that_leads_to_itself_is_told_and_still_comes_to_an_end() {
        let aliases = aliases(&[
            ("a@here.example", "b@here.example"),
            ("b@here.example", "c@here.example"),
            ("c@here.example", "a@here.example"),
            ("c@here.example", "user1@here.example"),
            ("d@here.example", "a@here.example"),
        ]);
        let is_loop = |address: &str| aliases.is_loop(&address.parse().unwrap());
        assert!(is_loop("a@here.example") && is_loop("b@here.example") && is_loop("c@here.example"));
        assert!(!is_loop("d@here.example"), "it only leads to one");
        assert_eq!(follow(&aliases, "d@here.example").0, ["user1@here.example"]);
    }

    #[test]
    fn what_a_target_is_follows_from_its_domain() {
        let read = |text: &str| AliasTarget::read(text, |domain| domain.as_str() == "here.example");
        assert_eq!(read("Me@Here.Example").unwrap(), AliasTarget::Here("me@here.example".parse().unwrap()));
        assert_eq!(read("Me@BÜCHER.example").unwrap().to_string(), "Me@xn--bcher-kva.example");
        assert_eq!(read("\"a b\"@other.example").unwrap().to_string(), "\"a b\"@other.example");
        for bad in
            ["", "me", "@other.example", "me@", "a b@other.example", "me@[192.0.2.1]", "a/b@here.example"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_tangle_of_aliases_comes_to_an_end(links in prop::collection::vec((0_u8..12, 0_u8..12), 0..60)) {
            let name = |number: u8| format!("{}{number}@here.example", if number < 4 { "user" } else { "alias" });
            let names: Vec<_> = links.iter().map(|(from, to)| (format!("alias{}@here.example", from | 4), name(*to))).collect();
            let lines: Vec<_> = names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            let aliases = aliases(&lines);
            for address in aliases.addresses() {
                let (mailboxes, elsewhere) = follow(&aliases, address.as_str());
                prop_assert!(mailboxes.len() <= 4 && elsewhere.is_empty());
            }
        }
    }
}
