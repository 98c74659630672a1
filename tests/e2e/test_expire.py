#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Retention: `eider expire`, and servers that expunge what is too old while clients look on (I31)."""
import contextlib
import json
import sqlite3

from harness import Eider, check, main, wait_for

SWEEPS = 'mail = { sweep_interval = "200ms"; };'


def shown(eider, who):
    return [tuple(json.loads(line).values()) for line in eider.cli('expire', 'show', '--json', who).splitlines()]


def test_I31_old_messages_go_while_a_client_looks_on(store):
    with Eider(store, settings=SWEEPS) as eider:
        anna = eider.account('anna@example.org')
        bert = eider.account('bert@example.net')
        for who in (anna, bert):
            eider.deliver(who.login, b'Subject: old\r\n\r\nx\r\n')
        with eider.imap(anna) as imap, eider.imap(bert) as other:
            imap.select()
            other.select()
            imap.copy('1', 'Archive')
            eider.cli('expire', 'set', 'anna@example.org', 'never', '--mailbox', 'Archive')
            eider.cli('expire', 'set', 'example.org', '1s')
            wait_for(lambda: imap.noop()[0] == 'OK' and imap.response('EXPUNGE')[1] == [b'1'], 60,
                     'the client hears EXPUNGE')
            check(b'MESSAGES 0' in imap.status('INBOX', '(MESSAGES)')[1][0], 'INBOX is empty')
            check(b'MESSAGES 1' in imap.status('Archive', '(MESSAGES)')[1][0], 'what is kept is kept')
            check(other.noop()[0] == 'OK' and other.response('EXPUNGE')[1] == [None], 'another domain')
        eider.cli('fsck', '--all')


def test_ages_are_set_shown_and_taken_back():
    with Eider() as eider:
        eider.account('anna@example.org')
        check(shown(eider, 'anna@example.org') == [('server', 'mail.expire', 'never')], 'nothing is set')
        eider.cli('expire', 'set', 'example.org', '30d')
        eider.cli('expire', 'set', 'anna@example.org', '12h')
        eider.cli('expire', 'set', 'anna@example.org', 'never', '-m', 'Archive')
        check(shown(eider, 'anna@example.org') ==
              [('mailbox', 'Archive', 'never'), ('account', 'anna@example.org', '12h'),
               ('domain', 'example.org', '30d'), ('server', 'mail.expire', 'never')], 'the nearest first')
        eider.cli('expire', 'clear', 'anna@example.org', '-m', 'Archive')
        eider.cli('expire', 'clear', 'anna@example.org')
        eider.cli('expire', 'clear', 'example.org')
        check(shown(eider, 'anna@example.org') == [('server', 'mail.expire', 'never')], 'all taken back')
        for words, status in ((('set', 'anna@example.org', 'soon'), 64), (('set', 'anna@example.org', '0'), 64),
                              (('set', 'nobody@example.org', '1d'), 67), (('set', 'example.com', '1d'), 67),
                              (('set', 'anna@example.org', '1d', '-m', 'None'), 67),
                              (('set', 'example.org', '1d', '-m', 'INBOX'), 64)):
            got, _, error = eider.cli('expire', *words, status=None)
            check(got == status and error, f'{words}: {got} {error}')


def test_at_once():
    with Eider() as eider:
        anna = eider.account('anna@example.org')
        eider.deliver(anna.login, b'Subject: x\r\n\r\nx\r\n')
        eider.cli('expire', 'set', anna.login, '1s')
        wait_for(lambda: eider.cli('expire', 'now', anna.login) == 'anna@example.org: 1 expunged\n', 30, 'expunged')
        check(eider.cli('expire', 'now', anna.login) == 'anna@example.org: 0 expunged\n', 'once')


def rows(eider, table):
    with contextlib.closing(sqlite3.connect(f'{eider.folder}/eider.db', timeout=10)) as db:
        return db.execute(f'SELECT count(*) FROM {table}').fetchone()[0]


def test_I32_a_deleted_account_leaves_the_directory_although_its_node_died():
    settings = 'mail = { sweep_interval = "200ms"; horizon = "2s"; undelete_window = "1s"; };'
    with Eider(settings=settings) as eider:
        eider.account('anna@example.org')
        before = rows(eider, 'accounts')
        eider.account('bert@example.org')
        bert = bytes.fromhex(json.loads(eider.cli('account', 'show', '--json', 'bert@example.org'))['id'])
        eider.stop()
        eider.cli('account', 'delete', '--yes', 'bert@example.org')
        check(rows(eider, 'accounts') == before + 1, 'as long as there is mail of his')
        # all of it was erased, and the node died before it could say so
        with contextlib.closing(sqlite3.connect(f'{eider.folder}/eider.db')) as db, db:
            for table in ('log', 'messages', 'snapshots', 'segments', 'textindex'):
                db.execute(f'DELETE FROM {table} WHERE substr(k, 1, 8) = ?', (bert,))
        eider.start()
        wait_for(lambda: rows(eider, 'accounts') == before, 30, 'the directory forgets him')


if __name__ == '__main__':
    main(globals())
