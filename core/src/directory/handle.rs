//! The directory as the rest of the program has it: a snapshot to ask, and edits.

mod aliases;
mod rewriting;

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::hmac;
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use rusqlite::params;

use super::credentials::{SALT_OCTETS, SCRAM_ITERATIONS, Scram};
use super::database::{self, Database, SiteSecret};
use super::{
    AccountClass, AccountName, Credentials, DirectoryError, DomainName, EditError, Password, Resolution,
    ScramVerifier, Snapshot, scram,
};
use crate::clock::now_ms;
use crate::forwarding::srs;
use crate::threads;

/// An open directory; clones are the same one.
///
/// Questions are answered from memory, at once. Edits block on the disk: call them on a blocking thread. What another
/// process has written is seen within a second.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

/// A user as `gatepost user list` shows him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSummary {
    /// His name, address and mailbox.
    pub name: AccountName,
    /// What he is once he has logged in.
    pub class: AccountClass,
    /// Whether he can log in by SCRAM.
    pub scram: bool,
}

#[derive(Debug)]
struct Inner {
    snapshot: ArcSwap<Snapshot>,
    database: Mutex<Database>,
    site_key: hmac::Key,
    rewriting: ArcSwapOption<srs::Settings>,
    /// Its end stops the watcher.
    _watched: mpsc::Sender<()>,
}

// === impl Directory ===

