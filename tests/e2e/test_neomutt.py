#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""neomutt at a terminal: keys are pressed, the screen is read, the account is looked at."""
import os
import pathlib
import time

from harness import Eider, check, main, wait_for
from terminal import Terminal


class Neomutt(Terminal):
    """neomutt on the INBOX of an account, on a terminal of 100 x 30."""

    def __init__(self, eider, account):
        home = pathlib.Path(eider.folder) / 'home'
        home.mkdir()
        (home / 'muttrc').write_text(f'''
set folder = "imap://127.0.0.1:{eider.imap_port}/"
set imap_user = "{account.login}"
set imap_pass = "{account.password}"
set imap_authenticators = "plain:login"
set ssl_starttls = no
set ssl_force_tls = no
set imap_idle = no
set spool_file = "+INBOX"
set header_cache = ""
set delete = yes
set quit = yes
set move = no
set confirm_append = no
set confirm_create = no
set wait_key = no
set mark_old = no
set sort = mailbox-order
set pager_stop = yes
set read_inc = 0
set write_inc = 0
set net_inc = 0
set time_inc = 0
set imap_poll_timeout = 60
set timeout = 1
set mail_check = 1
set status_format = "<%f: %m messages>"
set index_format = "%3C %Z %s"
''')
        super().__init__(['neomutt', '-n', '-F', str(home / 'muttrc')], home)


def message(subject, body):
    return b'From: a@example.net\r\nSubject: ' + subject + b'\r\n\r\n' + body + b'\r\n'


def flags(imap, number):
    imap.untagged_responses.clear()  # imaplib keeps what came unasked
    return imap.fetch(number, '(FLAGS)')[1][0]


def test_a_person_reads_mail(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        for subject, body in ((b'apples', b'red and green'), (b'pears', b'yellow'),
                              (b'plums', b'blue'), (b'grapes', b'sour')):
            eider.deliver(anna.login, message(subject, body))
        mutt = Neomutt(eider, anna)
        mutt.expect(b'4 messages')
        mutt.expect(b'grapes')
        mutt.press(b'1\n', b'')
        mutt.press(b'\n', b'red and green')
        mutt.press(b'i', b'4 messages')
        mutt.press(b'2\n', b'')
        os.write(mutt.tty, b'F')
        mutt.press(b'3\n', b'')
        mutt.press(b's', b'Save')
        mutt.press(b'\x15=Kept\n', b'')
        with eider.imap(anna) as imap:
            wait_for(lambda: imap.select('Kept')[0] == 'OK', 60, 'saving makes the mailbox')
            wait_for(lambda: imap.select('Kept')[1] == [b'1'], 60, 'and puts the message there')
            check(b'blue' in imap.fetch('1', 'BODY.PEEK[]')[1][0][1], 'the right one')
            mutt.press(b'4\n', b'')
            os.write(mutt.tty, b'd')
            time.sleep(0.5)
            mutt.press(b'$', b'')
            imap.select()
            wait_for(lambda: imap.noop() and imap.search(None, 'ALL')[1] == [b'1 2'], 60,
                     'saved and deleted ones are expunged')
            check(b'\\Seen' in flags(imap, '1'), 'what was read is seen')
            check(b'\\Flagged' in flags(imap, '2'), 'what was flagged is flagged')
            eider.deliver(anna.login, message(b'figs', b'sweet'))
            mutt.forget()
            mutt.expect(b'figs')
        mutt.quit()


NODES = True


if __name__ == '__main__':
    main(globals())
