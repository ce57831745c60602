//! What travels over the control socket. Names and meanings of fields are kept from one version of the program to the next
//! as long as `VERSION` is; the JSON output of the command line is made of the same values.

use gatepost_core::queue::QueueId;
use gatepost_core::scan::EngineStatus;
use serde::{Deserialize, Serialize};

use super::background::{BackgroundOrder, BackgroundStatus};
use super::kept::{Kept, KeptDetails, LetGo, QuarantineRequest};
use super::queued::{Detailed, Filter, Item, Order, Reached};
use super::statistics::Statistics;

/// One line of the asking side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `VERSION`, or the server refuses it: server and command line are of one installation, but a server may still run
    /// while its program was replaced.
    pub version: u32,
    /// What is wanted.
    pub request: Request,
}

/// What can be asked. An empty filter means the whole queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `Line::Item` for each message.
    List(Filter),
    /// `Line::Details` of one message.
    Show(String),
    /// `Line::Content` for each piece of one message, trace headers first.
    Cat(String),
    /// `Line::Stats`
    Stats,
    /// Changes the queue; `Line::Affected`.
    Change(Order),
    /// Of the background scan; `Line::BackgroundScan` for each place.
    BackgroundScan(BackgroundOrder),
    /// `Line::Engine` for each scan engine.
    ScanStatus,
    /// Has each engine look for new signatures, then as `ScanStatus`.
    ScanReload,
    /// Of the quarantine.
    Quarantine(QuarantineRequest),
}

/// One line of the answering side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// One message of a list.
    Item(Box<Item>),
    /// Everything about one message.
    Details(Box<Detailed>),
    /// The queue at a glance.
    Stats(Box<Statistics>),
    /// One scan engine.
    Engine(Box<Engine>),
    /// What an order came to.
    Affected(Reached),
    /// How the background scan of one place stands.
    BackgroundScan(Box<BackgroundStatus>),
    /// One mail of a list of the quarantine.
    Kept(Box<Kept>),
    /// Everything about one mail in quarantine.
    KeptDetails(Box<KeptDetails>),
    /// What came of a release.
    LetGo(LetGo),
    /// That many octets follow behind this line.
    Content(u64),
    /// That was all.
    Done,
    /// Nothing more comes, and it was not all.
    Failed(Failed),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// For programs.
    pub kind: FailedKind,
    /// For people.
    pub text: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedKind {
    /// The peer is neither the server's user nor root.
    Forbidden,
    /// Too many connections.
    Busy,
    /// It speaks another version.
    Version,
    /// It cannot be read as a request.
    BadRequest,
    /// There is no such message.
    NotFound,
    /// The queue could not do it.
    Queue,
    /// The scanner could not do it.
    Scanner,
}

/// One scan engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Its name in the configuration.
    pub name: String,
    /// The version of its signatures.
    pub signatures: String,
    /// Whether it can be asked.
    pub available: bool,
    /// Items that it was given since the start.
    pub calls: u64,
    /// Items that it had said something of before.
    pub remembered: u64,
    /// Items of which the file for the next run has a verdict.
    #[serde(default)]
    pub kept: u64,
    /// Calls that took longer than 2.5 s.
    pub slow_calls: u64,
    /// Why new signatures were not taken, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A text that stands where a queue id belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id: {0:?}")]
pub struct NotAnId(pub String);

// === impl Call ===

impl Call {
    /// In the version of this program.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self { version: VERSION, request }
    }
}

// === impl Request ===

impl Request {
    /// For logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Show(_) => "show",
            Self::Cat(_) => "cat",
            Self::Stats => "stats",
            Self::Change(order) => order.name(),
            Self::BackgroundScan(order) => order.name(),
            Self::ScanStatus => "scan-status",
            Self::ScanReload => "scan-reload",
            Self::Quarantine(_) => "quarantine",
        }
    }
}

/// A queue id of the other side.
///
/// # Errors
/// It is none.
pub fn parse_id(text: &str) -> Result<QueueId, NotAnId> {
    text.parse().map_err(|_| NotAnId(text.to_owned()))
}

// === impl Engine ===

impl From<EngineStatus> for Engine {
    fn from(status: EngineStatus) -> Self {
        let EngineStatus { name, signatures, is_available: available, calls, remembered, kept, slow_calls } =
            status;
        Self { name, signatures, available, calls, remembered, kept, slow_calls, problem: None }
    }
}

/// Of what travels. It rises when an older side would misunderstand a newer one.
pub const VERSION: u32 = 3;
/// Octets of a request: some 4,000 ids.
pub const REQUEST_OCTETS_MAX: u64 = 64 * 1024;
