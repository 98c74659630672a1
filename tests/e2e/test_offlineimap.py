#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""OfflineIMAP keeps a Maildir and an account the same, from both sides, and in IDLE hears of new mail.
A run with nothing to do copies nothing."""
import os
import pathlib
import re
import subprocess
import time

from harness import Eider, check, end_process, main, wait_for

NODES = ['test_both_sides_become_the_same']
WORDS = {'copied': r'Copy message ', 'flags': r'(?:Adding|Deleting) flag', 'deleted': r'Deleting \d+ message'}


class OfflineImap:
    def __init__(self, eider, account, more=''):
        self.root = pathlib.Path(eider.folder) / 'offlineimap'
        self.root.mkdir()
        self.config = self.root / 'offlineimaprc'
        self.config.write_text(f'''
[general]
metadata = {self.root}/metadata
accounts = eider
ui = basic
[Account eider]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {self.root}/mail
sep = /
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {eider.imap_port}
remoteuser = {account.login}
remotepass = {account.password}
ssl = no
starttls = no
auth_mechanisms = PLAIN
{more}
''')
        self.words = ['offlineimap', '-c', str(self.config)]
        self.env = {**os.environ, 'HOME': str(self.root), 'LC_ALL': 'C.UTF-8'}

    def sync(self):
        """What it says that it did: counts of copies, changes of flags, deletions."""
        done = subprocess.run([*self.words, '-o'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120, check=False, env=self.env)
        said = done.stdout.decode(errors='replace')
        check(done.returncode == 0 and 'ERROR' not in said, f'offlineimap: {said[-3000:]}')
        return {word: len(re.findall(pattern, said)) for word, pattern in WORDS.items()}

    def files(self, name='INBOX'):
        return sorted(f for sub in ('cur', 'new') for f in (self.root / 'mail' / name / sub).iterdir())

    def find(self, subject, name='INBOX'):
        found = [f for f in self.files(name) if b'Subject: ' + subject + b'\n' in f.read_bytes()]
        check(len(found) == 1, f'{subject} is in {name} once: {found}')
        return found[0]

    def subjects(self, name='INBOX'):
        return sorted(subject_of(f.read_bytes()) for f in self.files(name))

    def add(self, subject, name='INBOX', flags=''):
        where = self.root / 'mail' / name / 'cur' / f'1700000000.{subject.decode()}.here:2,{flags}'
        where.write_bytes(b'Subject: ' + subject + b'\n\nwritten at the near side\n')

    def flag(self, subject, flags):
        file = self.find(subject)
        file.rename(file.parent.parent / 'cur' / (re.sub(r':2,.*', '', file.name) + ':2,' + flags))


def subject_of(message):
    return re.search(rb'^Subject: ([^\r\n]*)', message, re.M)[1]


def message(subject, body=b'hello\r\n'):
    return b'From: a@example.net\r\nSubject: ' + subject + b'\r\n\r\n' + body


def far_messages(imap, mailbox='INBOX'):
    """{subject: (flags, bytes)}"""
    check(imap.select(mailbox)[0] == 'OK', f'{mailbox} is there')
    answer = imap.fetch('1:*', '(FLAGS BODY.PEEK[])')[1]
    return {subject_of(item[1]): (set(re.search(rb'FLAGS \(([^)]*)\)', item[0])[1].split()), item[1])
            for item in answer if isinstance(item, tuple)}


def change_far(imap, subject, what, flags):
    imap.select()
    numbers = imap.search(None, 'SUBJECT', subject)[1][0].decode()
    imap.store(numbers, what, flags)


def quiet(near, when):
    did = near.sync()
    check(not any(did.values()), f'{when}, another run does nothing: {did}')


def test_both_sides_become_the_same(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for i in range(10):
            eider.deliver(anna.login, message(b'far-%02d' % i, b'line\r\n' * 100 * i))
        near = OfflineImap(eider, anna)
        check(near.sync()['copied'] == 10, 'the first run copies each message once')
        quiet(near, 'after the first')
        with eider.imap(anna) as imap:
            far = far_messages(imap)
            check(near.subjects() == sorted(far), 'the same messages')
            for file in near.files():
                text = file.read_bytes()
                kept = re.sub(rb'^X-OfflineIMAP: [^\n]*\n', b'', text, flags=re.M)
                check(far[subject_of(text)][1].replace(b'\r\n', b'\n') == kept, f'{file}: the same bytes')

            eider.deliver(anna.login, message(b'far-new'))
            near.add(b'near-new', flags='S')
            change_far(imap, 'far-01', '+FLAGS', r'(\Seen \Flagged)')
            near.flag(b'far-02', 'RS')
            change_far(imap, 'far-03', '+FLAGS', r'(\Deleted)')
            imap.expunge()
            near.find(b'far-04').unlink()
            check(near.sync()['copied'] == 2, 'one comes, one goes, no other')
            far = far_messages(imap)
            left = [b'far-%02d' % i for i in (0, 1, 2, 5, 6, 7, 8, 9)] + [b'far-new', b'near-new']
            check(near.subjects() == left, f'near: {near.subjects()}')
            check(sorted(far) == left, f'far: {sorted(far)}')
            check(near.find(b'far-01').name.endswith(':2,FS'), 'flags from the far side')
            check(far[b'far-02'][0] == {b'\\Seen', b'\\Answered'}, f'flags from here: {far[b"far-02"][0]}')
            check(far[b'near-new'][0] == {b'\\Seen'}, 'a new one comes with its flags')
            quiet(near, 'after changes')


def test_folders_of_both_sides(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        near = OfflineImap(eider, anna)
        with eider.imap(anna) as imap:
            for name in ('Far', 'Far/Inner', '"Gr&APwA3w-e"'):
                check(imap.create(name)[0] == 'OK', f'CREATE {name}')
            imap.append('Far/Inner', r'(\Seen)', None, message(b'deep'))
            near.sync()
            check(near.subjects('Far/Inner') == [b'deep'], 'a far folder comes with its mail')
            check((near.root / 'mail' / 'Gr&APwA3w-e').is_dir(), 'a name that is not ASCII')
            for sub in ('cur', 'new', 'tmp'):
                (near.root / 'mail' / 'Near' / sub).mkdir(parents=True)
            near.add(b'from-near', 'Near', 'S')
            near.sync()
            check(list(far_messages(imap, 'Near')) == [b'from-near'], 'a near folder goes with its mail')
            quiet(near, 'after folders')


def test_idle_brings_new_mail(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        eider.deliver(anna.login, message(b'first'))
        near = OfflineImap(eider, anna, "idlefolders = ['INBOX']\nkeepalive = 60\nholdconnectionopen = yes\n")
        near.config.write_text(near.config.read_text().replace(
            'localrepository', 'autorefresh = 10\nlocalrepository'))
        near.sync()
        check(near.subjects() == [b'first'], 'it is there')
        with open(near.root / 'log', 'wb') as log:
            waits = subprocess.Popen([*near.words, '-d', 'imap'], stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=subprocess.STDOUT, env=near.env)
        try:
            wait_for(lambda: b' IDLE' in (near.root / 'log').read_bytes(), 60, 'it is in IDLE')
            time.sleep(0.5)
            eider.deliver(anna.login, message(b'news'))
            wait_for(lambda: near.subjects() == [b'first', b'news'], 60, 'what is new comes')
        finally:
            end_process(waits)


if __name__ == '__main__':
    main(globals())
