//! Replies are well-formed whatever is put into them.

use gatepost_smtp::server::Refusal;
use gatepost_smtp::wire::command::SyntaxError;
use gatepost_smtp::wire::line::Fault;
use gatepost_smtp::wire::reply::Reply;

use crate::input::Input;

/// A reply with an id or a challenge of any octets; a refusal of those that there are.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let mut out = Vec::new();
    match input.octet() % 3 {
        0 => Reply::queued(&String::from_utf8_lossy(input.rest())).write(&mut out),
        1 => Reply::challenge(input.rest()).write(&mut out),
        _ => {
            let refusal = REFUSALS[usize::from(input.octet()) % REFUSALS.len()];
            assert!(!refusal.rule().is_empty());
            let code = refusal.reply().code();
            assert!((400..600).contains(&code), "{refusal:?} is no success: {code}");
            assert!(refusal.close_reason().is_none() || code == 421 || code >= 500);
            refusal.reply().write(&mut out);
        }
    }
    assert_eq!(split(&out).len(), 1, "{}", out.escape_ascii());
}

/// Takes replies apart; panics where they are not made as RFC 5321 section 4.2 and RFC 2034 have them.
pub(crate) fn split(octets: &[u8]) -> Vec<(u16, String)> {
    let text = std::str::from_utf8(octets).expect("replies are UTF-8");
    let mut replies = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut lines = Vec::new();
        loop {
            let (line, tail) = rest.split_once("\r\n").unwrap_or_else(|| panic!("cut off: {rest:?}"));
            rest = tail;
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
            assert!(line.len() >= 4 && line[..3].bytes().all(|octet| octet.is_ascii_digit()), "{line:?}");
            lines.push(line);
            match &line[3..4] {
                " " => break,
                "-" => {}
                _ => panic!("neither continued nor ended: {line:?}"),
            }
        }
        let code = &lines[0][..3];
        assert!(lines.iter().all(|line| &line[..3] == code), "one code: {lines:?}");
        let is_bare = matches!(code, "220" | "250" | "334" | "354" | "421");
        assert!(is_bare || has_enhanced_code(lines[0]), "RFC 2034: {lines:?}");
        replies.push((code.parse().unwrap(), lines.join("\n")));
    }
    replies
}

fn has_enhanced_code(line: &str) -> bool {
    let mut numbers = line[4..].split(' ').next().unwrap_or_default().split('.');
    let class_fits = numbers.next() == Some(&line[..1]);
    class_fits
        && numbers.clone().count() == 2
        && numbers.all(|number| number.parse::<u16>().is_ok_and(|n| n < 1000))
}

const REFUSALS: &[Refusal] = &[
    Refusal::UnknownRecipient,
    Refusal::RecipientUnverified,
    Refusal::NoSmtpUtf8Behind,
    Refusal::RelayDenied,
    Refusal::SenderNotOwned,
    Refusal::AuthenticationFailed,
    Refusal::AuthenticationUnavailable,
    Refusal::StorageFull,
    Refusal::StorageFailed,
    Refusal::Infected,
    Refusal::ScanUnavailable,
    Refusal::ContentRejected,
    Refusal::LocalError,
    Refusal::TooManyRecipients,
    Refusal::RoutingLoop,
    Refusal::CommandFraming(Fault::BareCr),
    Refusal::CommandFraming(Fault::BareLf),
    Refusal::CommandFraming(Fault::Nul),
    Refusal::BodyFraming(Fault::BareCr),
    Refusal::BodyFraming(Fault::BareLf),
    Refusal::BodyFraming(Fault::Nul),
    Refusal::LineTooLong,
    Refusal::AuthLineTooLong,
    Refusal::UnknownVerb,
    Refusal::Syntax(SyntaxError::Verb),
    Refusal::Syntax(SyntaxError::Argument),
    Refusal::Syntax(SyntaxError::ReversePath),
    Refusal::Syntax(SyntaxError::ForwardPath),
    Refusal::Syntax(SyntaxError::UnknownParameter),
    Refusal::Syntax(SyntaxError::Base64),
    Refusal::ChunkSyntax,
    Refusal::NotImplemented,
    Refusal::StartTlsRequired,
    Refusal::AuthenticationRequired,
    Refusal::EncryptionRequired,
    Refusal::ForbiddenVerb,
    Refusal::SubmissionDenied,
    Refusal::ServersOnly,
    Refusal::ExtensionUnauthenticated,
    Refusal::ExtensionDenied,
    Refusal::BlobTooLarge,
    Refusal::BadSequence,
    Refusal::NoValidRecipients,
    Refusal::BinaryNeedsChunks,
    Refusal::ParameterNotOffered,
    Refusal::SenderNeedsSmtpUtf8,
    Refusal::RecipientNeedsSmtpUtf8,
    Refusal::MessageTooLarge,
    Refusal::UnknownMechanism,
    Refusal::AuthenticationMalformed,
    Refusal::AuthenticationCancelled,
    Refusal::EarlyTalker,
    Refusal::PlaintextAfterStarttls,
    Refusal::ForeignProtocol,
    Refusal::TooManyAuthFailures,
    Refusal::TooManyErrors,
    Refusal::BudgetSpent,
    Refusal::DrainLimit,
    Refusal::TimedOut,
    Refusal::ShuttingDown,
    Refusal::BackendFailed,
];
