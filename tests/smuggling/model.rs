//! What must come of octets behind a 354, read in the most naive way.

/// Commands that would hand in a mail of their own, without having to wait for a reply. They are legal text as well.
pub const SMUGGLED: &[u8] =
    b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<you@localhost>\r\nBDAT 19 LAST\r\nSubject: smuggled\r\n";

/// What the server says, and which mails it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The start of each reply.
    pub replies: Vec<&'static str>,
    /// Their contents.
    pub mails: Vec<Vec<u8>>,
}

/// From behind the 354 to the end of the session.
pub fn read(octets: &[u8]) -> Outcome {
    let mut outcome = Outcome { replies: Vec::new(), mails: Vec::new() };
    // The CRLF of the DATA command counts.
    let whole = [b"\r\n", octets].concat();
    let Some(at) = position(&whole, b"\r\n.\r\n") else { return outcome };
    let (body, rest) = (&octets[..at], &octets[at + 3..]);
    if has_fault(body) {
        outcome.replies.push("554 5.6.0");
        return outcome;
    }
    outcome.replies.push("250 2.0.0");
    outcome.mails.push(without_stuffing(body));
    command(rest, &mut outcome);
    outcome
}

/// Commands are a matter of what comes behind the true end.
fn command(octets: &[u8], outcome: &mut Outcome) {
    let mut rest = octets;
    let mut recipients = None;
    while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
        let (line, below) = rest.split_at(end + 1);
        rest = below;
        if has_fault(line) {
            outcome.replies.push("500 5.5.2");
            return;
        }
        let reply = match (line, recipients) {
            (b"MAIL FROM:<evil@b.example>\r\n", None) => {
                recipients = Some(0);
                "250 2.1.0"
            }
            (b"RCPT TO:<you@localhost>\r\n", Some(count)) => {
                recipients = Some(count + 1);
                "250 2.1.5"
            }
            (b"BDAT 19 LAST\r\n", _) => {
                let (chunk, below) = rest.split_at(19);
                rest = below;
                if recipients.take().is_some_and(|count| count > 0) {
                    outcome.mails.push(chunk.to_vec());
                    "250 2.0.0"
                } else {
                    "503 5.5.1"
                }
            }
            (b"RCPT TO:<you@localhost>\r\n", None) => "503 5.5.1",
            (b"QUIT\r\n", _) => {
                outcome.replies.push("221 2.0.0");
                return;
            }
            _ => "500 5.5.",
        };
        outcome.replies.push(reply);
    }
}

/// A CR, an LF or a NUL that is no part of CRLF.
pub fn has_fault(octets: &[u8]) -> bool {
    let is_bare = |at: usize| match octets[at] {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        octet => octet == b'\0',
    };
    (0..octets.len()).any(is_bare)
}

fn without_stuffing(body: &[u8]) -> Vec<u8> {
    let lines = replaced(&[b"\r\n", body].concat(), b"\r\n.", b"\r\n");
    lines[2..].to_vec()
}

fn position(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len()).position(|window| window == wanted)
}

fn replaced(octets: &[u8], wanted: &[u8], by: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = octets;
    while let Some(at) = position(rest, wanted) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(by);
        rest = &rest[at + wanted.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
