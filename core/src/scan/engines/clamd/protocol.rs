//! What clamd says (clamd(8)): NUL-terminated texts, in a session each behind the number of its command.

use crate::scan::engines::outside::Answer;
use crate::scan::threat_name;

/// The reply to INSTREAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// What it says of the item.
    Answer(Answer),
    /// It could not do it, as it says.
    Failed(String),
}

/// Takes the number off a reply. `None`: it belongs to another command, or to none.
pub(super) fn numbered(reply: &str, command: u64) -> Option<&str> {
    reply.strip_prefix(&command.to_string())?.strip_prefix(": ")
}

/// Reads the reply to INSTREAM, its number taken off.
pub(super) fn scan_reply(reply: &str) -> Option<Reply> {
    if reply == SIZE_LIMIT {
        return Some(Reply::Answer(Answer::BeyondLimits));
    }
    if let Some(reason) = reply.strip_suffix(" ERROR") {
        return Some(Reply::Failed(reason.to_owned()));
    }
    match reply.strip_prefix("stream: ")? {
        "OK" => Some(Reply::Answer(Answer::Clean)),
        found => {
            let name = found.strip_suffix(" FOUND").filter(|name| !name.is_empty())?;
            // What is told so, if `AlertExceedsMax` and `AlertEncrypted` are set, is no virus.
            if name.starts_with("Heuristics.Limits.Exceeded") {
                return Some(Reply::Answer(Answer::BeyondLimits));
            }
            if name.starts_with("Heuristics.Encrypted") {
                return Some(Reply::Answer(Answer::Encrypted));
            }
            Some(Reply::Answer(Answer::Found(threat_name(name))))
        }
    }
}

/// Reads the reply to VERSION: program, number and time of the daily signatures, as far as there are any.
pub(super) fn version_reply(reply: &str) -> Option<&str> {
    reply.strip_prefix("ClamAV ").filter(|version| !version.is_empty())
}

/// The item was longer than `StreamMaxLength`. The connection ends behind it.
pub(super) const SIZE_LIMIT: &str = "INSTREAM size limit exceeded. ERROR";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answers_of_clamd_are_told_apart() {
        for (reply, answer) in [
            ("stream: OK", Reply::Answer(Answer::Clean)),
            ("stream: Eicar-Signature FOUND", Reply::Answer(Answer::Found("Eicar-Signature".into()))),
            ("stream: a/b FOUND", Reply::Answer(Answer::Found("a_b".into()))),
            ("stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND", Reply::Answer(Answer::BeyondLimits)),
            ("stream: Heuristics.Encrypted.Zip FOUND", Reply::Answer(Answer::Encrypted)),
            ("INSTREAM size limit exceeded. ERROR", Reply::Answer(Answer::BeyondLimits)),
            ("stream: Can't allocate memory ERROR", Reply::Failed("stream: Can't allocate memory".into())),
        ] {
            assert_eq!(scan_reply(reply), Some(answer), "{reply}");
        }
    }

    /// A file may be named `OK`, and a virus `FOUND`; only whole answers count.
    #[test]
    fn what_is_no_answer_is_never_clean() {
        for reply in [
            "",
            "OK",
            "stream: ",
            "stream: FOUND",
            "stream:  FOUND",
            "stream: OK ",
            "xstream: OK",
            "stream: OKAY",
        ] {
            assert!(!matches!(scan_reply(reply), Some(Reply::Answer(Answer::Clean))), "{reply:?}");
        }
        for reply in ["", "stream: ", "stream: FOUND", "PONG", "UNKNOWN COMMAND"] {
            assert_eq!(scan_reply(reply), None, "{reply:?}");
        }
    }

    #[test]
    fn an_answer_belongs_to_its_command() {
        assert_eq!(numbered("12: stream: OK", 12), Some("stream: OK"));
        for reply in ["1: stream: OK", "123: stream: OK", "stream: OK", "12:stream: OK"] {
            assert_eq!(numbered(reply, 12), None, "{reply}");
        }
    }

    #[test]
    fn a_version_is_what_stands_behind_the_name() {
        assert_eq!(
            version_reply("ClamAV 1.4.3/27800/Sun Oct 12 09:00:00 2025"),
            Some("1.4.3/27800/Sun Oct 12 09:00:00 2025")
        );
        assert_eq!(version_reply("ClamAV "), None);
        assert_eq!(version_reply("PONG"), None);
    }

    proptest! {
        #[test]
        fn only_the_very_answer_is_clean(reply in "(stream: |)[A-Z ]{0,8}(OK|FOUND|ERROR|)") {
            prop_assert_eq!(scan_reply(&reply) == Some(Reply::Answer(Answer::Clean)), reply == "stream: OK");
        }
    }
}
