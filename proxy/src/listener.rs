//! Permit, accept, serve.
