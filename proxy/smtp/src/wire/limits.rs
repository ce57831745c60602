//! Every bound that the grammar and the machine know, with its reason.

use std::time::Duration;

/// Command lines, octets with CRLF (RFC 5321 section 4.5.3.1.4).
pub const COMMAND_LINE_OCTETS: usize = 512;

/// MAIL, octets with CRLF: 512 and what its extensions add to it: SIZE 26 (RFC 1870), BODY 17 (RFC 6152, 3030),
/// AUTH 500 (RFC 4954), RET and ENVID 116 (RFC 3461), SMTPUTF8 10 and 320 for a mailbox of U-labels (RFC 6531),
/// REQUIRETLS 11 (RFC 8689).
pub const MAIL_LINE_OCTETS: usize = COMMAND_LINE_OCTETS + 26 + 17 + 500 + 116 + 10 + 320 + 11;

/// RCPT, octets with CRLF: 512, NOTIFY 28 and ORCPT 500 + 13 (RFC 3461), and 320 for a mailbox of U-labels (RFC 6531).
pub const RCPT_LINE_OCTETS: usize = COMMAND_LINE_OCTETS + 28 + 513 + 320;

/// AUTH and the lines of its exchange, octets with CRLF (RFC 4954 section 4: at least 12,288).
pub const AUTH_LINE_OCTETS: usize = 12_288;

/// XEXCH50, octets with CRLF: what its documentation allows; its longest legal line has 30.
pub const XEXCH50_LINE_OCTETS: usize = 50;

/// The reply to XEXCH50, octets with CRLF: what its documentation allows.
pub const XEXCH50_REPLY_OCTETS: usize = 40;

/// X-LINK2STATE, octets with CRLF: what its documentation allows. The overflow of MS05-021 began at 520 octets of data.
pub const LINK_STATE_LINE_OCTETS: usize = 1_024;

/// The blob of XEXCH50 by default: spam level and properties are some kilobytes.
pub const BLOB_OCTETS: u64 = 1024 * 1024;

/// The largest blob of XEXCH50 that its documentation allows; no configuration allows more.
pub const BLOB_OCTETS_MAX: u64 = 1024 * 1024 * 1024;

/// The longest name a label of EHLO's argument or a domain may have (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS: usize = 63;

/// RFC 5321 section 4.5.3.1.2.
pub const DOMAIN_OCTETS: usize = 255;

/// RFC 5321 section 4.5.3.1.1, counted as on the wire, quotes included.
pub const LOCAL_PART_OCTETS: usize = 64;

/// ENVID as on the wire (RFC 3461 section 4.4).
pub const ENVID_OCTETS: usize = 100;

/// ORCPT as on the wire (RFC 3461 section 4.2).
pub const ORCPT_OCTETS: usize = 500;

/// A SASL mechanism's name (RFC 4422 section 3.1).
pub const MECHANISM_OCTETS: usize = 20;

/// What a session may not exceed by default: 50 MiB, the size that large providers take after base64.
pub const MESSAGE_OCTETS: u64 = 50 * 1024 * 1024;

/// The same for peers that may bypass it: twice as much, since a mail is in memory as a whole while it is scanned.
pub const MESSAGE_OCTETS_BYPASS: u64 = 2 * MESSAGE_OCTETS;

/// RCPTs a transaction; RFC 5321 section 4.5.3.1.8 asks for 100, mailing lists use more.
pub const RECIPIENTS: usize = 1_000;

/// Transactions a session: above what a bulk sender puts on one connection, and still an end.
pub const TRANSACTIONS: u32 = 10_000;

/// Commands a session: a full transaction of `RECIPIENTS` now and then, a handful of commands otherwise.
pub const COMMANDS: u32 = 200_000;

/// Refusals a session: a mailing list with some dead addresses passes, a dictionary attack does not.
pub const ERRORS: u32 = 20;

/// Failed AUTH exchanges a session; the next AUTH gets 421. Three are what a person mistypes.
pub const AUTH_FAILURES: u32 = 3;

/// For a whole command line (RFC 5321 section 4.5.3.2.7 asks for 5 minutes).
pub const COMMAND_TIME: Duration = Duration::from_secs(5 * 60);

/// Between two reads of a body (RFC 5321 section 4.5.3.2.5 asks for 3 minutes).
pub const DATA_IDLE_TIME: Duration = Duration::from_secs(3 * 60);

/// For a whole body: 50 MiB at 15 KiB/s.
pub const DATA_TOTAL_TIME: Duration = Duration::from_secs(60 * 60);

/// From accept to close.
pub const SESSION_TIME: Duration = Duration::from_secs(4 * 60 * 60);

/// Octets a session, whatever they are: two hundred of the largest mails.
pub const SESSION_OCTETS: u64 = 10 * 1024 * 1024 * 1024;

/// Octets a second of a body: slower than any line that carries mail today.
pub const DATA_RATE: u64 = 500;

/// For an answer from outside: as long as a client waits for the reply to its final dot (RFC 5321 section 4.5.3.2.6).
/// A guard against a backend that never answers; a sound one answers far earlier.
pub const ANSWER_TIME: Duration = Duration::from_secs(10 * 60);

/// For a response to a challenge of a server behind, which holds a connection of ours for it. Programs answer at once; whoever
/// types a password has typed it before.
pub const RELAYED_RESPONSE_TIME: Duration = Duration::from_secs(60);

/// Octets drained before 421: twice the message limit, so that a peer which is a little over it still hears 552.
pub const DRAIN_OCTETS: u64 = 2 * MESSAGE_OCTETS;
