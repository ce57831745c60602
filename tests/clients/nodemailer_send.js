#!/usr/bin/env node
// Sends the mail on standard input by nodemailer, in the clear and without a password.
//
// usage: nodemailer_send.js PORT FROM RECIPIENT...

const nodemailer = require("nodemailer");

const [port, from, ...to] = process.argv.slice(2);
const transport = nodemailer.createTransport({
    host: "127.0.0.1",
    port: Number(port),
    name: "client.example",
    ignoreTLS: true,
});

const parts = [];
process.stdin.on("data", (part) => parts.push(part));
process.stdin.on("end", () => {
    transport
        .sendMail({ envelope: { from, to, use8BitMime: true }, raw: Buffer.concat(parts) })
        .then((told) => {
            if (told.rejected.length > 0) throw new Error(`rejected: ${told.rejected}`);
            console.log(told.response);
        })
        .catch((error) => {
            console.error(error);
            process.exit(1);
        });
});
