use super::*;

#[test]
fn verbs_and_keywords_are_read_in_either_case() {
    let table = [
        ("ehlo x.example", "EHLO x.example"),
        ("hElO [127.0.0.1]", "HELO [127.0.0.1]"),
        ("auth plain =", "AUTH PLAIN ="),
        ("AUTH SCRAM-SHA-256 eA==", "AUTH SCRAM-SHA-256 eA=="),
        ("mail from:<>", "MAIL FROM:<>"),
        ("Mail From:<a@b> body=8bitmime size=5", "MAIL FROM:<a@b> SIZE=5 BODY=8BITMIME"),
        ("rcpt to:<postmaster> notify=never", "RCPT TO:<Postmaster> NOTIFY=NEVER"),
        ("bdat 10 last", "BDAT 10 LAST"),
        ("BDAT 0", "BDAT 0"),
        ("NOOP a b", "NOOP a b"),
        ("QUIT  ", "QUIT"),
        ("DATA\t", "DATA"),
        ("XFOO bar", "XFOO bar"),
    ];
    for (line, canonical) in table {
        assert_eq!(Command::parse(line.as_bytes()).unwrap().to_string(), canonical);
    }
}

#[test]
fn malformed_lines_are_told_apart() {
    use SyntaxError as E;
    let table = [
        ("", E::Verb),
        (" NOOP", E::Verb),
        ("ÄÖ", E::Verb),
        ("MAIL:", E::Argument),
        ("EHLO", E::Argument),
        ("EHLO  x", E::Argument),
        ("EHLO a b", E::Argument),
        ("STARTTLS now", E::Argument),
        ("AUTH", E::Argument),
        ("AUTH PLAIN!", E::Argument),
        ("AUTH PLAIN ***", E::Base64),
        ("AUTH PLAIN eA", E::Base64),
        ("MAIL", E::Argument),
        ("MAIL FROM: <a@b>", E::Argument),
        ("MAIL FROM:<a@b>SIZE=1", E::Argument),
        ("MAIL FROM:<a@b> SIZE=x", E::Argument),
        ("MAIL FROM:a@b", E::ReversePath),
        ("MAIL FROM:<a>", E::ReversePath),
        ("MAIL FROM:<a@b> FOO=1", E::UnknownParameter),
        ("RCPT TO: <a@b>", E::Argument),
        ("RCPT TO:<>", E::ForwardPath),
        ("RCPT TO:<a@b> SIZE=1", E::UnknownParameter),
        ("DATA x", E::Argument),
        ("BDAT", E::Argument),
        ("BDAT -1", E::Argument),
        ("BDAT +1", E::Argument),
        ("BDAT 1LAST", E::Argument),
        ("BDAT 1 LASTING", E::Argument),
        ("BDAT 18446744073709551616", E::Argument),
        ("VRFY", E::Argument),
        ("NOOP \u{1b}[0m", E::Argument),
    ];
    for (line, error) in table {
        assert_eq!(Command::parse(line.as_bytes()), Err(error), "{line}");
    }
    assert_eq!(Command::parse(b"NOOP \xff"), Err(E::Argument));
}

#[test]
fn secrets_do_not_show_in_debug_text() {
    let command = Command::parse(b"AUTH PLAIN AGpvZQBzM2NyM3Q=").unwrap();
    let text = format!("{command:?}");
    assert!(!text.contains("s3cr3t") && !text.contains("115"), "{text}");
}
