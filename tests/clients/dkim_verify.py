#!/usr/bin/python3
"""Verifies every DKIM signature of the mail on standard input by dkimpy, and prints how many there are.

usage: dkim_verify.py NAME RECORD [NAME RECORD]...

These are all the TXT records that there are in the world.
"""

import sys

import dkim


def main() -> None:
    arguments = iter(sys.argv[1:])
    records = {(name + ".").encode(): record.encode() for name, record in zip(arguments, arguments)}
    mail = sys.stdin.buffer.read()
    checked = dkim.DKIM(mail)
    count = sum(1 for name, _ in checked.headers if name.lower() == b"dkim-signature")
    for number in range(count):
        good = dkim.DKIM(mail).verify(idx=number, dnsfunc=lambda name, timeout=5: records.get(name))
        assert good, f"signature {number} does not verify"
    print(count)


main()