impl Directory {
    /// Opens the directory's file, or makes an empty one (mode 0600), and starts to watch it. Blocking.
    ///
    /// # Errors
    /// The file cannot be opened, is accessible to others, damaged, or of a newer version.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let mut database = Database::open(path)?;
        let site_secret: SiteSecret = database.site_secret()?;
        let snapshot = database.load_if_changed()?.unwrap_or_default();
        let (watched, stop) = mpsc::channel();
        let inner = Arc::new(Inner {
            snapshot: ArcSwap::from_pointee(snapshot),
            database: Mutex::new(database),
            site_key: hmac::Key::new(hmac::HMAC_SHA256, &site_secret),
            rewriting: ArcSwapOption::empty(),
            _watched: watched,
        });
        let weak = Arc::downgrade(&inner);
        threads::spawn("directory", move || watch(&weak, &stop))
            .map_err(|_| DirectoryError::System("a thread"))?;
        Ok(Self { inner })
    }

    /// The directory as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// [`Snapshot::resolve`] on the current snapshot, but for what stands for senders that were rewritten here.
    pub fn resolve(&self, path: &ForwardPath) -> Resolution {
        self.restored(path).unwrap_or_else(|| self.inner.snapshot.load().resolve(path))
    }

    /// [`Snapshot::has_domain`] on the current snapshot.
    #[must_use]
    pub fn has_domain(&self, domain: &str) -> bool {
        self.inner.snapshot.load().has_domain(domain)
    }

    /// [`Snapshot::may_send_as`] on the current snapshot.
    #[must_use]
    pub fn may_send_as(&self, user: &str, path: &ReversePath) -> bool {
        self.inner.snapshot.load().may_send_as(user, path)
    }

    /// What SCRAM gets for a name without a verifier: a salt that stays the same (a keyed hash of the name), the
    /// site's iteration count, and keys that no proof fits. Looks like a user's.
    #[must_use]
    pub fn decoy_verifier(&self, name: &str) -> ScramVerifier {
        let name = name.parse().map_or_else(|_| name.to_owned(), |name: AccountName| name.to_string());
        let keyed = |purpose: &str| scram::mac(&self.inner.site_key, format!("{purpose}\0{name}").as_bytes());
        ScramVerifier {
            salt: keyed("salt").into_iter().take(SALT_OCTETS).collect(),
            iterations: SCRAM_ITERATIONS,
            stored_key: keyed("stored key"),
            server_key: keyed("server key"),
        }
    }

    /// Makes a domain local.
    ///
    /// # Errors
    /// No domain name, or local already.
    pub fn add_domain(&self, domain: &str) -> Result<DomainName, EditError> {
        let domain: DomainName = domain.parse()?;
        self.edit(|edit| {
            if database::domain_id(edit, domain.as_str())?.is_some() {
                return Err(EditError::DomainExists { domain: domain.to_string() });
            }
            edit.execute("INSERT INTO domains (name) VALUES (?1)", [domain.as_str()])?;
            Ok(())
        })?;
        Ok(domain)
    }

    /// Makes a domain foreign again.
    ///
    /// # Errors
    /// It is not local, or users or aliases live there.
    pub fn remove_domain(&self, domain: &str) -> Result<(), EditError> {
        let domain: DomainName = domain.parse()?;
        self.edit(|edit| {
            let id = known_domain(edit, domain.as_str())?;
            let addresses: i64 = edit.query_row(
                "SELECT (SELECT count(*) FROM users WHERE domain_id = ?1) \
                      + (SELECT count(*) FROM aliases WHERE domain_id = ?1) \
                      + (SELECT count(*) FROM forwards WHERE domain_id = ?1)",
                [id],
                |row| row.get(0),
            )?;
            if addresses != 0 {
                return Err(EditError::DomainInUse {
                    domain: domain.to_string(),
                    addresses: addresses.unsigned_abs(),
                });
            }
            edit.execute("DELETE FROM domains WHERE id = ?1", [id])?;
            Ok(())
        })
    }

    /// Local domains, in the order in which they were added.
    ///
    /// # Errors
    /// The database failed.
    pub fn list_domains(&self) -> Result<Vec<DomainName>, DirectoryError> {
        database::domains(self.database().read())
    }

    /// Adds a user. Costs a password hash: some 30 ms.
    ///
    /// # Errors
    /// The address is not one of a local domain, or taken.
    pub fn add_user(&self, name: &str, password: &Password, scram: Scram) -> Result<AccountName, EditError> {
        self.add_account(name, AccountClass::User, password, scram)
    }

    /// Adds an account of any class. Costs a password hash: some 30 ms.
    ///
    /// # Errors
    /// As `add_user`: the name of an account without a mailbox is taken as well.
    pub fn add_account(
        &self,
        name: &str,
        class: AccountClass,
        password: &Password,
        scram: Scram,
    ) -> Result<AccountName, EditError> {
        let name: AccountName = name.parse()?;
        let credentials = hash(password, scram)?;
        self.edit(|edit| {
            let domain = known_domain(edit, name.domain())?;
            if database::user_id(edit, &name)?.is_some()
                || database::is_alias(edit, domain, name.local_part())?
            {
                return Err(EditError::AddressTaken { address: name.to_string() });
            }
            edit.execute(
                "INSERT INTO users (domain_id, local_part, created_at_ms, password_hash, class) \
                 VALUES (?1, ?2, ?3, '', ?4)",
                params![domain, name.local_part(), i64::try_from(now_ms()).unwrap_or(i64::MAX), class.name()],
            )?;
            database::set_credentials(edit, edit.last_insert_rowid(), &credentials)?;
            Ok(())
        })?;
        Ok(name)
    }

    /// Sets a user's password. Costs a password hash: some 30 ms.
    ///
    /// # Errors
    /// There is no such user.
    pub fn set_password(&self, name: &str, password: &Password, scram: Scram) -> Result<(), EditError> {
        let name: AccountName = name.parse()?;
        let credentials = hash(password, scram)?;
        self.edit(|edit| {
            let user = known_user(edit, &name)?;
            Ok(database::set_credentials(edit, user, &credentials)?)
        })
    }

    /// Makes something else of an account: log-ins from now on give the new class. Its credentials stay, and so do the
    /// mails of a user who loses his mailbox: he finds them again when he becomes a user again.
    ///
    /// # Errors
    /// There is no such account; or it would lose its mailbox, and aliases lead there.
    pub fn set_class(&self, name: &str, class: AccountClass) -> Result<(), EditError> {
        let name: AccountName = name.parse()?;
        self.edit(|edit| {
            let user = known_user(edit, &name)?;
            let aliases: i64 =
                edit.query_row("SELECT count(*) FROM aliases WHERE user_id = ?1", [user], |row| row.get(0))?;
            if !class.has_mailbox() && aliases != 0 {
                return Err(EditError::HasAliases {
                    name: name.to_string(),
                    aliases: aliases.unsigned_abs(),
                });
            }
            edit.execute("UPDATE users SET class = ?2 WHERE id = ?1", params![user, class.name()])?;
            Ok(())
        })
    }

    /// Removes a user and the aliases that point to him. His mailbox is the store's: `MailStore::remove_mailbox`.
    ///
    /// # Errors
    /// There is no such user.
    pub fn remove_user(&self, name: &str) -> Result<(), EditError> {
        let name: AccountName = name.parse()?;
        self.edit(|edit| {
            let user = known_user(edit, &name)?;
            edit.execute("DELETE FROM users WHERE id = ?1", [user])?;
            Ok(())
        })
    }

    /// Accounts, in the order in which they were added: the first one with a mailbox is `postmaster` where nobody else was named for it.
    ///
    /// # Errors
    /// The database failed.
    pub fn list_users(&self) -> Result<Vec<UserSummary>, DirectoryError> {
        let accounts = database::accounts(self.database().read())?;
        let summary = |account: super::Account| UserSummary {
            name: account.name,
            class: account.class,
            scram: account.credentials.scram().is_some(),
        };
        Ok(accounts.into_iter().map(summary).collect())
    }

    /// Runs one edit: all of it or nothing, and seen by every question that is asked after it.
    fn edit(
        &self,
        change: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        let mut database = self.database();
        let transaction = database.edit()?;
        change(&transaction)?;
        transaction.commit()?;
        // The edit is done: a snapshot that cannot be loaded now is loaded by the watcher.
        match database.load() {
            Ok(snapshot) => self.inner.snapshot.store(Arc::new(snapshot)),
            Err(error) => {
                tracing::error!(%error, "the directory could not be reloaded");
                database.expect_change();
            }
        }
        Ok(())
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.inner.database()
    }
}

