//! One connection, from accept to close.
