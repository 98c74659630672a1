#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""URLs with authorization (RFC 4467, 5524) and submission by URL (RFC 4468): made by one, used by
another, on any node."""
import base64
import os
import re
import smtplib
import threading

from harness import Eider, check, client_context, main
from nodes import Nodes
from test_extensions import Talk

NODES = ('test_a_part_is_fetched_and_sent',)
HOST = 'eider.example.org'
HEADER = (b'From: Anna <anna@example.org>\r\nTo: bert@example.org\r\nSubject: %s\r\n'
          b'Date: Mon, 7 Feb 2028 21:52:25 -0800\r\nMessage-ID: <%s@client.example>\r\n')


def draft(subject, data):
    """A message with a large part."""
    lines = base64.encodebytes(data).replace(b'\n', b'\r\n')
    return (HEADER % (subject, subject) + b'MIME-Version: 1.0\r\n'
            b'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee below.\r\n--b\r\n'
            b'Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines + b'--b--\r\n')


def append(talk, mailbox, text):
    end, _ = talk.ask(b'APPEND %s {%d+}\r\n%s' % (mailbox.encode(), len(text), text))
    return int(re.search(r'APPENDUID \d+ (\d+)', end)[1])


def authorize(talk, login, path, access):
    """The whole URL of a path like INBOX/;UID=1."""
    rump = f'imap://{login}@{HOST}/{path};URLAUTH={access}'
    return talk.one(f'GENURLAUTH "{rump}" INTERNAL', rb'\* GENURLAUTH ')[14:-1].decode()


def fetch(talk, url, item=''):
    """What URLFETCH says behind the URL."""
    answer = talk.one(f'URLFETCH ("{url}"{item})', rb'\* URLFETCH ')
    check(answer.startswith(f'* URLFETCH "{url}" '.encode()), f'it names the URL: {answer[:300]}')
    return answer[len(url) + 14:]


def literal(data):
    return b'{%d}\r\n' % len(data) + data


class Sender(smtplib.SMTP):
    """Logged in, in the middle of a transaction."""

    def __init__(self, eider, account, to):
        super().__init__('127.0.0.1', eider.submit_port, 'client.example.org', timeout=60)
        self.starttls(context=client_context())
        self.login(account.login, account.password)
        self.ehlo()
        self.begin(account, to)

    def begin(self, account, to):
        check(self.docmd(f'MAIL FROM:<{account.login}>')[0] == 250, 'MAIL')
        check(self.docmd(f'RCPT TO:<{to}>')[0] == 250, 'RCPT')

    def burl(self, url, last=True):
        code, text = self.docmd(f'BURL {url}' + (' LAST' if last else ''))
        return f'{code} {text.decode()}'


def test_a_part_is_fetched_and_sent(store):
    data = os.urandom(1500000)
    text = draft(b'large', data)
    encoded = text.split(b'base64\r\n\r\n')[1].split(b'\r\n--b--')[0]
    with Eider(store, 'limits = { message_size = "10M"; };') as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        with Talk(eider, anna) as talk, Talk(eider, bert) as other:
            check(talk.has('URLAUTH') and talk.has('URLAUTH=BINARY'), 'capabilities')
            uid = append(talk, 'Drafts', text)
            part = authorize(talk, 'anna%40example.org', f'Drafts/;UID={uid}/;SECTION=2', 'user+bert%40example.org')
            whole = authorize(talk, 'anna%40example.org', f'Drafts/;UID={uid}', 'submit+anna%40example.org')
            check(fetch(other, part) == literal(encoded), 'as it is')
            check(fetch(other, part, ' BINARY') == b'(BINARY ~' + literal(data) + b')', 'decoded')
            check(b'"BINARY" 1500000 ' in fetch(other, part, ' BINARY BODYPARTSTRUCTURE')[:200],
                  'the structure of what is decoded')
            check(fetch(talk, part) == b'NIL', 'it is for Bert')
            check(fetch(other, whole) == b'NIL', 'it is for the submission service')
        with Sender(eider, anna, bert.login) as sender:
            check(sender.esmtp_features['burl'] == f'imap imap://{HOST}', f'{sender.esmtp_features}')
            check(sender.burl(whole).startswith('250 2.0.0 Accepted'), 'it is sent')
        with Sender(eider, bert, bert.login) as sender:
            check(sender.burl(whole) == '554 5.7.0 IMAP URL authorization failed', 'not by Bert')
        eider.stop()
        eider.start()
        with Talk(eider, bert) as talk:
            check(fetch(talk, part) == literal(encoded), 'after a restart')
            talk.ask('SELECT INBOX')
            got = talk.one('FETCH 1 BODY.PEEK[]', rb'\* 1 FETCH ')
            check(text in got, 'the message that was sent')


def test_pieces_are_put_together(store):
    with Eider(store) as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        text = draft(b'pieces', b'0123456789')
        with Talk(eider, anna) as talk:
            uid = append(talk, 'Drafts', text)
            url = authorize(talk, 'anna%40example.org', f'Drafts/;UID={uid}/;SECTION=2', 'submit+anna%40example.org')
        with Sender(eider, anna, bert.login) as sender:
            head = HEADER % (b'new', b'new') + b'MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n'
            sender.send(b'BDAT %d\r\n' % len(head) + head)
            check(sender.getreply()[0] == 250, 'BDAT')
            check(sender.burl(url, last=False) == f'250 2.5.0 {len(head) + 16} octets so far', 'BURL')
            sender.send(b'BDAT 2 LAST\r\n\r\n')
            check(sender.getreply()[0] == 250, 'BDAT LAST')
        with Talk(eider, bert) as talk:
            talk.ask('SELECT INBOX')
            got = talk.one('FETCH 1 BINARY.PEEK[1]', rb'\* 1 FETCH ')
            check(got.endswith(literal(b'0123456789') + b')'), f'the part: {got}')


def test_what_is_refused():
    settings = 'limits = { message_size = "64K"; };'
    with Eider('sqlite', settings) as eider:
        anna = eider.account('anna@example.org')
        with Talk(eider, anna) as talk:
            uid = append(talk, 'Drafts', draft(b'x', b'y' * 30000))
            own = f'imap://{HOST}/Drafts/;UID={uid}'
            urls = [own, own + '/;SECTION=1', own.replace(HOST, 'other.example'), own.replace('Drafts', 'None')]
        with Sender(eider, anna, anna.login) as sender:
            check(sender.burl(urls[0], last=False).startswith('250 2.5.0 '), 'fits')
            check(sender.burl(urls[0]) == '554 5.3.4 Message too big for system', 'does not fit any more')
            check(sender.docmd('DATA')[0] == 503, 'the transaction is over')
            for url, reply in ((urls[2], '554 5.7.8 '), (urls[3], '554 5.6.6 '), ('ftp://x/', '554 5.6.6 ')):
                sender.begin(anna, anna.login)
                check(sender.burl(url).startswith(reply), f'{url} is {reply}')
            sender.begin(anna, anna.login)
            for n in range(100):
                check(sender.burl(urls[1], last=False).startswith('250 '), f'piece {n}')
            check(sender.burl(urls[1]).startswith('452 4.5.3 '), 'too many pieces')


def test_keys_are_secret_and_told_over_tls_only():
    with Eider('sqlite') as eider:
        anna = eider.account('anna@example.org')
        with Talk(eider, anna) as talk:
            check(b'* OK [URLMECH INTERNAL] For URLs' in talk.ask('SELECT INBOX')[1], 'over TLS')
            check('[URLMECH INTERNAL]' in talk.ask('RESETKEY INBOX')[0], 'RESETKEY')
            authorize(talk, 'anna%40example.org', 'INBOX/;UID=1', 'authuser')
        with eider.imap(anna, tls=False) as plain:
            plain.select()
            check(plain.response('URLMECH')[1] == [None], 'not without')
            check(b'URLMECH' not in plain.xatom('RESETKEY', 'INBOX')[1][0], 'nor by RESETKEY')
        for arguments in (['log', anna.login], ['log', anna.login, '--json']):
            out = eider.cli(*arguments)
            check(out.count('urlauth') == 3 and out.count('(hidden)') == 3, out)
            check(not re.search('[0-9a-f]{64}', out), 'no secret is shown')


def test_made_here_and_fetched_there():
    """No node needs a hint to know a key, or to know that it is another one."""
    with Nodes(settings='mail = { poll_interval = "1h"; };') as both:
        here, there = both.nodes
        anna = both.account('anna@example.org')
        with Talk(here, anna) as talk, Talk(there, anna) as other:
            uid = append(talk, 'Drafts', draft(b'x', b'y'))
            path = f'Drafts/;UID={uid}/;SECTION=1'
            for _ in range(10):
                url = authorize(talk, 'anna%40example.org', path, 'authuser')
                check(fetch(other, url) == literal(b'See below.'), 'made here')
                other.ask('RESETKEY Drafts')
                check(fetch(talk, url) == b'NIL', 'the mailbox has another key')
                url = authorize(other, 'anna%40example.org', path, 'authuser')
                check(fetch(talk, url) == literal(b'See below.'), 'made there')
                talk.ask('RESETKEY')
                check(fetch(other, url) == b'NIL', 'the account has another secret')
        with Talk(here, anna) as talk:
            url = authorize(talk, 'anna%40example.org', f'Drafts/;UID={uid}', 'submit+anna%40example.org')
        with Sender(there, anna, anna.login) as sender:
            check(sender.burl(url).startswith('250 '), 'sent there')


def test_two_nodes_make_the_first_key_at_once():
    with Nodes() as both:
        for n in range(5):
            account = both.account(f'user{n}@example.org')
            talks = [Talk(node, account) for node in both.nodes for _ in range(3)]
            append(talks[0], 'INBOX', draft(b'x', b'y'))
            gate, urls = threading.Barrier(len(talks)), []

            def make(talk):
                gate.wait()
                urls.append(authorize(talk, f'user{n}%40example.org', 'INBOX/;UID=1/;SECTION=1', 'authuser'))

            threads = [threading.Thread(target=make, args=[talk]) for talk in talks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            check(len(urls) == len(talks) and len(set(urls)) == 1, f'all have the one key: {urls}')
            for talk in talks:
                check(fetch(talk, urls[0]) == literal(b'See below.'), 'and it is good')
                talk.imap.shutdown()


if __name__ == '__main__':
    main(globals())
