#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Submission as clients do it: smtplib, swaks, msmtp, curl, nodemailer, and raw bytes."""
import email
import os
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import tempfile

from harness import ROOT, Eider, check, client_context, main
from test_lmtp import messages

NODEMAILER = 'nodemailer@10.6.1'
CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')) / 'eider'


def header(subject, sender='anna@example.org', to='bert@example.org'):
    return (f'From: Anna <{sender}>\r\nTo: {to}\r\nSubject: {subject}\r\n'
            'Date: Mon, 7 Feb 2028 21:52:25 -0800\r\n'
            f'Message-ID: <{subject.replace(" ", ".")}@client.example>\r\n').encode()


class Client(smtplib.SMTP):
    """Logged in, after STARTTLS."""

    def __init__(self, eider, account, port=None):
        super().__init__('127.0.0.1', port or eider.submit_port, 'client.example.org', timeout=60)
        self.starttls(context=client_context())
        self.login(account.login, account.password)


class Raw:
    """Bytes as they are, over TLS, logged in."""

    def __init__(self, eider, account):
        plain = socket.create_connection(('127.0.0.1', eider.submits_port), 60)
        self.socket = client_context().wrap_socket(plain, server_hostname='localhost')
        self.file = self.socket.makefile('rb')
        secret = f'\0{account.login}\0{account.password}'.encode()
        check(self.reply().startswith(b'220 '), 'it greets')
        check(self.say(b'EHLO client.example.org').startswith(b'250'), 'EHLO')
        check(self.say(b'AUTH PLAIN ' + __import__('base64').b64encode(secret)).startswith(b'235'), 'AUTH')

    def reply(self):
        lines = b''
        while line := self.file.readline():
            lines += line
            if line[3:4] != b'-':
                break
        return lines

    def send(self, data):
        self.socket.sendall(data)

    def say(self, command):
        self.send(command + b'\r\n')
        return self.reply()

    def begin(self, sender, *to, parameters=b''):
        check(self.say(b'MAIL FROM:<' + sender.encode() + b'>' + parameters).startswith(b'250'), 'MAIL')
        for address in to:
            check(self.say(b'RCPT TO:<' + address.encode() + b'>').startswith(b'250'), address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()


def parsed(eider, account, mailbox='INBOX'):
    return [email.message_from_bytes(m) for m in messages(eider, account, mailbox)]


def two(eider):
    return eider.account('anna@example.org'), eider.account('bert@example.org')


def test_smtplib_sends_to_everybody(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        eider.cli('alias', 'add', 'friends@example.org', bert.login, 'carl@elsewhere.example')
        with Client(eider, anna) as client:
            refused = client.sendmail(anna.login, [bert.login, 'nobody@example.org', 'x@elsewhere.example'],
                                      header('one') + b'Bcc: carl@elsewhere.example\r\n\r\nHello\r\n')
            check(list(refused) == ['nobody@example.org'] and refused['nobody@example.org'][0] == 550,
                  f'nobody is refused, and nobody else: {refused}')
            client.sendmail(anna.login, ['friends@example.org'], header('two') + b'\r\nHello\r\n')
            client.sendmail('', [anna.login], header('three') + b'\r\nHello\r\n')
        one, second = parsed(eider, bert)
        check(one['Bcc'] is None and one['Return-Path'] == f'<{anna.login}>', 'no Bcc, but a Return-Path')
        check('127.0.0.1' not in one['Received'] and 'ESMTPSA' in one['Received'],
              f'the client is not named: {one["Received"]}')
        check(second['Delivered-To'] == bert.login, 'through an alias')
        mine = [m for m in parsed(eider, anna) if 'MAILER-DAEMON' not in m['From']]  # nobody is elsewhere
        check(len(mine) == 1, 'mail to oneself, from the null path')
        check(b'queued=2' in eider_stopped_log(eider), 'and two recipients are elsewhere')


def eider_stopped_log(eider):
    eider.stop()
    log = eider.log()
    eider.start()
    return log


def test_what_is_missing_is_added(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        with Client(eider, anna) as client:
            client.sendmail(anna.login, [bert.login], b'Subject: bare\r\n\r\nHello\r\n')
            client.sendmail(anna.login, [bert.login], b'no header at all\r\n')
            client.sendmail(anna.login, [bert.login], b'Subject: bare\r\n\r\nHello\r\n')
        got = parsed(eider, bert)
        check(len(got) == 3, 'what cannot be told apart is not taken for the same')
        for message in got:
            check(email.utils.parsedate_to_datetime(message['Date']) and message['Message-ID'], 'Date, Message-ID')
            check(message['From'] == f'<{anna.login}>', f'From: {message["From"]}')
        check(got[1].get_payload() == 'no header at all\r\n', 'the body is a body')


def test_names_that_are_not_ones_own(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        eider.cli('alias', 'add', 'sales@example.org', anna.login)

        def attempt(sender, author):
            with Client(eider, anna) as client:
                try:
                    client.sendmail(sender, [bert.login],
                                    header(f'{sender} {author}'.replace('@', '.'), author) + b'\r\nx\r\n')
                except smtplib.SMTPSenderRefused as e:
                    return e.smtp_code, e.smtp_error
                except smtplib.SMTPDataError as e:
                    return e.smtp_code, e.smtp_error
                return 250, b''

        for sender, author, code in (
                ('sales@example.org', 'sales@example.org', 250), ('anna+x@example.org', anna.login, 250),
                (bert.login, anna.login, 550), (anna.login, bert.login, 550),
                ('x@elsewhere.example', anna.login, 550), (anna.login, 'x@elsewhere.example', 550)):
            got = attempt(sender, author)
            check(got[0] == code, f'{sender} {author}: {got}')
            check(code == 250 or b'5.7.1' in got[1], f'with a reason: {got}')
        eider.cli('account', 'sending', '--senders', '@elsewhere.example', anna.login)
        check(attempt('x@elsewhere.example', 'y@elsewhere.example')[0] == 250, 'a whole domain was given')
        check(attempt(bert.login, anna.login)[0] == 550, 'and nothing else')


def test_limits_of_the_hour(store):
    settings = 'submission = { account_messages = 3; account_recipients = 4; };'
    with Eider(store, settings) as eider:
        anna, bert = two(eider)

        def send(subject, to):
            with Client(eider, anna) as client:
                try:
                    client.sendmail(anna.login, to, header(subject) + b'\r\nx\r\n')
                except smtplib.SMTPDataError as e:
                    return e.smtp_code, e.smtp_error
                return 250, b''

        check(send('one', [bert.login])[0] == 250, 'the first')
        got = send('two', [bert.login, anna.login, 'a@x.example', 'b@x.example'])
        check(got[0] == 450 and b'4.7.1' in got[1], f'too many recipients: {got}')
        check(send('three', [bert.login])[0] == 250, 'one more')
        got = send('four', [bert.login])
        check(got[0] == 450 and b'4.7.1' in got[1], f'too many messages: {got}')
        eider.cli('account', 'sending', '--messages', '100', '--recipients', '100', anna.login)
        check(send('five', [bert.login])[0] == 250, 'an account may have more')
        check(len(messages(eider, bert)) == 3, 'what was refused is not there')


def test_sandbox_catches_all(store):
    with Eider(store, 'submission = { sandbox = true; };') as eider:
        anna, bert = two(eider)
        with Client(eider, anna) as client:
            client.mail('anybody@elsewhere.example')
            client.rcpt(bert.login)
            client.rcpt('carl@elsewhere.example')
            code, reply = client.data(header('caught', 'somebody@else.example') + b'\r\nHello\r\n')
        check(code == 250 and re.fullmatch(rb'2\.0\.0 Accepted \[STATUS=new MSGID=M[0-9a-f]{16}\]', reply),
              f'as nodemailer reads it: {reply}')
        with eider.imap(anna) as imap:
            imap.select()
            _, data = imap.uid('FETCH', '1:*', '(EMAILID BODY.PEEK[])')
            check(b'EMAILID (' + reply[-18:-1] + b')' in data[0][0] + data[-1], 'MSGID is the EMAILID')
            found = email.message_from_bytes(data[0][1])
        check(found.get_all('X-Envelope-To') == [f'<{bert.login}>', '<carl@elsewhere.example>'], 'its envelope')
        check(messages(eider, bert) == [], 'nobody else got it')


def test_sent_copies(store):
    with Eider(store, 'submission = { save_sent = true; };') as eider:
        anna, bert = two(eider)
        text = header('copy') + b'Bcc: bert@example.org\r\n\r\nHello\r\n'
        for _ in range(2):
            with Client(eider, anna) as client:
                client.sendmail(anna.login, [bert.login], text)
        copy, = parsed(eider, anna, 'Sent')
        check(copy['Bcc'] == 'bert@example.org', 'the sender sees Bcc')
        check(len(messages(eider, bert)) == 1 and parsed(eider, bert)[0]['Bcc'] is None, 'nobody else does')
        with eider.imap(anna) as imap:
            imap.select('Sent')
            check(b'\\Seen' in imap.fetch('1', 'FLAGS')[1][0], 'it is seen')
            imap.append('Sent', None, None, header('saved before') + b'\r\nHello\r\n')
        with Client(eider, anna) as client:
            client.sendmail(anna.login, [bert.login], header('saved before') + b'\r\nHello\r\n')
        check(len(messages(eider, anna, 'Sent')) == 2, 'a copy that the client has saved is enough')
        check(len(messages(eider, bert)) == 2, 'and sent it is all the same')


def test_I24_a_client_that_tries_again_harms_nobody(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        for _ in range(3):
            with Client(eider, anna) as client:
                client.sendmail(anna.login, [bert.login, anna.login], header('again') + b'\r\nHello\r\n')
        check(len(messages(eider, bert)) == 1 and len(messages(eider, anna)) == 1, 'once each')


ENDS = (b'\n.\n', b'\n.\r\n', b'\r.\r', b'\r\n.\n', b'\r.\r\n', b'\r\n.\r', b'\n.\r', b'\r\n\x01.\r\n')


def test_smuggling_ends_no_message(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        evil = b'MAIL FROM:<evil@example.net>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nx'
        with Raw(eider, anna) as raw:
            for i, end in enumerate(ENDS):
                raw.begin(anna.login, bert.login)
                check(raw.say(b'DATA').startswith(b'354'), 'DATA')
                check(raw.say(header(f'data {i}') + b'\r\nx' + end + evil + b'\r\n.').startswith(b'250 '), repr(end))
                body = header(f'bdat {i}') + b'\r\nx' + end + evil + b'\r\n.\r\n'
                raw.begin(anna.login, bert.login)
                check(raw.say(b'BDAT %d LAST\r\n' % len(body) + body[:-2]).startswith(b'250 '), 'BDAT')
            raw.begin(anna.login, bert.login)
            raw.say(b'DATA')
            got = raw.say(header('nul') + b'\r\nx\r\n\0.\r\n' + evil + b'\r\n.')
            check(got.startswith(b'554 5.6.0'), f'NUL: {got}')
            check(raw.say(b'NOOP').startswith(b'250'), 'the dialogue goes on')
        got = messages(eider, bert)
        check(len(got) == 2 * len(ENDS) and messages(eider, anna) == [], f'no message was split: {len(got)}')
        for message in got:
            check(b'Subject: evil' in message, 'all of it is one')
            check(not re.search(rb'[^\r]\n|\r[^\n]', message), 'and CR LF stand together only')


def test_a_slow_byte_at_a_time(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        with Raw(eider, anna) as raw:
            raw.begin(anna.login, bert.login)
            for byte in b'DATA\r\n' + header('slow') + b'\r\n..x\r\n.\r\n':
                raw.send(bytes([byte]))
            check(raw.reply().startswith(b'354') and raw.reply().startswith(b'250'), 'it is taken')
        check(messages(eider, bert)[0].endswith(b'\r\n\r\n.x\r\n'), 'whole')


def test_large_messages_with_8_bits_and_chunks(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        body = header('large') + b'\r\n' + bytes(range(128, 256)) * 64 + b'\r\n' * 2
        body += b'\r\n'.join(b'%07d ' % i + b'x' * 70 for i in range(100000)) + b'\r\n'
        with Raw(eider, anna) as raw:
            raw.begin(anna.login, bert.login, parameters=b' BODY=8BITMIME SIZE=%d' % len(body))
            for at in range(0, len(body), 1000000):
                piece = body[at:at + 1000000]
                last = b' LAST' if at + 1000000 >= len(body) else b''
                raw.send(b'BDAT %d%s\r\n' % (len(piece), last) + piece)
                check(raw.reply().startswith(b'250'), 'a chunk')
        check(messages(eider, bert)[0].endswith(body), 'byte for byte')


def run(words, data=None, env=None):
    done = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                          check=False, env=env)
    return done.returncode, done.stdout.decode(errors='replace')


def test_swaks(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        for mechanism in ('PLAIN', 'LOGIN'):
            code, said = run(['swaks', '--server', f'127.0.0.1:{eider.submit_port}', '-tls', '--auth', mechanism,
                              '-au', anna.login, '-ap', anna.password, '--from', anna.login, '--to', bert.login,
                              '--header', f'Subject: {mechanism}'])
            check(code == 0, said)
        code, said = run(['swaks', '--server', f'127.0.0.1:{eider.submits_port}', '-tlsc', '--auth', 'PLAIN',
                          '-au', anna.login, '-ap', 'wrong', '--from', anna.login, '--to', bert.login])
        check(code == 28 and '535 5.7.8' in said, said)
        check([m['Subject'] for m in parsed(eider, bert)] == ['PLAIN', 'LOGIN'], 'both came')


def test_msmtp(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        for port, starttls, auth in ((eider.submit_port, 'on', 'scram-sha-256'), (eider.submits_port, 'off', 'plain')):
            with tempfile.NamedTemporaryFile('w') as config:
                config.write(f'account default\nhost 127.0.0.1\nport {port}\ntls on\ntls_starttls {starttls}\n'
                             f'tls_certcheck off\nauth {auth}\nuser {anna.login}\npassword {anna.password}\n'
                             f'from {anna.login}\n')
                config.flush()
                code, said = run(['msmtp', '-C', config.name, '--read-envelope-from', '-t'],
                                 f'From: {anna.login}\nTo: {bert.login}\nSubject: {auth}\n\nHello\n.\n'.encode())
            check(code == 0, f'{auth}: {said}')
        check([m['Subject'] for m in parsed(eider, bert)] == ['scram-sha-256', 'plain'], 'both came')


def test_curl(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        code, said = run(['curl', '-sSk', f'smtps://127.0.0.1:{eider.submits_port}/client.example', '--user',
                          f'{anna.login}:{anna.password}', '--mail-from', anna.login, '--mail-rcpt', bert.login,
                          '--upload-file', '-'], b'From: anna@example.org\nSubject: curl\n\nbare line ends\n')
        check(code == 0, said)
        check(messages(eider, bert)[0].endswith(b'Subject: curl\r\n\r\nbare line ends\r\n\r\n'),  # the last one is curl's
              f'lone LFs are line ends: {messages(eider, bert)[0]}')


def library():
    """The folder that holds node_modules/nodemailer."""
    folder = CACHE / 'npm' / NODEMAILER
    if not (folder / 'node_modules' / 'nodemailer').is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        code, said = run(['npm', 'install', '--no-audit', '--no-fund', '--silent', '--prefix', str(folder),
                          NODEMAILER])
        check(code == 0, f'npm install {NODEMAILER}: {said}')
    return folder / 'node_modules'


def nodemailer(eider, account, to):
    code, said = run(['node', str(ROOT / 'tests' / 'e2e' / 'nodemailer.js'), str(eider.submit_port),
                      str(eider.submits_port), account.login, account.password, to],
                     env={**os.environ, 'NODE_PATH': str(library()), 'ETHEREAL_WEB': 'https://mail.example'})
    check(code == 0, said)
    return said


def test_nodemailer(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        said = nodemailer(eider, anna, bert.login)
        for what in ('verify', 'send', 'pool', 'refused', 'password'):
            check(f'ok {what}\n' in said, f'{what}: {said}')
        first = [m for m in parsed(eider, bert) if m.is_multipart()][0]
        check(first.get_payload()[1].get_payload(decode=True) == b'\7' * 300000, 'the attachment')
        check(len(messages(eider, bert)) == 11 and len(messages(eider, anna)) == 1, 'all of it')


def test_nodemailer_in_the_sandbox(store):
    with Eider(store) as eider:
        anna, bert = two(eider)
        eider.cli('account', 'sending', '--sandbox', anna.login)
        said = nodemailer(eider, anna, bert.login)
        check(re.search(r'^url https://mail\.example/message/M[0-9a-f]{16}$', said, re.M), f'a preview URL: {said}')
        check('ok forged' in said and messages(eider, bert) == [], 'nobody is deceived')
        check(len(messages(eider, anna)) == 12, 'all of it is caught')


NODES = ['test_smtplib_sends_to_everybody', 'test_limits_of_the_hour', 'test_sandbox_catches_all',
         'test_sent_copies', 'test_I24_a_client_that_tries_again_harms_nobody', 'test_nodemailer']


if __name__ == '__main__':
    main(globals())
