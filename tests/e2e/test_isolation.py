#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""I34: no input of one user reaches another's mail."""
import imaplib
import re

from harness import Eider, check, main
from test_extensions import Talk
from test_urlauth import Sender, authorize, fetch

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


def urls_without_a_right_token(valid, own):
    """Of what a valid URL (Anna's, for Berta) and one of Berta's own could be made into."""
    rump, token = valid.rsplit(':', 1)
    yield rump.split(';URLAUTH')[0]
    yield rump.replace(':internal', '')
    yield f'{rump}:{"0" * len(token)}'
    yield f'{rump}:{token[:-2]}'
    yield f'{rump}:00{token[2:]}'
    for old, new in (('UID=1', 'UID=2'), ('UID=1', 'UID=01'), ('/;SECTION=1', ''), ('SECTION=1', 'SECTION=TEXT'),
                     ('INBOX', 'Secret'), ('INBOX', 'inbox'), ('INBOX', '%49NBOX'), ('anna%40', 'Anna%40'),
                     ('user+berta%40example.org', 'anonymous'), ('user+berta%40example.org', 'authuser'),
                     ('user+berta', 'submit+berta'), ('eider.example', 'EIDER.example'),
                     (';URLAUTH', ';EXPIRE=2999-01-01T00:00:00Z;URLAUTH')):
        changed = rump.replace(old, new)
        check(changed != rump, f'{old} in {rump}')
        yield f'{changed}:{token}'
    yield own.replace('berta%40example.org@', 'anna%40example.org@')


def test_I34_no_url_leads_to_anothers_mail_without_its_token(store):
    with Eider(store) as eider:
        anna, berta = eider.account('anna@example.org'), eider.account('berta@example.org')
        for _ in range(2):
            eider.deliver(anna.login, b'Subject: for Anna\r\n\r\nthe secret word is xylophone\r\n')
        with Talk(eider, anna) as a, Talk(eider, berta) as b:
            a.ask('CREATE Secret')
            valid = authorize(a, 'anna%40example.org', 'INBOX/;UID=1/;SECTION=1', 'user+berta%40example.org')
            own = authorize(b, 'berta%40example.org', 'INBOX/;UID=1/;SECTION=1', 'user+berta%40example.org')
            check(b'xylophone' in fetch(b, valid), 'what Anna allows')
            urls = list(urls_without_a_right_token(valid, own))
            for url in urls:
                check(fetch(b, url) == b'NIL', f'{url} is for nobody')
            with Sender(eider, berta, berta.login) as sender:
                for url in urls:
                    check(re.match('554 5.[67]', reply := sender.burl(url)), f'{url}: {reply}')
                    sender.begin(berta, berta.login)
            check(b'0 EXISTS' in b''.join(b.ask('SELECT INBOX')[1]), 'nothing was sent')
            a.ask('DELETE Secret')
            eider.cli('account', 'set', anna.login, '--disable')
            check(fetch(b, valid) == b'NIL', 'Anna has no access, so nobody has it by her')


if __name__ == '__main__':
    main(globals())
