// SPDX-License-Identifier: MPL-2.0
// usage: imapflow.js PORT LOGIN PASSWORD (NODE_PATH leads to imapflow; see test_imapflow.py)
'use strict';
const assert = require('assert');
const { ImapFlow } = require('imapflow');

const [port, user, pass] = process.argv.slice(2);
const TEXT = 'From: Anna <anna@example.org>\r\nTo: bert@example.org\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n' +
    'Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n' +
    '--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u00fc\u00dfe\r\n' +
    '--x\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n' +
    'Content-Disposition: attachment; filename=a.bin\r\n\r\nAAECAwQFBgcICQ==\r\n--x--\r\n';

function ok(what) {
    console.log('ok ' + what);
}

async function readAll(stream) {
    const chunks = [];
    for await (const chunk of stream) {
        chunks.push(chunk);
    }
    return Buffer.concat(chunks);
}

async function mailboxes(client) {
    const list = await client.list({ statusQuery: { messages: true, uidNext: true } });
    const inbox = list.find(box => box.path === 'INBOX');
    assert.strictEqual(inbox.status.messages, 1);
    for (const use of ['\\Sent', '\\Drafts', '\\Trash', '\\Junk', '\\Archive']) {
        assert(list.some(box => box.specialUse === use), use);
    }
    ok('list');
}

async function writeAndRead(client) {
    const appended = await client.append('INBOX', TEXT, ['\\Flagged', '$Label1'], new Date('2021-02-05T12:00:00Z'));
    assert.strictEqual(appended.uid, 2);
    ok('append');
    const got = await client.fetchOne('2', { uid: true, flags: true, envelope: true, bodyStructure: true,
        internalDate: true, size: true, source: true, threadId: true }, { uid: true });
    assert.strictEqual(got.source.toString(), TEXT);
    assert.strictEqual(got.envelope.subject, 'Gr\u00fc\u00dfe');
    assert.strictEqual(got.envelope.from[0].address, 'anna@example.org');
    assert.strictEqual(got.bodyStructure.childNodes.length, 2);
    assert.strictEqual(got.bodyStructure.childNodes[1].dispositionParameters.filename, 'a.bin');
    assert.strictEqual(got.size, Buffer.byteLength(TEXT));
    assert(got.flags.has('\\Flagged') && got.flags.has('$Label1'));
    assert.strictEqual(new Date(got.internalDate).getTime(), Date.parse('2021-02-05T12:00:00Z'));
    ok('fetch');
    const whole = await client.download('2', undefined, { uid: true });
    assert.strictEqual((await readAll(whole.content)).toString(), TEXT);
    const part = await client.download('2', '2', { uid: true });
    assert.deepStrictEqual(await readAll(part.content), Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    assert.strictEqual(part.meta.filename, 'a.bin');
    ok('download');
    assert.deepStrictEqual(await client.search({ flagged: true }, { uid: true }), [2]);
    assert.deepStrictEqual(await client.search({ subject: 'Gr\u00fc\u00dfe' }, { uid: true }), [2]);
    assert.deepStrictEqual(await client.search({ all: true }, { uid: true }), [1, 2]);
    assert.deepStrictEqual(await client.search({ before: new Date('2021-06-01') }, { uid: true }), [2]);
    ok('search');
}

async function change(client) {
    await client.messageFlagsAdd('1', ['\\Seen', '$Done'], { uid: true });
    await client.messageFlagsRemove('2', ['\\Flagged'], { uid: true });
    await client.messageFlagsSet('2', ['\\Answered'], { uid: true });
    const flags = async uid => [...(await client.fetchOne(uid, { flags: true }, { uid: true })).flags].sort();
    assert.deepStrictEqual(await flags('1'), ['$Done', '\\Seen']);
    assert.deepStrictEqual(await flags('2'), ['\\Answered']);
    ok('flags');
    const copied = await client.messageCopy('1:2', 'Archive', { uid: true });
    assert.deepStrictEqual([...copied.uidMap], [[1, 1], [2, 2]]);
    ok('copy');
    const moved = await client.messageMove('2', 'Trash', { uid: true });
    assert.strictEqual(moved.uidMap.get(2), 1);
    assert.strictEqual(client.mailbox.exists, 1);
    ok('move');
    assert(await client.messageDelete('1', { uid: true }));
    assert.strictEqual(client.mailbox.exists, 0);
    ok('delete');
}

async function waitForNews(client) {
    const news = new Promise(resolve => client.once('exists', resolve));
    client.idle();
    setTimeout(() => console.log('idling'), 200);
    const event = await news;
    assert.strictEqual(event.count, 1);
    assert.strictEqual(event.path, 'INBOX');
    const got = await client.fetchOne('*', { envelope: true });
    assert.strictEqual(got.envelope.subject, 'news');
    ok('idle');
}

async function hearOfDeletion(client) {
    const other = new ImapFlow(options());
    await other.connect();
    await other.mailboxOpen('INBOX');
    const gone = new Promise(resolve => client.once('expunge', resolve));
    client.idle();
    await other.messageDelete('1');
    const event = await gone;
    assert(event.seq === 1 || event.uid === 3);
    await other.logout();
    ok('gone');
}

async function folders(client) {
    const created = await client.mailboxCreate(['Pl\u00e4ne', '2024 & 2025']);
    assert.strictEqual(created.created, true);
    await client.mailboxSubscribe(created.path);
    assert((await client.list()).some(box => box.path === 'Pl\u00e4ne/2024 & 2025' && box.subscribed));
    await client.mailboxRename('Pl\u00e4ne', 'Alt');
    assert((await client.list()).some(box => box.path === 'Alt/2024 & 2025'));
    await client.mailboxDelete('Alt/2024 & 2025');
    assert(!(await client.list()).some(box => box.path === 'Alt/2024 & 2025'));
    ok('mailboxes');
}

function options() {
    return { host: '127.0.0.1', port: Number(port), secure: true, auth: { user, pass },
        tls: { rejectUnauthorized: false }, logger: false };
}

async function main() {
    const client = new ImapFlow(options());
    await client.connect();
    ok('connect');
    await mailboxes(client);
    const lock = await client.getMailboxLock('INBOX');
    await writeAndRead(client);
    await change(client);
    await waitForNews(client);
    await hearOfDeletion(client);
    lock.release();
    await folders(client);
    await client.logout();
    ok('logout');
}

main().catch(error => {
    console.log(error.stack, error.responseText || '');
    process.exit(1);
});
