//! `directory.sqlite`: schema and statements. One connection behind the directory's lock; other processes (the CLI
//! beside a running server) have their own.

use std::fs::{self, OpenOptions};
use std::num::NonZeroU32;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::scram::KEY_OCTETS;
use super::{
    Account, AccountClass, AccountName, Alias, AliasTarget, Credentials, DirectoryError, DomainName,
    ScramVerifier, Snapshot,
};
use crate::forwarding::secret::Secret;

/// An open directory file.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// `None` before the first load.
    loaded_version: Option<i64>,
}

/// Keys the stable fake salts. As long as SHA-256's output.
pub(super) type SiteSecret = [u8; KEY_OCTETS];

// === impl Database ===

impl Database {
    /// Opens or creates the file, mode 0600, and brings its schema up to date.
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        // SQLite gives its -wal and -shm files the mode of the main file.
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(FILE_MODE).open(path)?;
        let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(DirectoryError::Permissions { path: path.to_owned(), mode });
        }
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What was deleted must be gone: it was a password hash.
        connection.pragma_update(None, "secure_delete", true)?;
        let mut database = Self { connection, loaded_version: None };
        database.migrate()?;
        Ok(database)
    }

    /// Starts an edit; dropped without `commit` it changes nothing. Takes the write lock at once, so that what it
    /// reads stays true.
    pub(super) fn edit(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// For reading without a snapshot.
    pub(super) const fn read(&self) -> &Connection {
        &self.connection
    }

    /// Everything, in one consistent read.
    pub(super) fn load(&mut self) -> Result<Snapshot, DirectoryError> {
        let transaction = self.connection.transaction()?;
        let domains = domains(&transaction)?.iter().map(ToString::to_string).collect();
        let accounts = accounts(&transaction)?;
        let aliases = aliases(&transaction)?;
        let secrets = secrets(&transaction)?;
        Ok(Snapshot::new(domains, accounts, aliases).with_secrets(secrets))
    }

    /// Makes the next `load_if_changed` load.
    pub(super) const fn expect_change(&mut self) {
        self.loaded_version = None;
    }

    /// Everything, if another connection has committed since this was last asked, and at first.
    pub(super) fn load_if_changed(&mut self) -> Result<Option<Snapshot>, DirectoryError> {
        // Asked before loading: a commit in between costs one load too many. Remembered after it: a load that failed
        // is tried again.
        let version = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.loaded_version == Some(version) {
            return Ok(None);
        }
        let snapshot = self.load()?;
        self.loaded_version = Some(version);
        Ok(Some(snapshot))
    }

    /// The secret of this directory, made when the file was.
    pub(super) fn site_secret(&self) -> Result<SiteSecret, DirectoryError> {
        let secret: Vec<u8> =
            self.connection
                .query_row("SELECT value FROM meta WHERE key = 'site_secret'", [], |row| row.get(0))?;
        secret.try_into().map_err(|_| DirectoryError::Damaged { what: "site secret" })
    }

    fn migrate(&mut self) -> Result<(), DirectoryError> {
        let transaction = self.edit()?;
        let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > SCHEMA_VERSION {
            return Err(DirectoryError::Newer { found, known: SCHEMA_VERSION });
        }
        if found == SCHEMA_VERSION {
            return Ok(());
        }
        if found == 0 {
            let mut secret: SiteSecret = [0; KEY_OCTETS];
            getrandom::fill(&mut secret).map_err(|_| DirectoryError::System("random numbers"))?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute("INSERT INTO meta (key, value) VALUES ('site_secret', ?1)", [secret])?;
        }
        // A new file goes the same way as one of the first version, so that both end alike.
        if found < 2 {
            transaction.execute_batch(SCHEMA_2)?;
        }
        if found < 3 {
            transaction.execute_batch(SCHEMA_3)?;
        }
        transaction.execute_batch(SCHEMA_4)?;
        add_secret(&transaction)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        Ok(())
    }
}

/// All local domains, in the order in which they were added.
pub(super) fn domains(connection: &Connection) -> Result<Vec<DomainName>, DirectoryError> {
    let mut statement = connection.prepare_cached("SELECT name FROM domains ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut domains = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        domains.push(name.parse().map_err(|_| DirectoryError::Damaged { what: "domain name" })?);
    }
    Ok(domains)
}

