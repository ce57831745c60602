//! The folders beside the queue: in one of them mail is dropped, in the others the worst of it ends.

use std::sync::Arc;
use std::time::Duration;

use gatepost_core::badmail::{self, Badmail};
use gatepost_core::delivery;
use gatepost_core::disk::RealDisk;
use gatepost_core::events::Log;
use gatepost_core::memory::MemoryBudget;
use gatepost_core::pickup::{self, Pickup};
use gatepost_core::quarantine::{self, Quarantine};
use gatepost_core::scan::Overruled;
use prometheus::Registry;
use tokio::sync::watch;

use super::OpenError;
use crate::config::{self, Config};
use crate::data_folder::DataFolder;

/// All of them.
pub(super) struct MailFolders {
    badmail: Badmail,
    bounds: watch::Sender<badmail::Settings>,
    quarantine: Quarantine,
    quarantine_bounds: watch::Sender<quarantine::Settings>,
    pickup: Option<Pickup>,
}

// === impl MailFolders ===

impl MailFolders {
    /// Opens those of the bad and of the infected mail.
    pub(super) fn open(
        config: &Config,
        folder: &DataFolder,
        overruled: &Overruled,
        events: &Log,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let (settings, metrics) = (badmail_settings(config), badmail::Metrics::register(registry)?);
        let badmail = Badmail::open(Arc::new(RealDisk), &folder.badmail(), settings, Some(metrics))
            .map_err(OpenError::Badmail)?;
        let bounds = watch::Sender::new(settings);
        tokio::spawn(badmail.clone().watch(bounds.subscribe()));
        let (settings, metrics) = (quarantine_settings(config), quarantine::Metrics::register(registry)?);
        let quarantine = Quarantine::open(
            Arc::new(RealDisk),
            &folder.quarantine(),
            settings,
            overruled.clone(),
            events.clone(),
            Some(metrics),
        )
        .map_err(OpenError::Quarantine)?;
        let quarantine_bounds = watch::Sender::new(settings);
        tokio::spawn(quarantine.clone().watch(quarantine_bounds.subscribe()));
        Ok(Self { badmail, bounds, quarantine, quarantine_bounds, pickup: None })
    }

    /// Begins to take what is dropped, where that is switched on.
    pub(super) fn watch_pickup(
        &mut self,
        config: &Config,
        rooms: &delivery::Rooms,
        memory: &MemoryBudget,
        registry: &Registry,
    ) -> Result<(), OpenError> {
        let Some(folder) = &config.pickup else { return Ok(()) };
        let rooms = pickup::Rooms {
            queue: rooms.queue.clone(),
            directory: rooms.directory.clone(),
            remote: rooms.remote.clone(),
            badmail: self.badmail.clone(),
            memory: memory.clone(),
            events: rooms.events.clone(),
        };
        let metrics = pickup::Metrics::register(registry)?;
        let pickup = Pickup::start(folder, rooms, pickup_settings(config), Some(metrics));
        self.pickup = Some(pickup.map_err(OpenError::Pickup)?);
        Ok(())
    }

    pub(super) const fn badmail(&self) -> &Badmail {
        &self.badmail
    }

    pub(super) const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    pub(super) fn reload(&self, config: &Config) {
        if let Some(pickup) = &self.pickup {
            pickup.reload(pickup_settings(config));
        }
        self.bounds.send_replace(badmail_settings(config));
        self.quarantine_bounds.send_replace(quarantine_settings(config));
    }

    /// Nothing is taken from the pickup folder any more.
    pub(super) async fn close(self) {
        if let Some(pickup) = self.pickup {
            pickup.stop().await;
        }
    }
}

fn pickup_settings(config: &Config) -> pickup::Settings {
    pickup::Settings {
        hostname: config.hostname.to_string(),
        message_octets: config.limits.message.count(),
        recipients: usize::try_from(config.limits.recipients).unwrap_or(usize::MAX),
        sends_on: config.remote.is_some(),
    }
}

fn badmail_settings(config: &Config) -> badmail::Settings {
    let config::Badmail { messages, octets, days } = config.badmail;
    badmail::Settings {
        messages: usize::try_from(messages).unwrap_or(usize::MAX),
        octets: octets.count(),
        age: DAY.saturating_mul(days),
    }
}

fn quarantine_settings(config: &Config) -> quarantine::Settings {
    let config::Quarantine { messages, octets, days } = config.quarantine;
    quarantine::Settings {
        messages: usize::try_from(messages).unwrap_or(usize::MAX),
        octets: octets.count(),
        age: DAY.saturating_mul(days),
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
