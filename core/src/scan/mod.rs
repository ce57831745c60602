//! Virus scanning: what to scan, with which engine, in which order, and what the verdict was.

pub mod engine;
pub mod engines;
pub mod policy;
pub mod scanner;
pub mod stamp;
pub mod verdict;

pub use engine::{Engine, EngineIdentity, InvalidIdentity};
pub use policy::{UnscannableAction, UnscannablePolicy};
pub use scanner::{Priority, Scanner, Settings};
pub use stamp::{InvalidStamp, POLICY_VERSION, Stamp};
pub use verdict::{Obstacle, ScanReport, Verdict, threat_name};