// === impl Inner ===

impl Inner {
    fn database(&self) -> MutexGuard<'_, Database> {
        // A panic between two statements leaves a transaction that is rolled back.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is loaded is stored under the database's lock, so that an older state never replaces a newer one.
    fn reload_if_changed(&self) -> Result<(), DirectoryError> {
        let mut database = self.database();
        if let Some(snapshot) = database.load_if_changed()? {
            self.snapshot.store(Arc::new(snapshot));
        }
        Ok(())
    }
}

/// Looks for commits of other processes until the directory is dropped.
fn watch(directory: &Weak<Inner>, stop: &mpsc::Receiver<()>) {
    while stop.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(inner) = directory.upgrade() else {
            return;
        };
        if let Err(error) = inner.reload_if_changed() {
            // The last good snapshot stays in use.
            tracing::error!(%error, "the directory could not be reloaded");
        }
    }
}

fn known_domain(edit: &rusqlite::Transaction<'_>, domain: &str) -> Result<i64, EditError> {
    database::domain_id(edit, domain)?.ok_or_else(|| EditError::UnknownDomain { domain: domain.to_owned() })
}

fn known_user(edit: &rusqlite::Transaction<'_>, name: &AccountName) -> Result<i64, EditError> {
    database::user_id(edit, name)?.ok_or_else(|| EditError::UnknownUser { name: name.to_string() })
}

fn hash(password: &Password, scram: Scram) -> Result<Credentials, DirectoryError> {
    Credentials::of(password, scram).map_err(|_| DirectoryError::System("random numbers for a password hash"))
}

/// How late an edit of another process may be seen.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
