//! The edge and the binary.
fn main() {}
