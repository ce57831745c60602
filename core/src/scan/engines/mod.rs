//! The engines, one file or folder each, and how they are started together.
//!
//! ```text
//! yara                in this process
//! clamd, icap -> outside   not in it: sessions over `socket`, a breaker (`health`), a thread that looks after it
//! command     -> outside   a program for each item, run by a helper process that is there before the sandbox is
//! ```

pub mod clamd;
pub mod command;
pub mod icap;
pub mod yara;

mod health;
mod outside;
mod places;
mod socket;

use std::path::PathBuf;
use std::sync::Arc;

pub use outside::OutsideSettings;
pub use socket::Address;
pub use yara::YaraEngine;

use super::{Engine, EnginePolicy, Ensemble, Metrics, VerdictFolder};
use crate::events::{About, Log, What};

/// One engine and how it is set up.
#[derive(Debug, Clone)]
pub enum EngineSettings {
    /// The embedded one, with the rules of a folder besides its own.
    Yara(Option<PathBuf>),
    /// Clam AntiVirus.
    Clamd(clamd::Settings),
    /// A scanner behind ICAP.
    Icap(icap::Settings),
    /// A program.
    Command(command::Settings),
}

/// Why the engines cannot be started. One outside of this process that is not there is no reason.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The embedded engine.
    #[error(transparent)]
    Yara(#[from] yara::StartError),
    /// No thread to look after an engine.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

// === impl EngineSettings ===

impl EngineSettings {
    /// What the engine is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Yara(_) => yara::NAME,
            Self::Clamd(settings) => &settings.outside.name,
            Self::Icap(settings) => &settings.outside.name,
            Self::Command(settings) => &settings.outside.name,
        }
    }
}

/// Starts these engines, in this order; what they say of items is kept in that folder, if there is one. Blocks for some seconds
/// where an engine does not answer.
///
/// # Errors
/// The first that cannot be started.
pub fn start(
    engines: &[EngineSettings],
    policy: EnginePolicy,
    kept_in: Option<&VerdictFolder>,
    events: &Log,
    metrics: &Metrics,
) -> Result<Arc<Ensemble>, StartError> {
    let mut ensemble = Ensemble::new(policy);
    for settings in engines {
        let name = settings.name();
        let of_engine = metrics.engine(name);
        let engine: Arc<dyn Engine> = match settings {
            EngineSettings::Yara(folder) => {
                let engine = YaraEngine::start_telling(folder.as_deref(), events.clone())?;
                let signatures = engine.identity().signatures().to_owned();
                events.record(About::default(), What::EngineLoaded { engine: name.to_owned(), signatures });
                of_engine.up.set(1);
                engine
            }
            EngineSettings::Clamd(settings) => clamd::start(settings, events.clone(), of_engine.clone())?,
            EngineSettings::Icap(settings) => icap::start(settings, events.clone(), of_engine.clone())?,
            EngineSettings::Command(settings) => command::start(settings, events.clone(), of_engine.clone())?,
        };
        ensemble = ensemble.with(name, engine, of_engine);
    }
    if let Some(folder) = kept_in {
        ensemble = ensemble.keeping_in(folder);
    }
    Ok(Arc::new(ensemble))
}
