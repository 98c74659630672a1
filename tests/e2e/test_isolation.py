#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""I34: no input of one user reaches another's mail."""
import imaplib

from harness import Eider, check, main

NAMES = ['../anna@example.org/INBOX', 'user/anna@example.org', 'user.anna@example.org', '#user/anna@example.org/INBOX',
         'Other Users/anna@example.org/INBOX', 'Shared/anna', '/INBOX', 'anna@example.org', '~anna@example.org/INBOX',
         'Secret', 'secret', 'INBOX/../Secret', '%', '*', 'INBOX"', 'Secret/', '0', '1']


def test_I34_no_name_or_number_leads_to_anothers_mail(store):
    with Eider(store) as eider:
        anna, berta = eider.account('anna@example.org'), eider.account('berta@example.org')
        eider.deliver(anna.login, b'Subject: for Anna\r\n\r\nthe secret word is xylophone\r\n')
        with eider.imap(anna) as a, eider.imap(berta) as b:
            a.create('Secret')
            a.select('INBOX')
            a.copy('1', 'Secret')
            names = lambda c: sorted(line.split()[-1] for line in c.list()[1])
            check(b'"Secret"' in names(a) and b'"Secret"' not in names(b), 'Berta sees her own mailboxes')
            for name in NAMES:
                for command in ('SELECT', 'EXAMINE', 'STATUS', 'DELETE'):
                    words = [command, imaplib.IMAP4._quote(b, name)] + (['(MESSAGES)'] if command == 'STATUS' else [])
                    try:
                        kind, data = b._simple_command(*words)
                    except imaplib.IMAP4.error:
                        continue
                    check(kind in ('NO', 'BAD'), f'{words} answered {kind} {data}')
                check(b.rename(imaplib.IMAP4._quote(b, name), '"Mine"')[0] != 'OK', f'RENAME {name}')
            b.select('INBOX')
            check(b.search(None, 'BODY', 'xylophone')[1] == [b''], 'nothing to find')
            for command in ('FETCH', 'COPY', 'STORE'):
                for numbers in ('1', '1:*', '4294967295'):
                    rest = {'FETCH': ['(BODY[])'], 'COPY': ['Trash'], 'STORE': ['+FLAGS', '(\\Deleted)']}[command]
                    kind, data = b.uid(command, numbers, *rest)
                    check(all(x is None or b'COPYUID' not in x for x in data) and b'xylophone' not in repr(data).encode(),
                          f'UID {command} {numbers} gave {kind} {data}')
            check(a.select('INBOX')[1] == [b'1'] and a.select('Secret')[1] == [b'1'], "Anna's mail is all there")
            check(b'xylophone' in a.fetch('1', '(BODY[])')[1][0][1], 'and readable')


def test_I34_a_second_login_on_one_connection_is_refused(store):
    with Eider(store) as eider:
        anna, berta = eider.account('anna@example.org'), eider.account('berta@example.org')
        with eider.imap(berta) as b:
            try:
                kind, _ = b._simple_command('LOGIN', anna.login, f'"{anna.password}"')
            except imaplib.IMAP4.error:
                kind = 'BAD'
            check(kind in ('NO', 'BAD'), 'one connection is one user')


if __name__ == '__main__':
    main(globals())
