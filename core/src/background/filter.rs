//! Which messages are scanned.

use mail_parser::{HeaderName, MessageParser, MimeHeaders as _};
use memchr::memmem;

use super::Settings;
use crate::clock::millis;
use crate::store::{ContentHash, Encounter, ScanMark};

/// What can be told without the message itself.
pub(super) fn is_due(
    message: &Encounter,
    settings: &Settings,
    vouches: &dyn Fn(&ContentHash, &ScanMark) -> bool,
    now_ms: u64,
) -> bool {
    let is_current = |mark: &ScanMark| vouches(&message.content, mark);
    wants(settings, message.received_at_ms, message.mark.is_some(), now_ms)
        && (settings.ignore_stamps || !message.mark.as_ref().is_some_and(is_current))
}

/// Whether a message may be due: that its stamp is the current one is another question.
pub(super) fn wants(settings: &Settings, received_at_ms: u64, was_scanned: bool, now_ms: u64) -> bool {
    let age_ms = now_ms.saturating_sub(received_at_ms);
    let is_too_old = settings.age_max.is_some_and(|age_max| age_ms > millis(age_max));
    !is_too_old && (!was_scanned || !settings.only_unscanned)
}

/// Whether a message may hold more than one plain or HTML text. Whatever is unusual counts as more: a filter must not be a
/// way around the scan.
pub(super) fn may_have_attachments(message: &[u8]) -> bool {
    let Some(parsed) = MessageParser::new().parse_headers(message) else { return true };
    let fields = |name: &HeaderName<'_>| parsed.headers().iter().filter(|field| field.name == *name).count();
    let is_plain_text = match parsed.content_type() {
        None => fields(&HeaderName::ContentType) == 0,
        Some(media) => {
            media.ctype().eq_ignore_ascii_case("text")
                && media.subtype().is_some_and(|it| TEXTS.iter().any(|text| it.eq_ignore_ascii_case(text)))
        }
    };
    let is_usual = fields(&HeaderName::ContentType) <= 1 && fields(&HeaderName::ContentDisposition) == 0;
    let wraps = |mark: &[u8]| memmem::find(message, mark).is_some();
    !(is_plain_text && is_usual) || wraps(b"\nbegin ") || wraps(b"\n=ybegin ")
}

/// What mail programs show as a text. Others, such as `text/rtf` or `text/calendar`, are given to programs.
const TEXTS: [&str; 2] = ["plain", "html"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scan::{EngineIdentity, POLICY_VERSION, Stamp};
    use crate::store::Position;

    fn stamp(signatures: &str) -> Stamp {
        Stamp::new(EngineIdentity::new("fake", signatures).unwrap(), POLICY_VERSION)
    }

    fn message(mark: Option<&str>) -> Encounter {
        Encounter {
            position: Position { folder: 1, uid: 1 },
            content: ContentHash::of(b"x"),
            octets: 1,
            received_at_ms: 10_000,
            mark: mark.map(|signatures| ScanMark { stamp: stamp(signatures), threat: None }),
        }
    }

    #[test]
    fn each_filter_leaves_out_what_it_is_for() {
        let all = Settings::default();
        let vouches = |_: &ContentHash, mark: &ScanMark| mark.stamp == stamp("2");
        let due = |message: &Encounter, settings: &Settings| is_due(message, settings, &vouches, 20_000);
        assert!(due(&message(None), &all) && due(&message(Some("1")), &all));
        assert!(!due(&message(Some("2")), &all));
        let every = Settings { ignore_stamps: true, ..all.clone() };
        assert!(due(&message(Some("2")), &every));
        let unscanned = Settings { only_unscanned: true, ..all.clone() };
        assert!(due(&message(None), &unscanned) && !due(&message(Some("1")), &unscanned));
        let aged = |seconds| Settings { age_max: Some(Duration::from_secs(seconds)), ..all.clone() };
        assert!(due(&message(None), &aged(10)) && !due(&message(None), &aged(9)));
    }

    #[test]
    fn only_one_plain_text_is_a_message_without_attachments() {
        for text in [
            "Subject: x\r\n\r\nhello\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n",
            "Content-Type: TEXT/HTML\r\n\r\n<p>hello\r\n",
        ] {
            assert!(!may_have_attachments(text.as_bytes()), "{text}");
        }
        for more in [
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
            "Content-Type: application/zip\r\n\r\nPK",
            "Content-Type: text/rtf\r\n\r\n{",
            "Content-Type: text/plain\r\nContent-Type: application/zip\r\n\r\nPK",
            "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nMZ",
            "Content-Type:\r\n\r\nhello\r\n",
            "Subject: x\r\n\r\nbegin 644 a.exe\r\n",
            "Subject: x\r\n\r\n=ybegin line=128 size=1 name=a.exe\r\n",
            "",
        ] {
            assert!(may_have_attachments(more.as_bytes()), "{more}");
        }
    }
}
