//! A naive server: reads what a client sends, command by command, and answers from a script.

/// Answers of a server, taken in order and over again, one for each command of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) mail: u16,
    pub(crate) rcpt: Vec<u16>,
    pub(crate) data: u16,
    pub(crate) end: Vec<u16>,
    pub(crate) is_lmtp: bool,
}

/// The server's side of one transaction.
#[derive(Debug)]
pub(crate) struct Server {
    script: Script,
    input: Vec<u8>,
    has_sender: bool,
    recipients: usize,
    accepted: usize,
    in_data: bool,
    chunks: Vec<u8>,
    /// Whole bodies it has taken, and for how many recipients.
    pub(crate) bodies: Vec<(usize, Vec<u8>)>,
}

// === impl Server ===

impl Server {
    pub(crate) fn new(script: Script) -> Self {
        let (input, chunks, bodies) = (Vec::new(), Vec::new(), Vec::new());
        let (has_sender, recipients, accepted, in_data) = (false, 0, 0, false);
        Self { script, input, has_sender, recipients, accepted, in_data, chunks, bodies }
    }

    /// The replies to what has come in whole.
    pub(crate) fn hear(&mut self, octets: &[u8]) -> String {
        self.input.extend_from_slice(octets);
        let mut replies = String::new();
        while let Some(reply) = self.step() {
            replies.push_str(&reply);
        }
        replies
    }

    fn step(&mut self) -> Option<String> {
        if self.in_data {
            let end = if self.input.starts_with(b".\r\n") {
                0
            } else {
                2 + self.input.windows(5).position(|window| window == b"\r\n.\r\n")?
            };
            let stuffed: Vec<u8> = self.input.drain(..end + 3).collect();
            self.in_data = false;
            let text = String::from_utf8(stuffed[..end].to_vec()).unwrap();
            let lines = text.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line));
            return Some(self.end(lines.collect::<String>().into_bytes()));
        }
        let line_end = self.input.windows(2).position(|window| window == b"\r\n")?;
        let line = String::from_utf8(self.input[..line_end].to_vec()).unwrap();
        if let Some(chunk) = line.strip_prefix("BDAT ") {
            let (octets, is_last) =
                chunk.split_once(' ').map_or((chunk, false), |(octets, _)| (octets, true));
            let octets: usize = octets.parse().unwrap();
            if self.input.len() < line_end + 2 + octets {
                return None;
            }
            let chunk: Vec<u8> = self.input.drain(..line_end + 2 + octets).skip(line_end + 2).collect();
            self.chunks.extend(chunk);
            if !is_last {
                return Some("250 taken\r\n".to_owned());
            }
            let body = std::mem::take(&mut self.chunks);
            return Some(self.end(body));
        }
        self.input.drain(..line_end + 2);
        let code = match line.split([' ', ':']).next().unwrap() {
            "MAIL" => {
                self.has_sender = self.script.mail < 300;
                self.script.mail
            }
            "RCPT" => {
                let code = self.script.rcpt[self.recipients % self.script.rcpt.len()];
                self.recipients += 1;
                let code = if self.has_sender { code } else { 503 };
                self.accepted += usize::from(code < 300);
                code
            }
            "DATA" if self.accepted == 0 => 503,
            "DATA" => {
                self.in_data = self.script.data == 354;
                self.script.data
            }
            other => panic!("{other}"),
        };
        Some(format!("{code} {line}\r\n"))
    }

    fn end(&mut self, body: Vec<u8>) -> String {
        self.bodies.push((self.accepted, body));
        let ends = if self.script.is_lmtp { self.accepted } else { 1 };
        let codes = self.script.end.iter().cycle().take(ends);
        codes.enumerate().map(|(number, code)| format!("{code} end {number}\r\n")).collect()
    }
}
