//! Keeps what came of TLS with other servers in a file of the data folder, and reports it to their domains.

use std::sync::Arc;

use gatepost_core::delivery::dns::NameServers;
use gatepost_core::dkim::Signers;
use gatepost_core::queue::Queue;
use gatepost_core::tlsrpt::reporter::{Metrics, Tools};
use gatepost_core::tlsrpt::{self, Ledger, Reporter};
use prometheus::Registry;

use crate::config::{Config, TlsReports};
use crate::data_folder::DataFolder;
use crate::relay::RelayError;
use crate::state_file::{self, StateFile};

/// Writes the file now and then, and when it is closed. Dropped, it neither writes nor reports any more.
#[derive(Debug)]
pub struct TlsResults {
    file: StateFile,
    reporter: Reporter,
}

// === impl TlsResults ===

impl TlsResults {
    /// What the file has, to go on with; `None` where nobody is to hear of it. A damaged file is told and does not count.
    /// Blocks on the disk.
    #[must_use]
    pub fn recall(config: &Config, folder: &DataFolder) -> Option<Ledger> {
        settings(config)?;
        let ledger = Ledger::default();
        recall(&ledger, folder);
        Some(ledger)
    }

    /// Keeps the ledger and reports from it; `None` where nobody is to hear of it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// There are no name servers to ask.
    pub fn start(
        config: &Config,
        folder: &DataFolder,
        ledger: Option<Ledger>,
        queue: Queue,
        signers: Box<dyn Fn() -> Arc<Signers> + Send + Sync>,
        registry: &Registry,
    ) -> Result<Option<Self>, RelayError> {
        let (Some(reports), Some(ledger)) = (settings(config), ledger) else { return Ok(None) };
        let servers: Vec<_> = config.dns.servers.iter().map(|server| server.address()).collect();
        let settings = tlsrpt::Settings {
            hostname: config.hostname.to_string(),
            organization: reports.organization.as_str().to_owned(),
            from: reports.from.mailbox().clone(),
        };
        let tools = Tools {
            ledger: ledger.clone(),
            resolver: Arc::new(NameServers::new(&servers).map_err(RelayError::NameServers)?),
            queue,
            signers,
            metrics: Metrics::register(registry)?,
        };
        let file = StateFile::keep(folder.clone(), DataFolder::TLS_RESULTS, KEPT, move || ledger.remember());
        Ok(Some(Self { file, reporter: Reporter::start(settings, tools) }))
    }

    /// Writes for the last time. Nothing is reported any more.
    pub async fn close(self) {
        self.reporter.stop();
        self.file.close().await;
    }
}

fn settings(config: &Config) -> Option<&TlsReports> {
    config.remote.as_ref()?.tls_reports.as_ref()
}

fn recall(ledger: &Ledger, folder: &DataFolder) {
    let path = folder.tls_results();
    let Some(octets) = state_file::read(&path, KEPT, FILE_OCTETS_MAX) else { return };
    if let Err(error) = ledger.recall(&octets) {
        tracing::warn!(path = %path.display(), %error, "{KEPT} of the last run are lost: their file is damaged");
    }
}

const KEPT: &str = "results of TLS";
/// Four times what the ledger holds: texts may be escaped in the file.
const FILE_OCTETS_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use gatepost_core::delivery::tls_policy::{Applied, PolicyKind};
    use gatepost_core::disk::SimulatedDisk;
    use gatepost_core::queue;

    use super::*;

    fn config(reports: bool) -> Config {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n";
        let remote = "[dns]\nservers = [\"127.0.0.1:9\"]\n[delivery.remote]\nenabled = true\n";
        let table = "[delivery.remote.tls_reports]\norganization = \"Us\"\nfrom = \"tls@us.example\"\n";
        let table = if reports { table } else { "" };
        Config::parse(Path::new("test"), &format!("{listener}{remote}{table}")).unwrap()
    }

    fn start(folder: &DataFolder, config: &Config) -> (Option<Ledger>, Option<TlsResults>) {
        let settings = queue::Settings { free_octets_min: 0, free_files_min: 0, ..Default::default() };
        let disk = Arc::new(SimulatedDisk::new());
        let (queue, _) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
        let ledger = TlsResults::recall(config, folder);
        let signers = Box::new(Arc::<Signers>::default);
        let results =
            TlsResults::start(config, folder, ledger.clone(), queue, signers, &Registry::new()).unwrap();
        (ledger, results)
    }

    #[tokio::test]
    async fn a_restart_goes_on_with_what_was_noted_and_a_damaged_file_with_nothing() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let policy = Applied {
            kind: PolicyKind::None,
            domain: "to.example".to_owned(),
            mail_domain: "to.example".to_owned(),
            published: Vec::new(),
            exchangers: Vec::new(),
            fault: None,
        };
        let now_ms = gatepost_core::clock::now_ms();
        let (ledger, results) = start(&folder, &config(true));
        ledger.unwrap().note(now_ms, &policy, None);
        results.unwrap().close().await;
        let (ledger, results) = start(&folder, &config(true));
        let tomorrow = now_ms + 24 * 60 * 60 * 1000;
        assert_eq!(ledger.unwrap().due(tomorrow).len(), 1);
        results.unwrap().close().await;
        fs::write(folder.tls_results(), "gatepost-tls-results 1 00000000\n{}").unwrap();
        let (ledger, results) = start(&folder, &config(true));
        assert!(ledger.unwrap().due(tomorrow).is_empty());
        results.unwrap().close().await;
        assert!(TlsResults::recall(&config(true), &folder).is_some_and(|it| it.due(tomorrow).is_empty()));
    }

    #[tokio::test]
    async fn by_default_nothing_is_noted_or_written() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let (ledger, results) = start(&folder, &config(false));
        assert!(ledger.is_none() && results.is_none());
        assert!(!folder.tls_results().exists());
    }
}
