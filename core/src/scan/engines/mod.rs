//! One file an engine.

pub mod yara;

pub use yara::YaraEngine;
