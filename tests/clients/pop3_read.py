#!/usr/bin/env python3
"""Reads every mail of a mailbox by Python's poplib and prints them as JSON, each in base64.

usage: pop3_read.py PORT starttls|implicit CERTIFICATE USER

The password comes from GATEPOST_TEST_PASSWORD.
"""

import base64
import json
import os
import poplib
import ssl
import sys


def main() -> None:
    port, mode, certificate, user = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate)
    if mode == "implicit":
        client = poplib.POP3_SSL("localhost", int(port), timeout=50, context=context)
    else:
        client = poplib.POP3("localhost", int(port), timeout=50)
        assert "STLS" in client.capa()
        client.stls(context=context)
    assert "UIDL" in client.capa()
    client.user(user)
    client.pass_(os.environ["GATEPOST_TEST_PASSWORD"])
    count, octets = client.stat()
    uids = [line.split()[1] for line in client.uidl()[1]]
    assert len(set(uids)) == count, uids
    mails = []
    for number in range(1, count + 1):
        _, lines, _ = client.retr(number)
        mail = b"".join(line + b"\r\n" for line in lines)
        _, top, _ = client.top(number, 0)
        assert mail.startswith(b"".join(line + b"\r\n" for line in top)), "TOP shows the mail's own header"
        mails.append(mail)
    assert sum(map(len, mails)) == octets, "STAT counts what RETR sends"
    client.quit()
    json.dump([base64.b64encode(mail).decode() for mail in mails], sys.stdout)


main()
