//! Where large bodies go.

/// The folder of body files and the threads that write them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool {}
