//! The name of a queued mail: in the 250 reply, in `Received:`, in every log line.

/// 64 bits: milliseconds since 1970 and a counter, so ids rise and never repeat, over restarts too. Shown as 13 characters
/// of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);
