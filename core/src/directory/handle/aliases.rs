//! Edits of aliases.

use rusqlite::{Transaction, params};

use super::super::alias::{Aliases, TARGETS_MAX};
use super::{Directory, database, known_domain, known_user};
use crate::directory::{AccountName, Alias, AliasTarget, DirectoryError, DomainName, EditError};

// === impl Directory ===

impl Directory {
    /// As `add_aliases`, for one target.
    ///
    /// # Errors
    /// As there.
    pub fn add_alias(&self, address: &str, target: &str) -> Result<(), EditError> {
        self.add_aliases(address, &[target]).map(drop)
    }

    /// Has the mail for an address of ours go to these targets too: users, other aliases, addresses elsewhere. All of them
    /// are added, or none. Whether mail may leave this server is not asked here.
    ///
    /// # Errors
    /// The address is not one of a local domain, is a user's, or leads to a target already; a target here is unknown or has
    /// no mailbox; the address would lead to itself, or to more than a thousand addresses.
    pub fn add_aliases(&self, address: &str, targets: &[&str]) -> Result<Vec<Alias>, EditError> {
        let address: AccountName = address.parse()?;
        let mut added = Vec::new();
        self.edit(|edit| {
            let domain = known_domain(edit, address.domain())?;
            if database::user_id(edit, &address)?.is_some() {
                return Err(EditError::AddressTaken { address: address.to_string() });
            }
            for target in targets {
                let target = read_target(edit, target)?;
                insert(edit, domain, &address, &target)?;
                added.push(Alias { address: address.clone(), target });
            }
            check(edit, &address)
        })?;
        Ok(added)
    }

    /// Has the mail for an address of ours no longer go to this target.
    ///
    /// # Errors
    /// It does not lead there.
    pub fn remove_alias(&self, address: &str, target: &str) -> Result<(), EditError> {
        let address: AccountName = address.parse()?;
        self.edit(|edit| {
            let domain = known_domain(edit, address.domain())?;
            let domains = database::domains(edit)?;
            let target = AliasTarget::read_kept(target, |domain| domains.contains(domain))?;
            let user = match &target {
                AliasTarget::Here(name) => database::user_id(edit, name)?,
                AliasTarget::Elsewhere(_) => None,
            };
            let removed = edit.execute(
                "DELETE FROM aliases WHERE domain_id = ?1 AND local_part = ?2 AND user_id = ?3",
                params![domain, address.local_part(), user],
            )?;
            let is_forward = database::remove_forward(edit, domain, address.local_part(), &target)?;
            if removed == 0 && !is_forward {
                return Err(EditError::UnknownAlias {
                    address: address.to_string(),
                    target: target.to_string(),
                });
            }
            Ok(())
        })
    }

    /// Aliases, by address.
    ///
    /// # Errors
    /// The database failed.
    pub fn list_aliases(&self) -> Result<Vec<Alias>, DirectoryError> {
        database::aliases(self.database().read())
    }
}

fn read_target(edit: &Transaction<'_>, text: &str) -> Result<AliasTarget, EditError> {
    let domains: Vec<DomainName> = database::domains(edit)?;
    Ok(AliasTarget::read(text, |domain| domains.contains(domain))?)
}

/// A user is meant by his number, so that an alias goes with him; everything else by its text.
fn insert(
    edit: &Transaction<'_>,
    domain: i64,
    address: &AccountName,
    target: &AliasTarget,
) -> Result<(), EditError> {
    let local_part = address.local_part();
    let is_alias = match target {
        AliasTarget::Here(name) => {
            let domain = known_domain(edit, name.domain())?;
            database::user_id(edit, name)?.is_none() && database::is_alias(edit, domain, name.local_part())?
        }
        AliasTarget::Elsewhere(_) => true,
    };
    let inserted = match target {
        AliasTarget::Here(name) if !is_alias && name != address => {
            let user = known_user(edit, name)?;
            let class = database::class_of(edit, user)?;
            if !class.has_mailbox() {
                return Err(EditError::NoMailbox { name: name.to_string(), class });
            }
            edit.execute(
                "INSERT OR IGNORE INTO aliases (domain_id, local_part, user_id) VALUES (?1, ?2, ?3)",
                params![domain, local_part, user],
            )?
        }
        target => edit.execute(
            "INSERT OR IGNORE INTO forwards (domain_id, local_part, target) VALUES (?1, ?2, ?3)",
            params![domain, local_part, target.to_string()],
        )?,
    };
    if inserted == 0 { Err(EditError::AddressTaken { address: address.to_string() }) } else { Ok(()) }
}

/// What the edit has made of the address.
fn check(edit: &Transaction<'_>, address: &AccountName) -> Result<(), EditError> {
    let aliases: Aliases = database::aliases(edit)?.into_iter().collect();
    if aliases.is_loop(address) {
        return Err(EditError::AliasLoop { address: address.to_string() });
    }
    if aliases.reachable(address).len() > TARGETS_MAX {
        return Err(EditError::TooManyTargets { address: address.to_string(), limit: TARGETS_MAX });
    }
    Ok(())
}
