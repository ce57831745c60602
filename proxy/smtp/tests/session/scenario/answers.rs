//! What the backend of a scenario makes of each question.

use gatepost_smtp::server::{Answer, Identity, Mechanism, PeerFacts, Question, Refusal};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::xclient::{Attribute, Xclient};

use super::Scenario;

// === impl Scenario ===

impl Scenario {
    pub(super) fn decide(&mut self, question: Question) -> Option<Answer> {
        Some(match question {
            Question::Behind => self.behind.clone(),
            Question::Authenticate { .. } | Question::AuthenticateContinue { .. }
                if self.login != Answer::Accepted =>
            {
                self.login.clone()
            }
            Question::Authenticate { mechanism, initial_response, .. } => match initial_response {
                Some(response) => Self::authenticate(mechanism, response.expose()),
                None if mechanism == Mechanism::Login => Answer::Challenge(b"Username:".to_vec()),
                None => Answer::Challenge(Vec::new()),
            },
            Question::AuthenticateContinue { response } => Self::authenticate_continued(response.expose()),
            Question::Mail { reverse_path: ReversePath::Mailbox(mailbox), .. }
                if mailbox.local_part() == "forged" =>
            {
                Answer::Refused(Refusal::SenderNotOwned)
            }
            Question::Recipient { path: ForwardPath::Mailbox(mailbox), .. }
                if mailbox.local_part() == "nobody" =>
            {
                Answer::Refused(Refusal::UnknownRecipient)
            }
            Question::Body { envelope } if envelope.recipients.len() > 5 => {
                Answer::Refused(Refusal::StorageFull)
            }
            Question::Mail { .. } | Question::Recipient { .. } | Question::Body { .. } => Answer::Accepted,
            Question::Commit => {
                self.stored.push(std::mem::take(&mut self.body.octets));
                self.commit.clone()
            }
            Question::Abort => {
                self.body.octets.clear();
                return None;
            }
            Question::AuthenticateAbort => return None,
            Question::Extension(_) | Question::ExtensionEnd => self.extension.clone(),
            Question::Xclient(xclient) => self.overridden(&xclient),
        })
    }

    fn overridden(&self, xclient: &Xclient) -> Answer {
        let address = xclient.attributes().iter().find_map(|attribute| match attribute {
            Attribute::Addr(address) => *address,
            _ => None,
        });
        match address {
            Some(address) => Answer::Peer(PeerFacts::anonymous((address, 0).into(), None)),
            None => Answer::Refused(Refusal::ExtensionDenied),
        }
    }

    fn authenticate(mechanism: Mechanism, response: &[u8]) -> Answer {
        match mechanism {
            Mechanism::Plain if response == b"\0joe\0secret" => Self::joe(None),
            Mechanism::External if response.is_empty() => Self::joe(None),
            Mechanism::ScramSha256 if response == b"client-first" => {
                Answer::Challenge(b"server-first".to_vec())
            }
            Mechanism::Login if response == b"joe" => Answer::Challenge(b"Password:".to_vec()),
            _ => Answer::Refused(Refusal::AuthenticationFailed),
        }
    }

    fn authenticate_continued(response: &[u8]) -> Answer {
        match response {
            b"\0joe\0secret" | b"secret" => Self::joe(None),
            b"joe" => Answer::Challenge(b"Password:".to_vec()),
            b"client-final" => Self::joe(Some(b"v=final".to_vec())),
            _ => Answer::Refused(Refusal::AuthenticationFailed),
        }
    }

    fn joe(final_data: Option<Vec<u8>>) -> Answer {
        Answer::Authenticated { identity: Identity::of_user("joe@x.example".to_owned()), final_data }
    }
}
