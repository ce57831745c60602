use std::time::{Duration, Instant};

use super::*;
use crate::scan::samples::{attachment, base64_lines, eicar, message, multipart, zip};
use crate::scan::{Finding, POLICY_VERSION, inspect};

fn built_in() -> Arc<YaraEngine> {
    YaraEngine::start(None).unwrap()
}

fn scan(octets: &[u8]) -> Verdict {
    built_in().scan(octets, Instant::now() + Duration::from_secs(30))
}

fn infected(threat: &str) -> Verdict {
    Verdict::Infected { threat: threat.to_owned() }
}

#[test]
fn the_test_file_is_found_in_every_wrapping() {
    let virus = eicar();
    let in_zip = zip(&[("readme.txt", b"harmless"), ("eicar.com", &virus)]);
    let nested = multipart(&[("Content-Type: message/rfc822\r\n", attachment("x.com", &virus))]);
    let coded = multipart(&[(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n",
        base64_lines(&attachment("x.zip", &in_zip)),
    )]);
    let escaped: String = virus.iter().map(|octet| format!("={octet:02X}")).collect();
    let wide: Vec<u8> = virus.iter().flat_map(|octet| [*octet, 0]).collect();
    let messages = [
        ("plain", message("", &virus)),
        ("base64", attachment("eicar.com", &virus)),
        ("quoted-printable", message("Content-Transfer-Encoding: quoted-printable\r\n", escaped.as_bytes())),
        ("UTF-16", attachment("eicar.txt", &wide)),
        ("zip", attachment("eicar.zip", &in_zip)),
        ("zip in zip", attachment("eicar.zip", &zip(&[("inner.zip", &in_zip)]))),
        ("nested message", nested),
        ("encoded nested message", coded),
    ];
    let engine = built_in();
    for (wrapping, message) in messages {
        let inspection = inspect(&*engine, &message, Duration::from_secs(30));
        assert_eq!(inspection.verdict, infected("EICAR_Test_File"), "{wrapping}");
    }
}

#[test]
fn harmless_mail_is_clean() {
    let html = b"<html><script>var a = atob('aGVsbG8='); new Blob([a]);</script></html>";
    let ole = [&b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..], b"AutoOpen MsgBox"].concat();
    let rtf = br"{\rtf1{\object\objemb{\*\objclass Equation.3}}}";
    let parts: Vec<(&str, Vec<u8>)> =
        [&html[..], &ole, rtf, b"powershell and certutil", b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE"]
            .map(|octets| ("Content-Transfer-Encoding: base64\r\n", base64_lines(octets)))
            .to_vec();
    let inspection = inspect(&*built_in(), &multipart(&parts), Duration::from_secs(30));
    assert_eq!(inspection.verdict, Verdict::Clean);
    let expected_items = 2 + 1 + parts.len();
    assert_eq!(inspection.findings.len(), expected_items);
}

#[test]
fn each_built_in_rule_finds_what_it_describes() {
    let ole =
        [&b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..], b"Sub Document_Open URLDownloadToFile WScript.Shell"]
            .concat();
    assert_eq!(scan(&ole), infected("OLE_Macro_Downloads_On_Open"));

    let rtf = br"{\rt{\object\objupdate{\*\objdata 4571756174696F6E2E33}}}";
    assert_eq!(scan(rtf), infected("RTF_Equation_Object_Updates_On_Open"));

    let command: Vec<u8> = "PowerShell -enc AA".bytes().flat_map(|octet| [octet, 0]).collect();
    let shortcut = [&b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46"[..], &command].concat();
    assert_eq!(scan(&shortcut), infected("LNK_Starts_Interpreter"));

    let payload = "A".repeat(200);
    let page = format!(
        "<SCRIPT>var f = \"UEsDB{payload}\"; var b = new Blob([atob(f)]); a.href = URL.createObjectURL(b)</SCRIPT>"
    );
    assert_eq!(scan(page.as_bytes()), infected("HTML_Smuggles_Program"));
}

#[test]
fn a_scan_without_time_has_no_verdict() {
    assert_eq!(built_in().scan(b"x", Instant::now()), Verdict::TimedOut);
}

