//! What each request to the quarantine does, on the running server and without one.

use std::io;

use gatepost_core::BoxFuture;
use gatepost_core::quarantine::{Quarantine, ReleaseError, Released, Releaser, Selection};
use gatepost_core::queue::QueueId;

use super::kept::{LetGo, QuarantineFilter, QuarantineRequest};
use super::message::{FailedKind, Line, NotAnId, parse_id};
use super::queued::Reached;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A text is no queue id.
    #[error(transparent)]
    NotAnId(#[from] NotAnId),
    /// It is not here.
    #[error("{0} is not in the quarantine")]
    Unknown(QueueId),
    /// It needs what only a running server has.
    #[error("nobody here can release mail")]
    NoServer,
    /// The disk.
    #[error("the quarantine: {0}")]
    Io(#[from] io::Error),
}

/// Who has asked.
pub trait Hearer {
    /// Takes a line of the answer.
    ///
    /// # Errors
    /// He has gone, or cannot write it down.
    fn hear(&mut self, line: Line) -> BoxFuture<'_, io::Result<()>>;
}

/// Does it. The answer goes to the hearer line by line; `releaser` lets mail go, where a server runs.
///
/// # Errors
/// Nothing more was done. Errors of the hearer come back as `Io`.
pub async fn answer(
    request: QuarantineRequest,
    by: &str,
    quarantine: &Quarantine,
    releaser: Option<&Releaser>,
    hearer: &mut impl Hearer,
) -> Result<(), Refused> {
    match request {
        QuarantineRequest::List(filter) => {
            for record in quarantine.list(filter.try_into()?, by).await? {
                hearer.hear(Line::Kept(Box::new(record.into()))).await?;
            }
        }
        QuarantineRequest::Show(id) => {
            let id = parse_id(&id)?;
            let details = quarantine.show(id, by).await?.ok_or(Refused::Unknown(id))?;
            hearer.hear(Line::KeptDetails(Box::new(details.into()))).await?;
        }
        QuarantineRequest::Release { filter, force } => {
            let releaser = releaser.ok_or(Refused::NoServer)?;
            for id in chosen(filter, by, quarantine).await? {
                let let_go = LetGo::new(id, releaser.release(id, force, by).await);
                hearer.hear(Line::LetGo(let_go)).await?;
            }
        }
        QuarantineRequest::Delete(filter) => {
            let messages = quarantine.delete(filter.try_into()?, by).await?;
            hearer.hear(Line::Affected(Reached { messages, ..Reached::default() })).await?;
        }
    }
    Ok(())
}

/// Ids that were named are tried even where they are not here, so that each is answered.
async fn chosen(
    filter: QuarantineFilter,
    by: &str,
    quarantine: &Quarantine,
) -> Result<Vec<QueueId>, Refused> {
    let selection = Selection::try_from(filter)?;
    let only_ids = Selection { ids: selection.ids.clone(), ..Selection::default() };
    if !selection.ids.is_empty() && selection == only_ids {
        return Ok(selection.ids);
    }
    let found = quarantine.list(selection, by).await?;
    Ok(found.iter().filter_map(|record| record.id.parse().ok()).collect())
}

// === impl LetGo ===

impl LetGo {
    fn new(id: QueueId, released: Result<Released, ReleaseError>) -> Self {
        let id = id.to_string();
        match released {
            Ok(Released { id: released_as, overruled }) => Self {
                id,
                released_as: Some(released_as.to_string()),
                overruled,
                failure: None,
                can_be_forced: false,
            },
            Err(error) => {
                let (failure, can_be_forced) = (Some(error.to_string()), error.can_be_overruled());
                Self { id, released_as: None, overruled: Vec::new(), failure, can_be_forced }
            }
        }
    }
}

// === impl Refused ===

impl Refused {
    pub(super) const fn kind(&self) -> FailedKind {
        match self {
            Self::NotAnId(_) => FailedKind::BadRequest,
            Self::Unknown(_) => FailedKind::NotFound,
            Self::NoServer | Self::Io(_) => FailedKind::Queue,
        }
    }
}
