#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""curl as an IMAP client: list, append, search, fetch, flags, move, with TLS of both sorts."""
import pathlib
import re
import subprocess

from harness import Account, Eider, check, main

MESSAGE = 'From: anna@example.org\r\nSubject: by curl\r\n\r\nGr\u00fc\u00dfe\r\n'.encode() * 3


def curl(eider, account, path, *words, scheme='imaps', status=0):
    port = eider.imaps_port if scheme == 'imaps' else eider.imap_port
    done = subprocess.run(['curl', '-sS', '-k', '--max-time', '60', '--user',
                           f'{account.login}:{account.password}', *words,
                           f'{scheme}://127.0.0.1:{port}/{path}'], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    check((done.returncode == 0) == (status == 0),
          f'curl {path} {words}: {done.returncode}: {done.stderr.decode(errors="replace")}')
    return done.stdout


def test_curl_reads_and_writes(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        names = curl(eider, anna, '')
        check(b'INBOX' in names and b'Sent' in names, f'LIST: {names}')
        file = pathlib.Path(eider.folder) / 'message'
        file.write_bytes(MESSAGE)
        curl(eider, anna, 'INBOX', '-T', str(file))
        eider.deliver(anna.login, b'Subject: by lmtp\r\n\r\nhello\r\n')
        check(curl(eider, anna, 'INBOX;UID=1') == MESSAGE, 'byte for byte')
        check(curl(eider, anna, 'INBOX;MAILINDEX=1') == MESSAGE, 'by its number')
        check(b'by lmtp' in curl(eider, anna, 'INBOX;UID=2;SECTION=HEADER'), 'a section')
        check(curl(eider, anna, 'INBOX?SUBJECT%20curl') == b'* SEARCH 1\r\n', 'SEARCH')
        curl(eider, anna, 'INBOX', '-X', r'STORE 1 +FLAGS (\Flagged)')
        check(b'\\Flagged' in curl(eider, anna, 'INBOX', '-X', 'FETCH 1 FLAGS'), 'flags')
        curl(eider, anna, '', '-X', 'CREATE Kept')
        curl(eider, anna, 'INBOX', '-X', 'UID MOVE 1 Kept')
        check(curl(eider, anna, 'Kept;UID=1') == MESSAGE, 'moved')
        status = curl(eider, anna, '', '-X', 'STATUS INBOX (MESSAGES)')
        check(re.search(rb'MESSAGES 1\)', status), f'and gone: {status}')
        curl(eider, anna, 'INBOX;UID=77', status=1)
        curl(eider, anna, 'Nothing;UID=1', status=1)


def test_curl_logs_in_under_tls_only(store):
    with Eider(store, plaintext=False) as eider:
        anna = eider.account('anna@example.org')
        curl(eider, anna, '', scheme='imap', status=1)
        check(b'INBOX' in curl(eider, anna, '', '--ssl-reqd', scheme='imap'), 'STARTTLS')
        said = curl(eider, anna, '', '--login-options', 'AUTH=PLAIN')
        check(b'INBOX' in said, 'AUTHENTICATE PLAIN')
        wrong = Account(anna.login, 'wrong')
        curl(eider, wrong, '', status=1)


NODES = ['test_curl_reads_and_writes']


if __name__ == '__main__':
    main(globals())
