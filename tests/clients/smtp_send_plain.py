#!/usr/bin/env python3
"""Sends the mail on standard input by Python's smtplib, in the clear and without a password.

usage: smtp_send_plain.py PORT FROM RECIPIENT...
"""

import smtplib
import sys


def main() -> None:
    port, sender, *recipients = sys.argv[1:]
    with smtplib.SMTP("127.0.0.1", int(port), local_hostname="client.example", timeout=50) as client:
        client.ehlo()
        refused = client.sendmail(sender, recipients, sys.stdin.buffer.read(), mail_options=["BODY=8BITMIME"])
        assert refused == {}, refused


main()
