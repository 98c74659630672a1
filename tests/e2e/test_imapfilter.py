#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""imapfilter sorts mail by what it finds on the server: searches, moves, flags, makes mailboxes."""
import pathlib
import re
import subprocess

from harness import Eider, check, main

SCRIPT = '''
options.timeout = 60
options.starttls = false
options.create = true
options.subscribe = true
far = IMAP { server = '127.0.0.1', port = %d, username = '%s', password = '%s' }
found = far.INBOX:contain_subject('apples') + far.INBOX:contain_body('a pear')
found:move_messages(far['Fruit/All'])
far.INBOX:is_larger(4000):copy_messages(far['Large'])
far.INBOX:is_larger(4000):mark_seen()
spam = far.INBOX:contain_from('spam@') * far.INBOX:is_unseen()
spam:delete_messages()
far.INBOX:is_newer(1):mark_flagged()
'''


def message(subject, body, sender=b'a@example.net'):
    return b'From: ' + sender + b'\r\nSubject: ' + subject + b'\r\n\r\n' + body + b'\r\n'


def there(imap, mailbox):
    check(imap.select(mailbox)[0] == 'OK', f'{mailbox} is there')
    answer = imap.fetch('1:*', '(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
    return {re.search(rb'Subject: ([^\r]*)', item[1])[1]:
            set(re.search(rb'FLAGS \(([^)]*)\)', item[0])[1].split())
            for item in answer if isinstance(item, tuple)}


def test_mail_is_sorted(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for text in (message(b'apples', b'red'), message(b'other', b'just a pear'),
                     message(b'long', b'line\r\n' * 1000), message(b'buy', b'now', b'spam@example.net'),
                     message(b'rest', b'nothing')):
            eider.deliver(anna.login, text)
        script = pathlib.Path(eider.folder) / 'filter.lua'
        script.write_text(SCRIPT % (eider.imap_port, anna.login, anna.password))
        with eider.imap(anna) as imap:
            for _ in range(2):  # the second time there is nothing left to do
                done = subprocess.run(['imapfilter', '-c', str(script)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                                      check=False, env={'HOME': eider.folder, 'PATH': '/usr/bin:/bin'})
                check(done.returncode == 0, f'imapfilter: {done.stdout.decode(errors="replace")}')
                check(there(imap, 'INBOX') == {b'long': {b'\\Seen', b'\\Flagged'}, b'rest': {b'\\Flagged'}},
                      'what stays')
                check(set(there(imap, 'Fruit/All')) == {b'apples', b'other'}, 'what was found is moved')
            imap.select('Large')
            check(imap.search(None, 'SUBJECT', 'long')[1] == [b'1 2'], 'copied by each run')
            check(b'Fruit/All' in b' '.join(imap.lsub()[1]), 'subscribed')


if __name__ == '__main__':
    main(globals())
