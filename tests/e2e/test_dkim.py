#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Signatures: python3-dkim verifies what dkimsign makes of all kinds of messages, however they come
and after what servers may do to them on their way, and what a user's message looks like when it
arrives at another server. (Debian's own Python has that module.)"""
import json
import pathlib
import re
import smtplib
import subprocess

from harness import BIN, Eider, check, client_context, main, wait_for
from peers import Server

DKIMSIGN = BIN.parent / 'tests' / 'tools' / 'dkimsign'
DOMAIN = 'football.example.com'
VERIFY = '''
import json, sys, dkim
records = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()
d = dkim.DKIM(message)
n = message.lower().split(b'\\r\\n\\r\\n')[0].count(b'dkim-signature:')
results = []
for i in range(n):
    try:
        results.append(d.verify(idx=i, dnsfunc=lambda name, timeout=5: records.get(
            name.decode().rstrip('.'), '').encode()))
    except dkim.DKIMException as e:
        results.append(str(e))
print(json.dumps(results))
'''
HEADER = (b'From: Joe <joe@football.example.com>\r\nTo: a@b.example\r\nSubject: hello\r\n'
          b'Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@football.example.com>\r\n')
MESSAGES = [
    HEADER + b'\r\nHi.\r\n',
    HEADER + b'\r\n',
    HEADER,
    HEADER + b'\r\n\r\n\r\n',
    HEADER + b'\r\n  leading\r\ntrailing  \r\n\ttabs\tand  runs   \r\n\r\n\r\n',
    HEADER + b'\r\nno end of line',
    HEADER + b'Received: by x\r\nReceived: by y\r\nCc: c@d.example,\r\n\te@f.example\r\n'
    b'Subject: a second one\r\nX-Other: no\r\n\r\nbody\r\n',
    HEADER + b'List-Id: <l.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n'
    b'\r\n' + 'größe\r\n'.encode() * 1000,
    HEADER + b'References: ' + b'\r\n '.join(b'<%d@example.org>' % i for i in range(200)) + b'\r\n\r\nx\r\n',
    b'FROM:  odd@football.example.com  \r\nsubject:x\r\n\r\n' + b'.\r\n' * 30,
]


def records_of(eider):
    keys = [json.loads(line) for line in eider.cli('dkim', 'show', '--json', DOMAIN).splitlines()]
    return {k['name']: k['record'] for k in keys}


def verify(message, records):
    done = subprocess.run(['/usr/bin/python3', '-c', VERIFY, json.dumps(records)], input=message,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(done.returncode == 0, 'python3-dkim: ' + done.stderr.decode()[-500:])
    return json.loads(done.stdout)


def sign(eider, message, piece=100000):
    done = subprocess.run([str(DKIMSIGN), eider.uri, DOMAIN, str(piece)], input=message,
                          stdout=subprocess.PIPE, check=True)
    return done.stdout


def mangled(message):
    """What servers do that relaxed canonicalisation allows."""
    head, _, body = message.partition(b'\r\n\r\n')
    head = re.sub(rb'(?m)^(Subject|To): *', rb'\1:   ', head)
    return (b'Received: by relay\r\n' + head + b'\r\n\r\n' +
            body.replace(b'\r\n', b' \r\n').replace(b'runs   ', b'runs ') + b'\r\n\r\n')


def test_signatures_verify():
    with Eider('sqlite', start=False) as eider:
        eider.cli('dkim', 'add', DOMAIN)
        records = records_of(eider)
        check(len(records) == 2, records)
        for i, message in enumerate(MESSAGES):
            signed = sign(eider, message, (1, 7, 100000)[i % 3])
            check(signed.endswith(message), 'the message is as it was')
            check(max(map(len, signed[:-len(message)].split(b'\r\n'))) <= 80, 'folded')
            if b'\r\n\r\n' not in message:
                continue            # no more than a header: not every verifier takes that
            results = verify(signed, records)
            expected = [True, True]
            check(results == expected, (message[:200], results))
            check(verify(mangled(signed), records) == expected, (message[-100:], 'on its way'))
            broken = re.sub(rb'(?mi)^(subject:)', rb'\1 x', signed, count=1)
            check(not any(r is True for r in verify(broken, records)), 'a changed subject')
            check(not any(r is True for r in verify(b'From: evil@x\r\n' + signed, records)),
                  'a second From')


def test_rotation():
    with Eider('sqlite', start=False) as eider:
        eider.cli('dkim', 'add', '-a', 'ed25519', '--selector', 'one', DOMAIN)
        text = eider.cli('dkim', 'rotate', '--after', '0', DOMAIN)
        check(text.count('IN TXT') == 1, text)
        status = {k['selector']: k['status'] for k in map(json.loads, eider.cli(
            'dkim', 'list', '--json').splitlines())}
        check(status.pop('one') == 'retired' and list(status.values()) == ['active'], status)
        signed = sign(eider, MESSAGES[0])
        check(signed.count(b'DKIM-Signature') == 1 and b's=one' not in signed, signed)
        check(verify(signed, records_of(eider)) == [True], 'the new one')
        eider.cli('dkim', 'rotate', DOMAIN)
        check(list(status)[0].encode() in sign(eider, MESSAGES[0]), 'the old one, for a day yet')
        eider.cli('dkim', 'delete', DOMAIN, 'one')
        eider.cli('dkim', 'delete', DOMAIN, 'one', status=67)
        eider.cli('dkim', 'add', '--selector', 'two words', DOMAIN, status=64)
        eider.cli('dkim', 'show', 'nothing.example', status=67)


def test_keys_made_elsewhere():
    with Eider('sqlite', start=False) as eider:
        for name, make in (('rsa', ['genrsa', '1024']), ('ed', ['genpkey', '-algorithm', 'ed25519'])):
            path = pathlib.Path(eider.folder) / name
            path.write_bytes(subprocess.run(['openssl', *make], stdout=subprocess.PIPE, check=True,
                                            stderr=subprocess.DEVNULL).stdout)
            eider.cli('dkim', 'add', '--key', str(path), '--selector', name, DOMAIN)
        check(verify(sign(eider, MESSAGES[0]), records_of(eider)) == [True, True], 'both')
        eider.cli('dkim', 'add', '--key', eider.config, DOMAIN, status=65)


def test_users_mail_is_signed(store):
    server = Server()
    settings = (f'sending = {{ routes = ( {{ host = "127.0.0.1"; port = {server.port}; '
                'tls = "none"; } ); };')
    try:
        with Eider(store, settings) as eider:
            joe = eider.account(f'joe@{DOMAIN}')
            eider.cli('dkim', 'add', DOMAIN)
            with smtplib.SMTP('127.0.0.1', eider.submit_port, timeout=60) as client:
                client.starttls(context=client_context())
                client.login(joe.login, joe.password)
                client.sendmail(joe.login, ['ann@elsewhere.example'],
                                (HEADER + b'\r\n.dot\r\nbare\nends\rhere\r\n  \r\n').replace(b'\r\n\r\n', b'\r\nBcc: x@y.example\r\n\r\n', 1))
            wait_for(lambda: server.messages, 60, 'the message at the other server')
            data = server.messages[0].data
            check(verify(data, records_of(eider)) == [True, True], data)
            check(b'Bcc' not in data, 'no Bcc')
    finally:
        server.close()


def test_the_authors_domain_signs_before_the_senders(store):
    """What DMARC compares with From; each message has one signing domain."""
    server = Server()
    settings = (f'sending = {{ routes = ( {{ host = "127.0.0.1"; port = {server.port}; '
                'tls = "none"; } ); };')
    try:
        with Eider(store, settings) as eider:
            joe = eider.account(f'joe@{DOMAIN}')
            for domain in ('shop.example', 'keyless.example'):
                eider.cli('domain', 'add', domain)
                eider.cli('alias', 'add', f'joe@{domain}', joe.login)
            eider.cli('dkim', 'add', DOMAIN)
            eider.cli('dkim', 'add', 'shop.example')
            with smtplib.SMTP('127.0.0.1', eider.submit_port, timeout=60) as client:
                client.starttls(context=client_context())
                client.login(joe.login, joe.password)
                for author, signer in (('Joe <joe@Shop.example>', 'shop.example'),
                                       ('joe@keyless.example', DOMAIN), (joe.login, DOMAIN)):
                    server.messages.clear()
                    client.sendmail(joe.login, ['ann@elsewhere.example'],
                                    f'From: {author}\r\nSubject: x\r\n\r\nhello\r\n')
                    wait_for(lambda: server.messages, 60, 'the message at the other server')
                    data = server.messages[0].data
                    check(set(re.findall(rb'\bd=([^;]+);', data)) == {signer.encode()}, (author, data))
                    records = {k['name']: k['record'] for k in map(json.loads, eider.cli(
                        'dkim', 'show', '--json', signer).splitlines())}
                    check(verify(data, records) == [True, True], data)
    finally:
        server.close()


if __name__ == '__main__':
    main(globals())
