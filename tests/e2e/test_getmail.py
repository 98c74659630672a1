#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Programs that only fetch: fetchmail, getmail and fdm. Each message comes once, with its bytes, whether it
stays at the server or is taken away; what comes in between is not lost. mpop speaks POP3 only:
see test_pop3.py."""
import os
import pathlib
import pwd
import re
import subprocess
import threading

from harness import Eider, check, end_process, main, wait_for

NODES = ['test_fetchmail_takes_each_message_once', 'test_getmail_takes_each_message_once']


def message(subject, body=b'hello\r\n'):
    return b'From: a@example.net\r\nTo: anna@example.org\r\nSubject: ' + subject + b'\r\n\r\n' + body


def run(words, home, good=(0,), **options):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120, check=False,
                          env={'HOME': str(home), 'PATH': '/usr/bin:/bin', 'LC_ALL': 'C.UTF-8'},
                          **options)
    said = done.stdout.decode(errors='replace')
    check(done.returncode in good, f'{words[0]} ends with {done.returncode}: {said[-3000:]}')
    return said


def subjects(texts):
    return sorted(re.search(rb'^Subject: ([^\r\n]*)', text, re.M)[1] for text in texts)


def same_body(text, body):
    check(text.replace(b'\r\n', b'\n').split(b'\n\n', 1)[1].rstrip(b'\n')
          == body.replace(b'\r\n', b'\n').rstrip(b'\n'), 'the bytes are the same')


def seen(imap):
    imap.select()
    return imap.search(None, 'SEEN')[1][0].decode()


class Fetcher:
    """Its mail goes to a program that writes each into a file."""

    def __init__(self, eider, name):
        self.home = pathlib.Path(eider.folder) / name
        (self.home / 'got').mkdir(parents=True)
        (self.home / 'mda').write_text(f'#!/bin/sh\nset -e\nfile=$(mktemp "{self.home}/new-XXXXXXXX")\n'
                                       f'cat > "$file"\nmv "$file" "{self.home}/got/"\n')
        (self.home / 'mda').chmod(0o755)

    def texts(self):
        return [f.read_bytes() for f in (self.home / 'got').iterdir()]


class Fetchmail(Fetcher):
    def __init__(self, eider, account, more):
        super().__init__(eider, 'fetchmail')
        self.config = self.home / 'fetchmailrc'
        self.config.write_text(f'''
set no bouncemail
poll 127.0.0.1 protocol IMAP port {eider.imap_port} auth password
  user "{account.login}" password "{account.password}" sslproto "" {more}
  mda "{self.home}/mda"
''')
        self.config.chmod(0o600)

    def fetch(self, *options):
        """1: no new mail."""
        return run(['fetchmail', '-f', str(self.config), '--pidfile', str(self.home / 'pid'), '-v',
                    '--idfile', str(self.home / 'ids'), *options], self.home, (0, 1))


def test_fetchmail_takes_each_message_once(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        bodies = {b'm%d' % i: b'.line %d\r\n' % i * (1 + 300 * i) + b'.\r\nFrom here\r\n' for i in range(5)}
        for subject, body in bodies.items():
            eider.deliver(anna.login, message(subject, body))
        keeping = Fetchmail(eider, anna, 'keep')
        keeping.fetch()
        check(subjects(keeping.texts()) == sorted(bodies), 'each once')
        for text in keeping.texts():
            same_body(text, bodies[subjects([text])[0]])
        with eider.imap(anna) as imap:
            check(seen(imap) == '1 2 3 4 5', 'what it has fetched is seen')
            keeping.fetch()
            check(len(keeping.texts()) == 5, 'nothing twice')
            eider.deliver(anna.login, message(b'm5'))
            imap.noop()
            imap.store('2', '-FLAGS', r'(\Seen)')
            keeping.fetch()
            check(subjects(keeping.texts()) == sorted([*bodies, b'm1', b'm5']), 'what is new, and unseen')
            check(imap.select()[1] == [b'6'], 'all are kept')


def test_fetchmail_takes_them_away_and_idles(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for i in range(3):
            eider.deliver(anna.login, message(b'a%d' % i))
        taking = Fetchmail(eider, anna, 'fetchall nokeep expunge 2')
        taking.fetch()
        check(subjects(taking.texts()) == [b'a0', b'a1', b'a2'], 'each once')
        with eider.imap(anna) as imap:
            check(imap.select()[1] == [b'0'], 'none is left')
            imap.create('Lists')
            imap.append('Lists', None, None, message(b'listed'))
            taking.fetch('--folder', 'INBOX,Lists')
            check(subjects(taking.texts()) == [b'a0', b'a1', b'a2', b'listed'], 'of another mailbox')
            check(imap.select('Lists')[1] == [b'0'], 'and it is gone there')
        waits = subprocess.Popen(['fetchmail', '-f', str(taking.config), '--pidfile',
                                  str(taking.home / 'pid'), '--idle', '-v'], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 env={'HOME': str(taking.home), 'PATH': '/usr/bin:/bin'})
        guard = threading.Timer(90, waits.kill)
        guard.start()
        try:
            for line in waits.stdout:
                if b'IDLE' in line and b'>' in line:
                    break
            eider.deliver(anna.login, message(b'while idle'))
            wait_for(lambda: b'while idle' in subjects(taking.texts()), 60, 'IDLE tells it')
        finally:
            guard.cancel()
            end_process(waits)
            waits.stdout.close()


class Getmail(Fetcher):
    def __init__(self, eider, account, options, name='getmail'):
        super().__init__(eider, name)
        (self.home / 'getmailrc').write_text(f'''
[retriever]
type = SimpleIMAPRetriever
server = 127.0.0.1
port = {eider.imap_port}
username = {account.login}
password = {account.password}
mailboxes = ("INBOX", "Lists")
use_peek = true
[destination]
type = MDA_external
path = {self.home}/mda
allow_root_commands = true
[options]
read_all = false
verbose = 2
{options}
''')

    def fetch(self):
        return run(['getmail', '--getmaildir', str(self.home)], self.home)


def test_getmail_takes_each_message_once(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with eider.imap(anna) as imap:
            imap.create('Lists')
            imap.append('Lists', r'(\Seen)', None, message(b'listed'))
            bodies = {b'm%d' % i: b'line %d\r\n' % i * (1 + 300 * i) for i in range(5)}
            for subject, body in bodies.items():
                eider.deliver(anna.login, message(subject, body))
            keeping = Getmail(eider, anna, 'delete = false')
            keeping.fetch()
            check(subjects(keeping.texts()) == sorted([*bodies, b'listed']), 'each once')
            for text in keeping.texts():
                if b'listed' not in text:
                    same_body(text, bodies[subjects([text])[0]])
            check(seen(imap) == '', 'it only peeks')
            keeping.fetch()
            check(len(keeping.texts()) == 6, 'nothing twice')
            imap.store('1', '+FLAGS', r'(\Deleted)')
            imap.expunge()
            eider.deliver(anna.login, message(b'm5'))
            keeping.fetch()
            check(subjects(keeping.texts()) == sorted([*bodies, b'listed', b'm5']), 'what is new')
            taking = Getmail(eider, anna, 'delete = true', 'getmail-taking')
            taking.fetch()
            check(subjects(taking.texts()) == sorted([b'listed', b'm1', b'm2', b'm3', b'm4', b'm5']),
                  'another one gets all')
            check(imap.select()[1] == [b'0'] and imap.select('Lists')[1] == [b'0'], 'and takes them')


class Fdm(Fetcher):
    def __init__(self, eider, account, more):
        super().__init__(eider, 'fdm')
        (self.home / 'conf').write_text(f'''
set lock-file "{self.home}/lock"
set default-user "{pwd.getpwuid(os.getuid()).pw_name}"
account "far" imap server "127.0.0.1" port {eider.imap_port} user "{account.login}"
    pass "{account.password}" folders {{ "INBOX" "Lists" }} {more}
action "out" pipe "{self.home}/mda"
match all action "out"
''')
        (self.home / 'conf').chmod(0o600)

    def fetch(self):
        return run(['fdm', '-v', '-f', str(self.home / 'conf'), 'fetch'], self.home)


def test_fdm_takes_them_away(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        with eider.imap(anna) as imap:
            imap.create('Lists')
            imap.append('Lists', None, None, message(b'listed'))
            for i in range(3):
                eider.deliver(anna.login, message(b'm%d' % i, b'line %d\r\n' % i * (1 + 300 * i)))
            taking = Fdm(eider, anna, '')
            taking.fetch()
            check(subjects(taking.texts()) == [b'listed', b'm0', b'm1', b'm2'], 'each once')
            check(imap.select()[1] == [b'0'] and imap.select('Lists')[1] == [b'0'], 'none is left')
            eider.deliver(anna.login, message(b'm3'))
            taking.fetch()
            check(subjects(taking.texts()) == [b'listed', b'm0', b'm1', b'm2', b'm3'], 'what is new')


if __name__ == '__main__':
    main(globals())
