#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""mbsync (isync) keeps a Maildir and an account the same: mail, flags, deletions, folders, from both
sides. A run with nothing to do transfers nothing."""
import os
import pathlib
import re
import subprocess

from harness import Eider, check, main

RUN_SECONDS = 120


class Maildir:
    """A Maildir at the near side, and mbsync's configuration for it."""

    def __init__(self, eider, account, name='near'):
        self.root = pathlib.Path(eider.folder) / name
        self.root.mkdir()
        (self.root / 'state').mkdir()
        self.config = self.root / 'mbsyncrc'
        self.config.write_text(f'''
IMAPAccount eider
Host 127.0.0.1
Port {eider.imap_port}
User {account.login}
Pass {account.password}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account eider

MaildirStore near
Path {self.root}/mail/
Inbox {self.root}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
CopyArrivalDate yes
SyncState {self.root}/state/
''')
        (self.root / 'mail').mkdir()

    def sync(self):
        """From mbsync's log of its commands: (messages fetched, appended, other changes)."""
        done = subprocess.run(['mbsync', '-c', str(self.config), '-D', '-a'],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=RUN_SECONDS, check=False)
        said = done.stdout.decode(errors='replace')
        check(done.returncode == 0, f'mbsync ends with {done.returncode}: {said[-3000:]}')
        fetched = len(re.findall(r'>>> \d+ UID FETCH [^\n]*BODY\.PEEK\[\]', said))
        appended = len(re.findall(r'>>> \d+ APPEND ', said))
        changed = len(re.findall(r'>>> \d+ (?:UID STORE|CREATE|DELETE|EXPUNGE|UID EXPUNGE)', said))
        return fetched, appended, changed

    def folder(self, name):
        return self.root / 'mail' / name

    def files(self, name='INBOX'):
        return sorted(f for sub in ('cur', 'new') for f in (self.folder(name) / sub).iterdir())

    def find(self, subject, name='INBOX'):
        found = [f for f in self.files(name) if b'Subject: ' + subject in f.read_bytes()]
        check(len(found) == 1, f'{subject} is in {name} once: {found}')
        return found[0]

    def subjects(self, name='INBOX'):
        return sorted(subject_of(f.read_bytes()) for f in self.files(name))

    def add(self, subject, name='INBOX', flags=''):
        where = self.folder(name) / 'cur' / f'1700000000.{subject.decode()}.here:2,{flags}'
        where.write_bytes(b'Subject: ' + subject + b'\n\nwritten at the near side\n')

    def make_folder(self, name):
        for sub in ('cur', 'new', 'tmp'):
            (self.folder(name) / sub).mkdir(parents=True)

    def flag(self, subject, flags):
        file = self.find(subject)
        file.rename(file.parent.parent / 'cur' / (re.sub(r':2,.*', '', file.name) + ':2,' + flags))


def subject_of(message):
    return re.search(rb'^Subject: ([^\r\n]*)', message, re.M)[1]


