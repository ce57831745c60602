//! Commands: octets, a command, octets, the same command.

use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::command::Command;
use gatepost_smtp::wire::params::{MailParams, RcptParams};
use gatepost_smtp::wire::path::{ForwardPath, ReversePath};
use gatepost_smtp::wire::verb::Verb;

/// What is read as a command is written as a line that reads the same; so are its parts.
pub fn check(line: &[u8]) {
    let (verb, argument) = Verb::split(line);
    let parsed = Command::parse(line);
    if verb != Verb::Unknown {
        assert_eq!(Command::parse_argument(verb, argument), parsed, "reading in two steps is reading");
    }
    if let Ok(command) = parsed {
        let written = command.to_string();
        assert!(!written.contains(['\r', '\n', '\0']), "{written:?}");
        assert_eq!(Command::parse(written.as_bytes()).as_ref(), Ok(&command), "{written:?}");
        assert_eq!(Verb::split(written.as_bytes()).0, verb, "{written:?}");
        if let Command::Auth { initial_response: Some(response), .. } = &command {
            assert!(!format!("{command:?}").contains("expose"), "a secret is not shown");
            assert_eq!(Secret::new(response.expose().to_vec()), *response);
        }
    }
    if let Ok(text) = std::str::from_utf8(line) {
        check_parts(text);
    }
}

/// What the queue's file format is made of.
fn check_parts(text: &str) {
    if let Ok(path) = text.parse::<ReversePath>() {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    if let Ok(path) = text.parse::<ForwardPath>() {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    if let Ok(params) = MailParams::parse(text) {
        assert_eq!(MailParams::parse(&params.to_string()), Ok(params));
    }
    if let Ok(params) = RcptParams::parse(text) {
        assert_eq!(RcptParams::parse(&params.to_string()), Ok(params));
    }
}
