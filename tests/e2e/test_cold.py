#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Commands on a mailbox of which nothing is in memory answer as they do when all of it is."""
import re
import time

from harness import Eider, check, main

SETTINGS = 'mail = { snapshot_after = 16; }; cache = { replicas = 0; };'
COMMANDS = (
    'NOOP', 'CHECK', 'FETCH 1:* (UID FLAGS)', 'FETCH 7 (FLAGS)', 'FETCH 3,9:11,40 (UID MODSEQ)',
    'FETCH *:38 (UID INTERNALDATE)', 'UID FETCH 5:8 (FLAGS)', 'UID FETCH 39:* (UID RFC822.SIZE)',
    'UID FETCH 1000:* (UID)', 'FETCH 41 (UID)', 'SEARCH UNSEEN', 'UID SEARCH KEYWORD $Work',
    'SEARCH 1:20 SEEN', 'STATUS INBOX (MESSAGES UNSEEN UIDNEXT)', 'STORE 5 FLAGS.SILENT (\\Seen)',
    'STORE 6 FLAGS (\\Seen $Work)', 'UID STORE 7 +FLAGS ($Work)', 'UID FETCH 1:* (UID) (CHANGEDSINCE 30)',
    'FETCH 12 (BODY.PEEK[])', 'FETCH 1 (BODY[TEXT])', 'COPY 2:3 Target', 'UID MOVE 4 Target',
    'SORT (SUBJECT) UTF-8 ALL', 'THREAD REFERENCES UTF-8 ALL', 'STATUS INBOX (SIZE DELETED)',
    'ENABLE QRESYNC;UID FETCH 1:* (FLAGS) (CHANGEDSINCE 20 VANISHED)',
    'ENABLE QRESYNC;UNSELECT;SELECT INBOX (QRESYNC ({v} 20))',
    'ENABLE QRESYNC;UNSELECT;SELECT INBOX (QRESYNC ({v} 20 1:30 (3,9,20 3,9,20)))',
    'ENABLE QRESYNC;UNSELECT;SELECT INBOX (QRESYNC ({v} 1000000))',
    'SEARCH RETURN (SAVE) UNSEEN;FETCH $ (UID)', 'UID EXPUNGE 12', 'EXPUNGE', 'CLOSE', 'UNSELECT')


def filled(store):
    eider = Eider(store, settings=SETTINGS)
    anna = eider.account('anna@example.org')
    imap = eider.imap(anna, tls=False)
    imap.create('Target')
    for i in range(40):
        flags = '(\\Seen)' if i < 17 else '($Work)' if i % 5 == 0 else '()'
        imap.append('INBOX', flags, '"01-Jan-2024 00:00:00 +0000"', f'Subject: {i}\r\n\r\nText {i}\r\n'.encode())
    imap.select()
    imap.store('12', '+FLAGS.SILENT', '(\\Deleted)')
    imap.store('30', '-FLAGS.SILENT', '($Work)')
    imap.logout()
    time.sleep(1)  # the snapshot
    return eider, anna


def run(imap, command):
    imap.send(b'x1 ' + command.encode() + b'\r\n')
    lines = []
    while not lines or not lines[-1].startswith(b'x1 '):
        lines.append(imap.readline())
    return lines


def hide(line):
    """Without what differs between two servers."""
    return re.sub(rb'(UIDVALIDITY|COPYUID) \d+|MAILBOXID \([^)]*\)', b'', line)


def answers(eider, anna, command, warm):
    imap = eider.imap(anna, tls=False)
    selected = run(imap, 'SELECT INBOX')
    if warm:
        run(imap, 'SEARCH ALL')
    validity = re.search(rb'UIDVALIDITY (\d+)', b''.join(selected)).group(1).decode()
    result = [run(imap, part.replace('{v}', validity)) for part in command.split(';')]
    result = [[hide(line) for line in lines] for lines in result]
    selected = [hide(line) for line in selected]
    after = run(imap, 'NOOP')
    imap.logout()
    time.sleep(0.05)  # the session is freed
    return selected, result, after


def test_cold_mailbox(store):
    cold, anna = filled(store)
    with cold:
        warm, _ = filled(store)
        with warm:
            for command in COMMANDS:
                a = answers(cold, anna, command, False)
                b = answers(warm, anna, command, True)
                check(a == b, f'{command}: cold {a}, warm {b}')
            check(any(b'$Work' in line for line in a[0]), 'SELECT tells the keywords in use')
            check(any(b'[UNSEEN 1' in line for line in a[0]), f'and the first unseen message: {a[0]}')


if __name__ == '__main__':
    main(globals())