#[test]
fn a_rules_folder_adds_to_the_built_in_rules_and_changes_the_version() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ignored.txt"), "no rules").unwrap();
    let bare = YaraEngine::start(Some(folder.path())).unwrap();
    assert_eq!(bare.identity(), built_in().identity());

    std::fs::write(folder.path().join("own.yar"), rule("Own_Find", "needle")).unwrap();
    assert!(matches!(bare.reload_if_changed(), Reload::Replaced));
    assert_ne!(bare.identity(), built_in().identity());
    assert_eq!(bare.scan(b"a needle", far()), infected("Own_Find"));
    assert_eq!(bare.scan(&eicar(), far()), infected("EICAR_Test_File"));
    assert!(matches!(bare.reload_if_changed(), Reload::Unchanged));

    std::fs::remove_file(folder.path().join("own.yar")).unwrap();
    assert!(matches!(bare.reload_if_changed(), Reload::Replaced));
    assert_eq!(bare.identity(), built_in().identity());
}

#[test]
fn a_faulty_rule_file_keeps_the_old_rules_and_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.yar"), rule("Own_Find", "needle")).unwrap();
    let engine = YaraEngine::start(Some(folder.path())).unwrap();
    let before = engine.identity();

    std::fs::write(folder.path().join("bad.yara"), "rule a {\n condition: nonsense\n}").unwrap();
    let Reload::Kept(error) = engine.reload_if_changed() else { panic!("a faulty file was taken") };
    assert!(error.to_string().contains("bad.yara:2:"), "{error}");
    assert_eq!(engine.identity(), before);
    assert_eq!(engine.scan(b"a needle", far()), infected("Own_Find"));
    // Said once, not at every look.
    assert!(matches!(engine.reload_if_changed(), Reload::Unchanged));

    let refused = YaraEngine::start(Some(folder.path())).unwrap_err();
    assert!(refused.to_string().contains("bad.yara:2:"), "{refused}");

    std::fs::remove_file(folder.path().join("bad.yara")).unwrap();
    assert!(matches!(engine.reload_if_changed(), Reload::Replaced));
}

#[test]
fn an_include_cannot_reach_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yar"), "include \"/etc/passwd\"\n").unwrap();
    assert!(matches!(YaraEngine::start(Some(folder.path())), Err(StartError::Rules(RulesError::Faulty(_)))));
}

#[test]
fn rules_of_one_name_in_two_files_do_not_collide() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yar"), rule("Same", "first")).unwrap();
    std::fs::write(folder.path().join("b.yar"), rule("Same", "second")).unwrap();
    let engine = YaraEngine::start(Some(folder.path())).unwrap();
    assert_eq!(engine.scan(b"second", far()), infected("Same"));
}

#[test]
fn the_watching_thread_does_not_keep_the_engine_alive() {
    let folder = tempfile::tempdir().unwrap();
    let engine = YaraEngine::start(Some(folder.path())).unwrap();
    let weak = Arc::downgrade(&engine);
    drop(engine);
    assert!(weak.upgrade().is_none());
}

#[test]
fn an_inspection_reads_well() {
    let engine = built_in();
    let inspection = inspect(&*engine, &attachment("eicar.com", &eicar()), Duration::from_secs(30));
    let Finding { name, octets, verdict } = inspection.findings.last().unwrap();
    assert_eq!(name.as_str(), "message (multipart/mixed) > part 2 (application/octet-stream eicar.com)");
    assert_eq!((*octets, verdict), (Some(68), &infected("EICAR_Test_File")));
    let text = inspection.to_string();
    assert!(text.contains("part 1: clean (7 octets)"), "{text}");
    assert!(text.contains("verdict: infected: EICAR_Test_File\n"), "{text}");
    let stamp = format!("scanned with yara/{}/{POLICY_VERSION}\n", engine.identity().signatures());
    assert!(text.ends_with(&stamp), "{text}");
}

fn rule(name: &str, text: &str) -> String {
    format!("rule {name} {{ strings: $a = \"{text}\" condition: $a }}")
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
