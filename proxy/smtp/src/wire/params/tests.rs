use super::*;

#[test]
fn every_parameter_of_mail_is_read() {
    let text = " SIZE=1000 BODY=8BITMIME SMTPUTF8 REQUIRETLS AUTH=a+2Bb@x.example RET=HDRS ENVID=QQ+2B1";
    let params = MailParams::parse(text).unwrap();
    assert_eq!(params.size, Some(1000));
    assert_eq!(params.auth, Some(AuthParam::Submitter("a+b@x.example".parse().unwrap())));
    assert_eq!(params.envid.as_deref(), Some("QQ+1"));
    assert_eq!(params.to_string(), text);
}

#[test]
fn every_parameter_of_rcpt_is_read() {
    let text = " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+20b@x.example";
    let params = RcptParams::parse(text).unwrap();
    assert_eq!(params.notify, Some(Notify::On { success: true, failure: false, delay: true }));
    assert_eq!(params.orcpt.as_ref().unwrap().address, "a b@x.example");
    assert_eq!(params.to_string(), text);
    let unitext = " ORCPT=utf-8;jörg@x.example";
    assert_eq!(RcptParams::parse(unitext).unwrap().to_string(), unitext);
}

#[test]
fn malformed_and_repeated_parameters_are_told_from_unknown_ones() {
    let long_envid = format!(" ENVID={}", "a".repeat(101));
    let malformed = [
        " ",
        "  SIZE=1",
        " SIZE=1 ",
        "SIZE=1",
        " SIZE",
        " SIZE=",
        " SIZE=+1",
        " SIZE=-1",
        " SIZE=0x1",
        " SIZE=18446744073709551616",
        " SIZE=000000000000000000001",
        " SIZE=1 size=2",
        " BODY=9BIT",
        " SMTPUTF8=1",
        " AUTH=joe",
        " AUTH=a+2b@x",
        " RET=SOME",
        " ENVID=+0D+0A",
        " =1",
        " SIZE=1=2",
        &long_envid,
    ];
    for text in malformed {
        assert_eq!(MailParams::parse(text), Err(ParamError::Malformed), "{text}");
    }
    for text in [
        " NOTIFY=",
        " NOTIFY=NEVER,DELAY",
        " NOTIFY=,",
        " ORCPT=x",
        " ORCPT=;x",
        " ORCPT=a b;x",
        " ORCPT=rfc822;ü",
    ] {
        assert_eq!(RcptParams::parse(text), Err(ParamError::Malformed), "{text}");
    }
    assert_eq!(MailParams::parse(" FOO"), Err(ParamError::Unknown));
    assert_eq!(MailParams::parse(" NOTIFY=NEVER"), Err(ParamError::Unknown));
    assert_eq!(RcptParams::parse(" SIZE=1"), Err(ParamError::Unknown));
}

#[test]
fn an_original_recipient_that_is_utf_8_under_the_name_of_rfc822_is_taken_for_what_it_is() {
    let read = |text: &str| RcptParams::parse(text).map(|params| params.to_string());
    let as_utf8 = Ok(r" ORCPT=utf-8;b\x{FC}ch\x{2B}er@localhost".to_owned());
    assert_eq!(read(" ORCPT=rfc822;b+C3+BCch+2Ber@localhost"), as_utf8);
    assert_eq!(as_utf8.as_deref().map(read), Ok(as_utf8.clone()), "what was written is read again");
    let long = format!(" ORCPT=rfc822;b+C3+BC{}@localhost", "+2B".repeat(100));
    for bad in [" ORCPT=rfc822;b+FCcher@localhost", " ORCPT=rfc822;b+C3+BC+0Acher@localhost", &long] {
        assert_eq!(read(bad), Err(ParamError::Malformed), "{bad}");
    }
}
