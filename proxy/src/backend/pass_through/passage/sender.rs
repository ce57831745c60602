//! A MAIL that waits for the first RCPT and goes with it (`delay_mail`): a client that waits for each reply waits once less for
//! the server behind.
//!
//! RFC 5321 section 3.3 lets a server take a reverse-path, and say what is wrong with it behind the forward-paths. So what the
//! server behind has against the sender is the reply to each recipient; what we have against him is told at once.

use gatepost_smtp::server::{Answer, Refusal};
use gatepost_smtp::wire::params::MailParams;
use gatepost_smtp::wire::path::ReversePath;
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};

use super::Passage;

/// How the MAIL of a transaction stands with the server behind.
#[derive(Debug, Default)]
pub(super) enum Sender {
    /// Told, or there is none. Whoever put it hears the reply.
    #[default]
    Told,
    /// It waits here.
    Waiting {
        path: ReversePath,
        params: MailParams,
        /// Whether the client has had our reply.
        is_answered: bool,
    },
    /// It was put behind our reply, so that its own is nobody's yet.
    Unheard,
    /// This was its reply.
    Refused(ServerReply),
}

// === impl Passage ===

impl Passage {
    /// Our answer to a MAIL that still waits, now that no RCPT has come with it.
    pub(crate) fn answer_for_sender(&mut self) -> Option<Answer> {
        let Sender::Waiting { is_answered, .. } = &mut self.sender else { return None };
        *is_answered = true;
        Some(Answer::Accepted)
    }

    /// What the server behind has said against the sender, whom the client takes for accepted.
    pub(crate) fn refused_sender(&self) -> Option<&ServerReply> {
        match &self.sender {
            Sender::Refused(said) => Some(said),
            _ => None,
        }
    }

    /// Puts a MAIL that waits.
    pub(super) fn put_sender(&mut self) -> Result<(), Answer> {
        let Sender::Waiting { path, params, is_answered } = &self.sender else { return Ok(()) };
        let Some(link) = &mut self.link else { return Err(Answer::Refused(Refusal::BehindLost)) };
        let put = link.live.mail(path, params);
        self.sender = if *is_answered { Sender::Unheard } else { Sender::Told };
        put.map_err(|error| self.not_put(error))
    }

    /// Has the server behind know of a MAIL that waits, before it hears anything else of this mail.
    pub(super) async fn tell_sender(&mut self) -> Result<(), Answer> {
        self.put_sender()?;
        self.hear_sender().await?;
        self.refused_sender().map_or(Ok(()), |said| Err(Answer::Said(said.clone())))
    }

    /// Hears the reply that nobody has asked for.
    pub(super) async fn hear_sender(&mut self) -> Result<(), Answer> {
        if !matches!(self.sender, Sender::Unheard) {
            return Ok(());
        }
        self.sender = Sender::Told;
        match self.hear().await {
            Answer::Said(said) if self.link.is_some() => {
                if said.class() != ReplyClass::Positive {
                    self.sender = Sender::Refused(said);
                }
                Ok(())
            }
            answer => Err(answer),
        }
    }
}
