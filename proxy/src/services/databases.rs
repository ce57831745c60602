//! The mailbox databases: opened by name, and as one store.

use std::sync::Arc;

use gatepost_core::store::{self, DATABASE, Database, Databases, MailStore, SqliteStore};

use crate::config::Config;
use crate::data_folder::DataFolder;

/// The open databases.
#[derive(Debug, Clone)]
pub struct Stores {
    all: Arc<Databases>,
    each: Vec<(String, Arc<SqliteStore>)>,
}

// === impl Stores ===

impl Stores {
    /// Opens them, making those that are missing. Blocking.
    ///
    /// # Errors
    /// The first that cannot be opened.
    pub fn open(
        config: &Config,
        folder: &DataFolder,
        metrics: Option<&store::Metrics>,
    ) -> Result<Self, store::OpenError> {
        let mut each = Vec::new();
        let mut open = |name: &str| {
            let store =
                SqliteStore::open(&folder.store(name), &store::Settings::default(), metrics.cloned())?;
            let store = Arc::new(store);
            each.push((name.to_owned(), Arc::clone(&store)));
            Ok::<_, store::OpenError>(Database { name: name.to_owned(), store })
        };
        let mut all = Databases::new(open(DATABASE)?);
        for database in &config.databases.others {
            let domains = database.domains.iter().map(|domain| domain.as_str().to_owned());
            all = all.and(open(database.name.as_str())?, domains);
        }
        Ok(Self { all: Arc::new(all), each })
    }

    /// All of them as one.
    pub const fn all(&self) -> &Arc<Databases> {
        &self.all
    }

    /// Each by its name, the default one first.
    pub fn each(&self) -> impl Iterator<Item = (&str, &Arc<SqliteStore>)> {
        self.each.iter().map(|(name, store)| (name.as_str(), store))
    }

    /// Mail that nobody gets to see, since a database has left the configuration, or domains have changed places. Counting it may
    /// take a while, for which no start should wait.
    pub(super) async fn tell_of_strays(self, folder: DataFolder) {
        for name in folder.stores().unwrap_or_default() {
            if self.each().all(|(known, _)| known != name) {
                tracing::warn!(
                    database = name,
                    "this mailbox database is not in the configuration; nobody sees its mail"
                );
            }
        }
        if self.each.len() == 1 {
            return;
        }
        for (name, store) in self.each() {
            let mailboxes = store.mailboxes().await.unwrap_or_default();
            let strays = mailboxes
                .iter()
                .filter(|mailbox| mailbox.messages > 0 && self.all.database_of(&mailbox.name) != name);
            let mailboxes = strays.count();
            if mailboxes > 0 {
                tracing::warn!(
                    database = name,
                    mailboxes,
                    "mailboxes lie here whose domains belong to other databases; nobody sees their mail"
                );
            }
        }
    }
}
