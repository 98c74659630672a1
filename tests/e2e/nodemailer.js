// SPDX-License-Identifier: MPL-2.0
// nodemailer sends; called by test_submit.py: node nodemailer.js STARTTLS-PORT TLS-PORT USER PASSWORD TO
// Says "ok WHAT" for each thing that held, and "url URL" for what getTestMessageUrl makes of the reply.
'use strict';
const nodemailer = require('nodemailer');
const [port, tlsPort, user, pass, to] = process.argv.slice(2);

function transport(more) {
    return nodemailer.createTransport({
        host: '127.0.0.1', auth: { user, pass }, tls: { rejectUnauthorized: false }, ...more });
}

async function main() {
    const plain = transport({ port: Number(port), secure: false, requireTLS: true });
    await plain.verify();
    console.log('ok verify');

    const info = await plain.sendMail({
        from: user, to, bcc: user, subject: 'Grüße von nodemailer', text: 'Hallo\n.\n..Punkt\n', html: '<b>Hallo</b>',
        attachments: [{ filename: 'a.bin', content: Buffer.alloc(300000, 7) }],
        dsn: { id: 'some-id', return: 'headers', notify: ['failure', 'delay'], recipient: to },
    });
    if (info.rejected.length === 0 && info.accepted.length === 2)
        console.log('ok send');
    console.log('reply ' + info.response);
    if (nodemailer.getTestMessageUrl(info))
        console.log('url ' + nodemailer.getTestMessageUrl(info));

    const pool = transport({ port: Number(tlsPort), secure: true, pool: true, maxConnections: 2 });
    await Promise.all([...Array(10).keys()].map(
        i => pool.sendMail({ from: user, to, subject: `number ${i}`, text: 'x' })));
    pool.close();
    console.log('ok pool');

    try {
        await plain.sendMail({ from: 'somebody@else.example', to, subject: 'x', text: 'x' });
        console.log('ok forged');
    } catch (e) {
        if (e.responseCode === 550)
            console.log('ok refused');
    }

    try {
        await transport({ port: Number(tlsPort), secure: true, auth: { user, pass: 'wrong' } }).verify();
    } catch (e) {
        if (e.code === 'EAUTH')
            console.log('ok password');
    }
}

main().catch(e => { console.log(`failed: ${e.stack}`); process.exitCode = 1; });
