#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Alpine, with the oldest IMAP client library that is still about (c-client), at a terminal."""
import os
import pathlib
import re

from harness import Eider, check, main, wait_for
from terminal import Terminal


def message(subject, body):
    return b'From: a@example.net\r\nSubject: ' + subject + b'\r\n\r\n' + body + b'\r\n'


def start(eider, account):
    home = pathlib.Path(eider.folder) / 'alpine'
    home.mkdir()
    there = f'{{127.0.0.1:{eider.imap_port}/imap/notls/user={account.login}}}'
    (home / 'pinerc').write_text(f'''
inbox-path={there}INBOX
folder-collections={there}[]
feature-list=enable-flag-cmd,expunge-without-confirm,quit-without-confirm,disable-password-file-saving
mail-check-interval=15
use-only-domain-name=no
user-domain=example.org
personal-name=Anna
last-version-used=9.99
''')
    alpine = Terminal(['alpine', '-p', str(home / 'pinerc'), '-i'], home)
    alpine.expect(b'ENTER PASSWORD')
    # what the last line says of it depends on how long it took
    alpine.press(account.password.encode() + b'\r', b'fruit-2')
    return alpine


def flags(imap):
    imap.select()
    return [set(re.search(rb'FLAGS \(([^)]*)\)', item)[1].split()) for item in imap.fetch('1:*', 'FLAGS')[1]]


def test_a_person_reads_mail(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for i in range(3):
            eider.deliver(anna.login, message(b'fruit-%d' % i, b'hello %d' % i))
        alpine = start(eider, anna)
        alpine.press(b'\r', b'hello 0')
        alpine.press(b'i', b'FldrList')
        alpine.press(b'nn', b'fruit-2')
        alpine.press(b's', b'SAVE Msg #3')
        alpine.press(b'\x15Kept\r', b'Create?')
        alpine.press(b'y', b'[ViewMsg]')  # the menu is back
        alpine.press(b'p', b'fruit-1')
        alpine.press(b'*', b'Flag New')
        alpine.press(b'\r', b'Flagged message 2')
        alpine.press(b'x', b'xpung')
        with eider.imap(anna) as imap:
            wait_for(lambda: flags(imap) == [{b'\\Seen'}, {b'\\Flagged'}], 30, 'read, flagged, gone')
            check(imap.select('Kept')[1] == [b'1'], 'saved')
            check(b'hello 2' in imap.fetch('1', 'BODY.PEEK[]')[1][0][1], 'the right one')
        eider.deliver(anna.login, message(b'fruit-3', b'hello 3'))
        alpine.forget()
        wait_for(lambda: os.write(alpine.tty, b'\x0c') and alpine.read(0.5) and b'fruit-3' in alpine.screen,
                 60, 'Ctrl-L shows what is new')
        alpine.quit()


if __name__ == '__main__':
    main(globals())