def far_subjects(imap, mailbox='INBOX'):
    check(imap.select(mailbox)[0] == 'OK', f'{mailbox} is there')
    return sorted(subject_of(item[1])
                  for item in imap.fetch('1:*', '(BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
                  if isinstance(item, tuple))


def far_flags(imap, subject):
    imap.select()
    numbers = imap.search(None, 'SUBJECT', subject.decode())[1][0].split()
    check(len(numbers) == 1, f'{subject} is there once')
    return imap.fetch(numbers[0].decode(), '(FLAGS)')[1][0]


def far_number(imap, subject):
    return imap.search(None, 'SUBJECT', subject.decode())[1][0].decode()


def check_quiet(near, when):
    check(near.sync() == (0, 0, 0), f'{when}, a second run transfers nothing')


def check_same(near, imap, names):
    for name in names:
        check(near.subjects(name) == far_subjects(imap, name), f'{name} is the same at both sides')


def message(subject, body=b'hello\r\n'):
    return b'From: a@example.net\r\nSubject: ' + subject + b'\r\n\r\n' + body


def test_mail_comes_from_both_sides_and_nothing_twice(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for i in range(20):
            eider.deliver(anna.login, message(b'far-%02d' % i, b'line\r\n' * 100 * i))
        near = Maildir(eider, anna)
        check(near.sync()[:2] == (20, 0), 'the first run fetches each message once')
        check_quiet(near, 'after the first')
        with eider.imap(anna) as imap:
            check_same(near, imap, ['INBOX'])
            for file in near.files():
                raw = imap.fetch(far_number(imap, subject_of(file.read_bytes())), 'BODY.PEEK[]')
                kept = re.sub(rb'X-TUID: [^\n]*\n', b'', file.read_bytes())
                check(raw[1][0][1].replace(b'\r\n', b'\n') == kept, f'{file}: the same bytes')
            eider.deliver(anna.login, message(b'far-new'))
            near.add(b'near-seen', flags='S')
            near.add(b'near-flagged', flags='FRS')
            check(near.sync()[:2] == (1, 2), 'one comes, two go')
            check_quiet(near, 'after new mail')
            check_same(near, imap, ['INBOX'])
            check(len(near.files()) == 23, 'nothing doubled, nothing lost')
            check(b'\\Seen' in far_flags(imap, b'near-seen'), 'the flag came with it')
            flags = far_flags(imap, b'near-flagged')
            check(b'\\Flagged' in flags and b'\\Answered' in flags, f'all of them: {flags}')


def test_flags_change_from_both_sides(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for subject in (b'one', b'two', b'three'):
            eider.deliver(anna.login, message(subject))
        near = Maildir(eider, anna)
        near.sync()
        with eider.imap(anna) as imap:
            imap.select()
            imap.store(far_number(imap, b'one'), '+FLAGS', r'(\Seen \Flagged)')
            near.flag(b'two', 'RS')
            imap.store(far_number(imap, b'three'), '+FLAGS', r'(\Answered)')
            near.flag(b'three', 'F')
            fetched, appended, changed = near.sync()
            check((fetched, appended) == (0, 0) and changed, 'flags change and move no message')
            check(near.find(b'one').name.endswith(':2,FS'), 'from the far side')
            check(b'\\Answered' in far_flags(imap, b'two'), 'from the near side')
            check(near.find(b'three').name.endswith(':2,FR'), 'from both, near')
            flags = far_flags(imap, b'three')
            check(b'\\Answered' in flags and b'\\Flagged' in flags, f'from both, far: {flags}')
            imap.store(far_number(imap, b'one'), '-FLAGS', r'(\Flagged)')
            near.sync()
            check(near.find(b'one').name.endswith(':2,S'), 'taken away at the far side')
            check_quiet(near, 'after flags')


def test_deletions_go_both_ways(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for i in range(10):
            eider.deliver(anna.login, message(b'm-%d' % i))
        near = Maildir(eider, anna)
        near.sync()
        with eider.imap(anna) as imap:
            imap.select()
            imap.store('3,7', '+FLAGS', r'(\Deleted)')
            imap.expunge()
            os.unlink(near.find(b'm-0'))
            near.flag(b'm-9', 'T')
            check(near.sync()[:2] == (0, 0), 'deletions move no message')
            left = [b'm-1', b'm-3', b'm-4', b'm-5', b'm-7', b'm-8']
            check(near.subjects() == left, f'near: {near.subjects()}')
            check(far_subjects(imap) == left, 'far the same')
            check_quiet(near, 'after deletions')


def test_folders_are_made_and_removed_on_both_sides(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        near = Maildir(eider, anna)
        with eider.imap(anna) as imap:
            for name in ('Far', 'Far/Inner', '"Gr&APwA3w-e"'):
                check(imap.create(name)[0] == 'OK', f'CREATE {name}')
            imap.append('Far/Inner', r'(\Seen)', None, message(b'deep'))
            near.make_folder('Near')
            near.add(b'from-near', 'Near', 'S')
            near.sync()
            check(near.subjects('Far/Inner') == [b'deep'], 'a far folder comes with its mail')
            check(far_subjects(imap, 'Near') == [b'from-near'], 'a near folder goes with its mail')
            check(near.folder('Gr&APwA3w-e').is_dir(), 'a name that is not ASCII')
            check_quiet(near, 'after folders')

            imap.select('Near')
            imap.store('1', '+FLAGS', r'(\Deleted)')
            imap.expunge()
            imap.select()
            near.sync()
            check(near.subjects('Near') == [], 'it is empty')
            check(imap.delete('Near')[0] == 'OK', 'DELETE')
            near.sync()
            check(not (near.folder('Near') / 'cur').exists(), 'removed at the far side, gone here')

            os.unlink(near.find(b'deep', 'Far/Inner'))
            near.sync()
            for sub in ('cur', 'new', 'tmp'):
                (near.folder('Far/Inner') / sub).rmdir()
            for rest in near.folder('Far/Inner').iterdir():
                rest.unlink()
            near.folder('Far/Inner').rmdir()
            near.sync()
            names = b' '.join(imap.list()[1])
            check(b'Far/Inner' not in names and b'Far' in names, f'removed here, gone: {names}')
            check_quiet(near, 'after removals')


NODES = ['test_mail_comes_from_both_sides_and_nothing_twice', 'test_flags_change_from_both_sides']


if __name__ == '__main__':
    main(globals())
