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

async function until(condition, what) {
    for (let i = 0; i < 500; i++) {
        if (condition()) {
            return;
        }
        await new Promise(resolve => setTimeout(resolve, 20));
    }
    throw new Error('not in time: ' + what);
}

function watch(client) {
    const seen = { flags: new Map(), gone: [], earlier: 0 };
    client.on('flags', event => seen.flags.set(event.uid, [...event.flags].sort()));
    client.on('expunge', event => {
        assert(event.vanished);
        seen.gone.push(event.uid);
        seen.earlier += event.earlier ? 1 : 0;
    });
    return seen;
}

// A client that was away learns what changed, all of it and nothing else (RFC 7162 section 3.2.5).
async function resync(client) {
    for (let i = 1; i <= 6; i++) {
        await client.append('Junk', `Subject: j${i}\r\n\r\nx\r\n`);
    }
    const away = new ImapFlow({ ...options(), qresync: true });
    await away.connect();
    assert(away.enabled.has('QRESYNC'));
    const known = await away.mailboxOpen('Junk');
    await away.logout();
    await client.mailboxOpen('Junk');
    await client.messageFlagsAdd('2', ['\\Flagged'], { uid: true });
    await client.messageDelete('3:4', { uid: true });
    await client.append('Junk', 'Subject: j7\r\n\r\nx\r\n', ['\\Seen']);
    const back = new ImapFlow({ ...options(), qresync: true });
    await back.connect();
    const seen = watch(back);
    const now = await back.mailboxOpen('Junk',
        { changedSince: known.highestModseq, uidValidity: known.uidValidity });
    assert(now.qresync);
    assert.strictEqual(now.exists, 5);
    assert(now.highestModseq > known.highestModseq);
    assert.deepStrictEqual(seen.gone.sort(), [3, 4]);
    assert.strictEqual(seen.earlier, 2);
    assert.deepStrictEqual([...seen.flags], [[2, ['\\Flagged']], [7, ['\\Seen']]]);
    const changed = [];
    for await (const message of back.fetch('1:*', { uid: true, flags: true },
        { uid: true, changedSince: known.highestModseq })) {
        changed.push(message.uid);
    }
    assert.deepStrictEqual(changed, [2, 7]);
    ok('resync');
    await hearByUid(client, back, seen);
    await back.logout();
}

// In IDLE, by VANISHED and FETCH with MODSEQ.
async function hearByUid(client, back, seen) {
    seen.gone.length = 0;
    back.idle();
    await until(() => back.idling, 'IDLE');
    await client.messageDelete('1,6', { uid: true });
    await until(() => seen.gone.length === 2, 'VANISHED');
    assert.deepStrictEqual(seen.gone.sort(), [1, 6]);
    await client.messageFlagsAdd('5', ['$Late'], { uid: true });
    await until(() => seen.flags.has(5), 'FETCH');
    assert.deepStrictEqual(seen.flags.get(5), ['$Late']);
    ok('vanished');
}

async function extensions(client) {
    assert(client._deflate && client._inflate);
    ok('compress');
    const all = await client.getQuota('INBOX');
    assert(all && all.path === 'INBOX');
    ok('quota');
    assert.deepStrictEqual(await client.search({ or: [{ subject: 'j2' }, { subject: 'j7' }],
        flagged: true }, { uid: true }), [2]);
    const got = await client.fetchOne('2', { uid: true, threadId: true }, { uid: true });
    assert(got.emailId && got.threadId);
    ok('objects');
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
    await resync(client);
    await extensions(client);
    await client.logout();
    ok('logout');
}

main().catch(error => {
    console.log(error.stack, error.responseText || '');
    process.exit(1);
});
