//! Scanning by a real ICAP server (c-icap), with the sandbox around the server.

use gatepost_tests::clamd::Clamd;
use gatepost_tests::icap::CIcap;
use gatepost_tests::mail;
use gatepost_tests::setup::Setup;

#[test]
fn what_the_service_finds_is_refused_and_the_rest_is_delivered() {
    let clamd = Clamd::start("");
    let icap = CIcap::start(&clamd);
    let engine = format!(
        "[[scan.engine]]\ntype = \"icap\"\naddress = \"127.0.0.1:{}\"\nservice = \"avscan\"\n",
        icap.port
    );
    let server = Setup::new().sections(&engine).start();
    server.wait_for_log("signatures=\"CI0001");
    let mut smtp = server.smtp_as_me();
    // Within the preview, with a continuation behind it, and larger than any buffer.
    for (name, octets) in [("small", 100), ("preview", 2_000), ("large", 3_000_000)] {
        let mut content = vec![b'x'; octets];
        let clean = mail::with_attachment(name, "clean.bin", &content);
        smtp.mail("me@localhost", &["me@localhost"], &clean).must("250 2.0.0");
        content.extend_from_slice(mail::eicar().as_bytes());
        let infected = mail::with_attachment(name, "eicar.com", &content);
        smtp.mail("me@localhost", &["me@localhost"], &infected).must("554 5.7.1");
    }
    smtp.quit();
    let _ = server.inbox(3);
    assert_eq!(server.metric("gatepost_virus_scan_infected_total"), 3.0);
    assert_eq!(server.metric("gatepost_virus_scan_failures_total"), 0.0);

    let file = server.folder().join("suspect");
    std::fs::write(&file, mail::eicar()).expect("a file");
    let outcome = server.cli(["scan", file.to_str().expect("UTF-8")]).outcome();
    assert!(outcome.text().contains("infected: Test.Eicar.UNOFFICIAL"), "{outcome}");
}
