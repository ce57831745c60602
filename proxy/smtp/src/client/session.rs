//! WIP
#[derive(Debug)]
pub struct Session {}