/// All accounts with their credentials, in the order in which they were added.
pub(super) fn accounts(connection: &Connection) -> Result<Vec<Account>, DirectoryError> {
    let mut statement = connection.prepare_cached(
        "SELECT users.local_part || '@' || domains.name, password_hash, \
                scram_salt, scram_iterations, scram_stored_key, scram_server_key, class \
         FROM users JOIN domains ON domains.id = domain_id ORDER BY users.id",
    )?;
    let mut rows = statement.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let scram = match row.get::<_, Option<Vec<u8>>>(2)? {
            None => None,
            Some(salt) => Some(ScramVerifier {
                salt,
                iterations: row
                    .get::<_, Option<u32>>(3)?
                    .and_then(NonZeroU32::new)
                    .ok_or(DirectoryError::Damaged { what: "SCRAM iteration count" })?,
                stored_key: row.get(4)?,
                server_key: row.get(5)?,
            }),
        };
        accounts.push(Account {
            name: name(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
            class: class(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
            credentials: Arc::new(Credentials { hash: row.get(1)?, scram }),
        });
    }
    Ok(accounts)
}

/// All aliases, by address; of one address, those to users come first, in the order of the users.
pub(super) fn aliases(connection: &Connection) -> Result<Vec<Alias>, DirectoryError> {
    let mut statement = connection.prepare_cached(
        "SELECT aliases.local_part || '@' || alias_domain.name, users.local_part || '@' || user_domain.name \
         FROM aliases \
         JOIN domains AS alias_domain ON alias_domain.id = aliases.domain_id \
         JOIN users ON users.id = aliases.user_id \
         JOIN domains AS user_domain ON user_domain.id = users.domain_id \
         ORDER BY 1, users.id",
    )?;
    let mut rows = statement.query([])?;
    let mut aliases = Vec::new();
    while let Some(row) = rows.next()? {
        aliases.push(Alias {
            address: name(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
            target: AliasTarget::Here(name(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?),
        });
    }
    aliases.extend(forwards(connection)?);
    aliases.sort_by(|one, other| one.address.cmp(&other.address));
    Ok(aliases)
}

/// Aliases whose target is no user. Which domains are local now decides what it is.
fn forwards(connection: &Connection) -> Result<Vec<Alias>, DirectoryError> {
    let domains = domains(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT local_part || '@' || domains.name, target \
         FROM forwards JOIN domains ON domains.id = domain_id ORDER BY 1, 2",
    )?;
    let mut rows = statement.query([])?;
    let mut aliases = Vec::new();
    while let Some(row) = rows.next()? {
        let target = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        aliases.push(Alias {
            address: name(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
            target: AliasTarget::read_kept(target, |domain| domains.contains(domain))
                .map_err(|_| DirectoryError::Damaged { what: "target of an alias" })?,
        });
    }
    Ok(aliases)
}

/// Takes a target that is no user from an alias, in whichever forms it is kept: case counts only while its domain is
/// another server's. Tells whether it was there.
pub(super) fn remove_forward(
    edit: &Transaction<'_>,
    domain: i64,
    local_part: &str,
    target: &AliasTarget,
) -> Result<bool, DirectoryError> {
    let domains = domains(edit)?;
    let mut statement =
        edit.prepare_cached("SELECT target FROM forwards WHERE domain_id = ?1 AND local_part = ?2")?;
    let kept: Vec<String> =
        statement.query_map(params![domain, local_part], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut is_removed = false;
    for text in kept {
        let is_it = AliasTarget::read_kept(&text, |domain| domains.contains(domain))
            .is_ok_and(|known| known == *target);
        if is_it {
            edit.execute(
                "DELETE FROM forwards WHERE domain_id = ?1 AND local_part = ?2 AND target = ?3",
                params![domain, local_part, text],
            )?;
            is_removed = true;
        }
    }
    Ok(is_removed)
}

/// What rewritten senders are signed with: those that are still believed, the newest first.
pub(super) fn secrets(connection: &Connection) -> Result<Vec<Secret>, DirectoryError> {
    let mut statement =
        connection.prepare_cached("SELECT secret FROM srs_secrets ORDER BY id DESC LIMIT ?1")?;
    let mut rows = statement.query([SECRETS_BELIEVED])?;
    let mut secrets = Vec::new();
    while let Some(row) = rows.next()? {
        let octets: Vec<u8> = row.get(0)?;
        secrets.push(octets.try_into().map_err(|_| DirectoryError::Damaged { what: "secret" })?);
    }
    Ok(secrets)
}

/// Makes a new secret for rewritten senders, and forgets those that are not believed any more.
pub(super) fn add_secret(edit: &Transaction<'_>) -> Result<(), DirectoryError> {
    let secret = Secret::generate().map_err(|_| DirectoryError::System("random numbers"))?;
    edit.execute("INSERT INTO srs_secrets (secret) VALUES (?1)", [secret.octets()])?;
    edit.execute(
        "DELETE FROM srs_secrets WHERE id NOT IN (SELECT id FROM srs_secrets ORDER BY id DESC LIMIT ?1)",
        [SECRETS_BELIEVED],
    )?;
    Ok(())
}

/// The row of a local domain.
pub(super) fn domain_id(edit: &Transaction<'_>, domain: &str) -> Result<Option<i64>, rusqlite::Error> {
    edit.query_row("SELECT id FROM domains WHERE name = ?1", [domain], |row| row.get(0)).optional()
}

/// The row of a user.
pub(super) fn user_id(edit: &Transaction<'_>, name: &AccountName) -> Result<Option<i64>, rusqlite::Error> {
    edit.query_row(
        "SELECT users.id FROM users JOIN domains ON domains.id = domain_id \
         WHERE domains.name = ?1 AND users.local_part = ?2",
        params![name.domain(), name.local_part()],
        |row| row.get(0),
    )
    .optional()
}

/// What an account is.
pub(super) fn class_of(edit: &Transaction<'_>, user: i64) -> Result<AccountClass, DirectoryError> {
    let name: String = edit.query_row("SELECT class FROM users WHERE id = ?1", [user], |row| row.get(0))?;
    class(&name)
}

/// Whether an alias has this address.
pub(super) fn is_alias(
    edit: &Transaction<'_>,
    domain: i64,
    local_part: &str,
) -> Result<bool, rusqlite::Error> {
    edit.query_row(
        "SELECT EXISTS (SELECT 1 FROM aliases WHERE domain_id = ?1 AND local_part = ?2) \
             OR EXISTS (SELECT 1 FROM forwards WHERE domain_id = ?1 AND local_part = ?2)",
        params![domain, local_part],
        |row| row.get(0),
    )
}

/// Stores the credentials of a user.
pub(super) fn set_credentials(
    edit: &Transaction<'_>,
    user: i64,
    credentials: &Credentials,
) -> Result<(), rusqlite::Error> {
    let scram = credentials.scram();
    edit.execute(
        "UPDATE users SET password_hash = ?2, scram_salt = ?3, scram_iterations = ?4, scram_stored_key = ?5, \
         scram_server_key = ?6 WHERE id = ?1",
        params![
            user,
            credentials.hash,
            scram.map(|scram| &scram.salt),
            scram.map(|scram| scram.iterations.get()),
            scram.map(|scram| scram.stored_key),
            scram.map(|scram| scram.server_key),
        ],
    )?;
    Ok(())
}

fn name(text: &str) -> Result<AccountName, DirectoryError> {
    text.parse().map_err(|_| DirectoryError::Damaged { what: "address" })
}

/// A class that we do not know must not be taken for one that we do.
fn class(text: &str) -> Result<AccountClass, DirectoryError> {
    text.parse().map_err(|_| DirectoryError::Damaged { what: "class of an account" })
}

const FILE_MODE: u32 = 0o600;
/// The CLI and the server write in turn; an edit takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const SCHEMA_VERSION: i64 = 4;
/// The first version.
const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE domains (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    -- A user's id is never used again: the first user is postmaster.
    CREATE TABLE users (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        domain_id INTEGER NOT NULL REFERENCES domains (id),
        local_part TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        password_hash TEXT NOT NULL,
        scram_salt BLOB,
        scram_iterations INTEGER,
        scram_stored_key BLOB,
        scram_server_key BLOB,
        UNIQUE (domain_id, local_part)
    ) STRICT;
    CREATE TABLE aliases (
        domain_id INTEGER NOT NULL REFERENCES domains (id),
        local_part TEXT NOT NULL,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        PRIMARY KEY (domain_id, local_part, user_id)
    ) STRICT, WITHOUT ROWID;
";
/// Accounts have a class; those of the first version were users all.
const SCHEMA_2: &str = "ALTER TABLE users ADD COLUMN class TEXT NOT NULL DEFAULT 'user';";
/// Aliases that lead to other aliases and to addresses elsewhere.
const SCHEMA_3: &str = "
    CREATE TABLE forwards (
        domain_id INTEGER NOT NULL REFERENCES domains (id),
        local_part TEXT NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (domain_id, local_part, target)
    ) STRICT, WITHOUT ROWID;
";
/// Senders of mail that goes on are rewritten.
const SCHEMA_4: &str =
    "CREATE TABLE srs_secrets (id INTEGER PRIMARY KEY AUTOINCREMENT, secret BLOB NOT NULL) STRICT;";
/// A new secret every week leaves each believed for three more, as long as bounces are taken by default.
const SECRETS_BELIEVED: i64 = 4;
