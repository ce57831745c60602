//! Virus scanning: what to scan, with which engine, in which order, and what the verdict was.

pub mod engine;
pub mod engines;
pub mod verdict;

pub use engine::{Engine, EngineIdentity};
pub use verdict::{ScanReport, Stamp, Verdict};
