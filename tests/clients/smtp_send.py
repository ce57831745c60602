#!/usr/bin/env python3
"""Sends the mail on standard input by Python's smtplib.

usage: smtp_send.py PORT starttls|implicit CERTIFICATE USER MECHANISM UTF8 RECIPIENT...

MECHANISM is PLAIN or LOGIN, UTF8 is utf8 or ascii. The password comes from GATEPOST_TEST_PASSWORD.
"""

import os
import smtplib
import ssl
import sys


def main() -> None:
    port, mode, certificate, user, mechanism, utf8, *recipients = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate)
    if mode == "implicit":
        client = smtplib.SMTP_SSL("localhost", int(port), local_hostname="client.example", timeout=50, context=context)
    else:
        client = smtplib.SMTP("localhost", int(port), local_hostname="client.example", timeout=50)
        client.starttls(context=context)
    with client:
        client.ehlo()
        client.user, client.password = user, os.environ["GATEPOST_TEST_PASSWORD"]
        code, text = client.auth(mechanism, getattr(client, "auth_" + mechanism.lower()))
        assert code == 235, (code, text)
        options = ["BODY=8BITMIME"] + (["SMTPUTF8"] if utf8 == "utf8" else [])
        refused = client.sendmail(user, recipients, sys.stdin.buffer.read(), mail_options=options)
        assert refused == {}, refused


main()
