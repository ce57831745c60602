#!/usr/bin/env python3
"""Reads the notification on standard input by Python's email package and prints what it says as JSON.

Anything that the parser would only let pass with a complaint is an error.
"""

import email
import email.policy
import json
import sys


def fields(block) -> dict:
    return {name: " ".join(str(value).split()) for name, value in block.items()}


def blocks(status) -> list:
    """Of `message/global-delivery-status` the parser knows the first block alone; the others are that one's body."""
    if status.get_content_type() == "message/delivery-status":
        return status.get_payload()
    message = status.get_payload(0)
    rest = message.get_payload().strip().split("\n\n")
    return [message] + [email.message_from_string(block, policy=email.policy.default) for block in rest]


def main() -> None:
    report = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
    assert report.get_content_type() == "multipart/report", report.get_content_type()
    assert report.get_param("report-type") == "delivery-status"
    for part in report.walk():
        assert not part.defects, part.defects
    text, status, returned = report.iter_parts()
    message, *recipients = blocks(status)
    json.dump(
        {
            "head": fields(report),
            "text": text.get_content(),
            "status": status.get_content_type(),
            "message": fields(message),
            "recipients": [fields(recipient) for recipient in recipients],
            "returned": returned.get_content_type(),
            "original": returned.get_payload(0).as_string()
            if returned.get_content_maintype() == "message"
            else returned.get_content(),
        },
        sys.stdout,
    )


main()
