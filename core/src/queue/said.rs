//! The meaning of a record.

use super::QueueId;
use super::codec::{Decoder, Malformed};
use super::envelope::{Change, decode_stored};
use super::facts::Facts;
use super::record::Kind;
use super::standing::{Marks, Rules, Standing};

/// What a record says, by itself or by its note in a footer.
pub(super) enum Said {
    Nothing,
    Message(QueueId, Facts),
    FollowUp(QueueId, Facts),
    Moved(Standing, Facts),
    Change(Change),
    Marks(Marks),
    Rules(Rules),
}

// === impl Said ===

impl Said {
    /// # Errors
    /// Where it says nothing sensible.
    pub(super) fn of_payload(kind: Kind, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            Kind::Message | Kind::FollowUp => {
                let head = decode_stored(kind, payload)?;
                Self::of_message(kind, head.id, Facts::of_head(&head))
            }
            Kind::Moved => {
                let facts = Facts::of_head(&decode_stored(kind, payload)?);
                Self::Moved(Standing::decode(&mut Decoder::new(payload))?, facts)
            }
            _ => Self::of_order(kind, payload)?,
        })
    }

    /// As `of_payload`, of what a footer repeats.
    pub(super) fn of_note(kind: Kind, note: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(note);
        let said = match kind {
            Kind::Message | Kind::FollowUp => {
                let id = QueueId(decoder.u64()?);
                Self::of_message(kind, id, Facts::decode(&mut decoder)?)
            }
            Kind::Moved => Self::Moved(Standing::decode(&mut decoder)?, Facts::decode(&mut decoder)?),
            _ => return Self::of_order(kind, note),
        };
        decoder.end()?;
        Ok(said)
    }

    const fn of_message(kind: Kind, id: QueueId, facts: Facts) -> Self {
        match kind {
            Kind::FollowUp => Self::FollowUp(id, facts),
            _ => Self::Message(id, facts),
        }
    }

    fn of_order(kind: Kind, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            Kind::State | Kind::Done => Self::Change(Change::decode(payload, kind)?),
            Kind::Marks => Self::Marks(Marks::decode(payload)?),
            Kind::Rules => Self::Rules(Rules::decode(payload)?),
            _ => Self::Nothing,
        })
    }
}
