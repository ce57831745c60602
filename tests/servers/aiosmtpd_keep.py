#!/usr/bin/python3
"""Takes mails by aiosmtpd and keeps each as a file of JSON.

usage: aiosmtpd_keep.py PORT FOLDER
"""

import asyncio
import base64
import itertools
import json
import os
import sys

from aiosmtpd.smtp import SMTP


class Server(SMTP):
    # Its own limit is that of RFC 5321, which much real mail exceeds.
    line_length_limit = 1024 * 1024


class Keeper:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.numbers = itertools.count(1)

    async def handle_DATA(self, server, session, envelope) -> str:
        mail = {
            "sender": envelope.mail_from,
            "parameters": envelope.mail_options,
            "recipients": envelope.rcpt_tos,
            "octets": base64.b64encode(envelope.content).decode(),
        }
        path = os.path.join(self.folder, f"{next(self.numbers):06}.json")
        with open(path + ".new", "w", encoding="ascii") as file:
            json.dump(mail, file)
        os.rename(path + ".new", path)
        return "250 kept"


async def main() -> None:
    port, folder = sys.argv[1:]
    keeper = Keeper(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(keeper, hostname="behind.example", enable_SMTPUTF8=True, data_size_limit=64 * 1024 * 1024),
        "127.0.0.1",
        int(port),
    )
    await server.serve_forever()


asyncio.run(main())
