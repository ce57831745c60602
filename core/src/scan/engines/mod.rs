//! One file an engine.
