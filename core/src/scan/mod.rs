//! Virus scanning: what to scan, with which engine, in which order, and what the verdict was.
//!
//! ```text
//! body -> scanner (priorities, deadline, dedupe) -> pool (threads) -> examine
//!           examine: plan (mime, archive, coded_text, tnef, sealed) -> item -> ensemble -> verdict -> policy -> report with a stamp
//!                    ensemble: each engine, unless it has said it of the same octets before
//!                              item_verdicts: in memory; kept, verdict_file: over a restart
//! infected -> rewrite: its parts, each on its own -> cleaned, or a notice in its place -> scanner
//! ```
//! A clean message gets a [`Stamp`]: the engine, its signatures and the version of our own plan. As long as the stamp is the
//! current one, nobody scans the message again; once it is not, it counts as unscanned.

pub mod engine;
pub mod engines;
pub mod ensemble;
pub mod inspect;
pub mod item;
pub mod kept;
pub mod metrics;
pub mod overruled;
pub mod plan;
pub mod policy;
mod reader;
pub mod rewrite;
pub mod rules;
pub mod scanner;
pub mod stamp;
pub mod verdict;

mod archive;
mod cache;
mod coded_text;
mod examine;
mod item_verdicts;
mod memory;
mod mime;
mod pool;
#[cfg(test)]
mod samples;
mod seal;
mod sealed;
mod tnef;
mod verdict_file;

pub use engine::{Cleaning, Engine, EngineIdentity, InvalidIdentity, Reload};
pub use engines::{EngineSettings, YaraEngine};
pub use ensemble::{EnginePolicy, EngineStatus, Ensemble};
pub use inspect::{Finding, Inspection, inspect};
pub use item::{ItemName, PLAIN_WORDS_OCTETS_MAX};
pub use kept::VerdictFolder;
pub use metrics::{Metrics, Unscanned};
pub use overruled::{Overruled, Ruling};
pub use policy::{Disposal, FailMode, InfectedAction, Rewriting, UnscannableAction, UnscannablePolicy};
pub use rewrite::Rewriter;
pub use scanner::{Priority, Scanner, Settings};
pub use seal::{Seal, SealKey};
pub use stamp::{InvalidStamp, POLICY_VERSION, Stamp};
pub use verdict::{Obstacle, ObstacleKind, ScanReport, Verdict, threat_name};
