#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The command line beside a running server: accounts and addresses take effect at once; import of a
Maildir and of mbox files, broken off and resumed; export; fsck, log and config."""
import calendar
import imaplib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from harness import BIN, Eider, check, main, wait_for

MANY = 400


def can_log_in(eider, login, password):
    try:
        with eider.imap() as imap:
            imap.login(login, password)
        return True
    except imaplib.IMAP4.error:
        return False


def write(folder, name, text, when=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text)
    if when:
        os.utime(folder / name, (when, when))


def message(subject, body=b'hello\n'):
    return b'From: a@example.net\nSubject: ' + subject + b'\n\n' + body


def all_mail(eider, account):
    """What can be seen of all messages: mailbox -> sorted (bytes, flags, date)."""
    found = {}
    with eider.imap(account) as imap:
        for line in imap.list()[1]:
            name = re.search(rb'" "?([^"]*)"?$', line)[1].decode()
            imap.select(f'"{name}"', readonly=True)
            imap.untagged_responses.pop('FETCH', None)
            answer = imap.fetch('1:*', '(FLAGS INTERNALDATE BODY.PEEK[])')
            found[name] = sorted((item[1], *describe(item[0])) for item in answer[1]
                                 if isinstance(item, tuple))
    return {name: mail for name, mail in found.items() if mail}


def describe(line):
    flags = sorted(imaplib.ParseFlags(line))
    return flags, calendar.timegm(time.gmtime(time.mktime(imaplib.Internaldate2tuple(line))))


def make_maildir(root):
    """INBOX with flags, keywords and dates; folders, one with a name that is not ASCII."""
    for folder in ('', '.Lists', '.Lists.C', '.Gr&APwA3w-e'):
        for sub in ('cur', 'new', 'tmp'):
            (root / folder / sub).mkdir(parents=True, exist_ok=True)
    write(root, 'dovecot-keywords', b'0 $Work\n1 $Later\n')
    write(root / 'cur', '1.a.host:2,RS', message(b'seen and answered'), 1612528496)
    write(root / 'cur', '2.a.host:2,Fab', message(b'flagged, two keywords'), 1512528496)
    write(root / 'cur', '3.a.host:2,D', message(b'draft', b'From here\n>From there\n.\n\n'))
    write(root / 'new', '4.a.host', message(b'new', bytes(range(128, 256)) + b'\n'), 1412528496)
    write(root / '.Lists' / 'cur', '5.a.host:2,S', message(b'in a folder'))
    write(root / '.Lists.C' / 'cur', '6.a.host:2,', message(b'deeper', b'x' * 100000 + b'\n'))
    write(root / '.Gr&APwA3w-e' / 'cur', '7.a.host:2,T', message(b'to be deleted'))


def test_accounts_and_aliases_take_effect_at_once(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        check(can_log_in(eider, anna.login, anna.password), 'a new account')
        eider.cli('account', 'passwd', anna.login, '--password-stdin', stdin='Another-1-Word\n')
        wait_for(lambda: not can_log_in(eider, anna.login, anna.password), 120, 'the old password')
        check(can_log_in(eider, anna.login, 'Another-1-Word'), 'the new password')
        eider.cli('alias', 'add', 'info@example.org', anna.login)
        wait_for(lambda: takes(eider, 'info@example.org'), 30, 'an alias')
        check('info@example.org' in eider.cli('alias', 'list'), 'and is listed')
        eider.cli('alias', 'delete', 'info@example.org')
        wait_for(lambda: not takes(eider, 'info@example.org'), 30, 'an alias ends')
        eider.cli('account', 'set', '--disable', anna.login)
        wait_for(lambda: not can_log_in(eider, anna.login, 'Another-1-Word'), 120, 'disabled')
        wait_for(lambda: not takes(eider, anna.login), 30, 'and gets no mail')
        eider.cli('account', 'set', '--enable', '--rename', 'anne@example.org', anna.login)
        wait_for(lambda: can_log_in(eider, 'anne@example.org', 'Another-1-Word'), 30, 'renamed')
        check(eider.cli('domain', 'delete', 'example.org', status=None)[0] != 0, 'a domain in use')
        eider.cli('account', 'delete', '--yes', 'anne@example.org')
        wait_for(lambda: not takes(eider, 'anne@example.org'), 30, 'deleted')
        check(not can_log_in(eider, 'anne@example.org', 'Another-1-Word'), 'and nobody logs in')
        eider.cli('domain', 'delete', 'example.org')
        check('enabled' not in eider.cli('account', 'list'), 'nobody is left')


def takes(eider, address):
    with eider.lmtp() as lmtp:
        lmtp.ehlo_or_helo_if_needed()
        lmtp.mail('a@example.net')
        return lmtp.rcpt(address)[0] == 250


def test_a_maildir_comes_with_all_it_has(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        root = pathlib.Path(eider.folder) / 'Maildir'
        make_maildir(root)
        words = ['import', '--quiet', '--account', anna.login, 'maildir', str(root)]
        eider.cli(*words)
        mail = all_mail(eider, anna)
        check(sorted(mail) == ['Gr&APwA3w-e', 'INBOX', 'Lists', 'Lists/C'], f'{sorted(mail)}')
        inbox = {re.search(rb'Subject: (.*)\r', m[0])[1]: m for m in mail['INBOX']}
        check(inbox[b'seen and answered'][1:] == ([b'\\Answered', b'\\Seen'], 1612528496),
              f'{inbox[b"seen and answered"]}')
        check(inbox[b'flagged, two keywords'][1:] ==
              ([b'$Later', b'$Work', b'\\Flagged'], 1512528496), 'keywords')
        check(inbox[b'draft'][0] == message(b'draft', b'From here\n>From there\n.\n\n')
              .replace(b'\n', b'\r\n'), 'bytes, with CRLF')
        check(inbox[b'draft'][1] == [b'\\Draft'] and inbox[b'new'][1] == [], 'flags')
        check(mail['Gr&APwA3w-e'][0][1] == [b'\\Deleted'], 'trashed')
        eider.cli(*words)
        check(all_mail(eider, anna) == mail, 'a second run brings nothing')
        write(root / 'new', '9.a.host', message(b'came later'))
        eider.cli(*words)
        again = all_mail(eider, anna)
        check(len(again['INBOX']) == len(mail['INBOX']) + 1, 'but what came meanwhile')


def test_mbox_files_come_too(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        root = pathlib.Path(eider.folder) / 'mboxes'
        write(root, 'Old', b'From a@b.example Fri Feb  5 12:34:56 2021\nStatus: RO\nX-Status: AF\n' +
              message(b'one', b'>From the start\n') + b'\nFrom b@c.example Sat Feb  6 00:00:00 2021\n' +
              message(b'two', b'last\n') + b'\n')
        eider.cli('import', '--quiet', '--account', anna.login, '--mailbox', 'Archive', 'mbox',
                  str(root))
        mail = all_mail(eider, anna)
        check(list(mail) == ['Archive/Old'], f'{list(mail)}')
        one, two = sorted(mail['Archive/Old'], key=lambda m: m[2])
        check(one[1:] == ([b'\\Answered', b'\\Flagged', b'\\Seen'], 1612528496), f'{one}')
        check(one[0].endswith(b'Subject: one\r\n\r\nFrom the start\r\n'), f'the mark is off: {one}')
        check(two[0] == message(b'two', b'last\n').replace(b'\n', b'\r\n'), f'{two}')


def test_an_import_is_broken_off_and_resumed(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        root = pathlib.Path(eider.folder) / 'Maildir'
        for sub in ('cur', 'new', 'tmp'):
            (root / sub).mkdir(parents=True)
        for i in range(MANY):
            write(root / 'cur', f'{i}.a.host:2,S', message(b'number %d' % i, b'line\n' * 300))
        words = ['import', '--quiet', '--account', anna.login, 'maildir', str(root)]
        broken = 0
        with eider.imap(anna) as imap:
            for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
                had = int(imap.select()[1][0])
                process = subprocess.Popen([str(BIN / 'eider'), *words, '-c', eider.config],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=subprocess.STDOUT)
                while process.poll() is None and int(imap.select()[1][0]) < had + 20:
                    time.sleep(0.005)
                process.send_signal(how)
                process.communicate(timeout=60)
                broken += process.returncode != 0
        eider.cli(*words)
        subjects = [re.search(rb'Subject: (.*)\r', m[0])[1] for m in all_mail(eider, anna)['INBOX']]
        check(broken > 0, 'at least one run was broken off')
        check(len(subjects) == len(set(subjects)), f'nothing is doubled: {len(subjects)}')
        check(len(subjects) == MANY, f'nothing is missing: {len(subjects)}')


def bodies(mail):
    return sorted(message[0].split(b'\r\n\r\n', 1)[1] for box in mail.values() for message in box)


def test_what_is_exported_can_be_imported(store):
    with Eider(store) as eider:
        anna, bert, cleo = (eider.account(f'{n}@example.org') for n in ('anna', 'bert', 'cleo'))
        root = pathlib.Path(eider.folder)
        make_maildir(root / 'Maildir')
        eider.cli('import', '--quiet', '--account', anna.login, 'maildir', str(root / 'Maildir'))
        eider.deliver(anna.login, b'Subject: lmtp\r\n\r\nFrom me\r\n')
        mail = all_mail(eider, anna)
        eider.cli('export', '--account', anna.login, 'maildir', str(root / 'out'))
        eider.cli('import', '--quiet', '--account', bert.login, 'maildir', str(root / 'out'))
        check(all_mail(eider, bert) == mail, 'by Maildir all is the same: bytes, flags, dates')
        eider.cli('export', '--account', anna.login, 'mbox', str(root / 'mbox'))
        eider.cli('import', '--quiet', '--account', cleo.login, 'mbox', str(root / 'mbox'))
        got = all_mail(eider, cleo)
        check(bodies(got) == bodies(mail), 'by mbox: the bodies')
        said = eider.cli('export', '--account', anna.login, 'maildir', str(root / 'out'),
                         status=None)
        check(said[0] != 0, 'nothing is overwritten')


def test_fsck_log_and_config_beside_a_server(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        eider.deliver(anna.login, b'Subject: x\r\n\r\nhello\r\n')
        eider.cli('fsck', '--all')
        eider.cli('fsck', '--quick', anna.login)
        check('append' in eider.cli('log', anna.login), 'the delivery is in the log')
        for line in eider.cli('log', '--json', anna.login).splitlines():
            check(json.loads(line)['seq'] > 0, 'JSON, a line each')
        shown = json.loads(eider.cli('account', 'show', '--json', anna.login))
        check(shown['usedMessages'] == 1, f'{shown}')
        eider.cli('config', 'check')
        check('eider.example.org' in eider.cli('config', 'show'), 'config show')
        check('listeners' in eider.cli('config', 'defaults'), 'config defaults')
        for words in (['fsck', 'nobody@example.org'], ['log', 'nobody@example.org'],
                      ['account', 'show', 'nobody@example.org']):
            check(eider.cli(*words, status=None)[0] == 67, f'{words}: not found')


if __name__ == '__main__':
    main(globals())
