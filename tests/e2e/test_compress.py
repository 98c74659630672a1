#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""COMPRESS=DEFLATE (RFC 4978) with Python's zlib as the client: plain and under TLS, over rests, with
bombs and rubbish. (imapflow turns it on by itself: test_imapflow.py.)"""
import imaplib
import time
import zlib

from harness import Eider, check, main


class Compressed:
    """Talks to the socket of an imaplib client that has sent COMPRESS."""

    def __init__(self, imap):
        status, _ = imap.xatom('COMPRESS', 'DEFLATE')
        check(status == 'OK', 'COMPRESS DEFLATE')
        self.sock = imap.sock
        self.out = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.into = zlib.decompressobj(-15)
        self.text = b''
        self.received = 0

    def send(self, data, flush=zlib.Z_SYNC_FLUSH):
        self.sock.sendall(self.out.compress(data) + self.out.flush(flush))

    def until(self, what):
        while what not in self.text:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.received += len(data)
            self.text += self.into.decompress(data)
        end = self.text.index(what) + len(what)
        got, self.text = self.text[:end], self.text[end:]
        return got

    def command(self, text, flush=zlib.Z_SYNC_FLUSH):
        self.send(b'z1 ' + text + b'\r\n', flush)
        return self.until(b'z1 OK')


def fill(eider, anna):
    with eider.imap(anna) as imap:
        for i in range(30):
            imap.append('INBOX', None, None, b'Subject: number %d\r\n\r\n' % i + b'the same line again\r\n' * 2000)


def test_compressed_connection(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        fill(eider, anna)
        for tls in (False, True):
            imap = eider.imap(anna, tls=tls)
            check('COMPRESS=DEFLATE' in imap.capability()[1][0].decode(), 'the capability')
            c = Compressed(imap)
            check(b'30 EXISTS' in c.command(b'SELECT INBOX'), 'SELECT')
            before = c.received
            got = c.command(b'FETCH 1:* (BODY.PEEK[])')
            check(got.count(b'the same line again\r\n') == 60000, 'all bodies')
            check(c.received - before < 60000, f'are compressed: {c.received - before}')
            for flush in (zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_FULL_FLUSH):
                check(c.command(b'NOOP', flush), 'NOOP')
                time.sleep(3.5)  # compression rests
                check(b'number 3' in c.command(b'FETCH 4 (ENVELOPE)', flush), 'after a rest')
            c.send(b'z2 APPEND INBOX {100000+}\r\n' + b'x' * 100000 + b'\r\nz3 NOOP\r\n')
            check(b'z2 OK' in c.until(b'z3 OK'), 'a literal and a command behind it')
            c.command(b'STORE 31 +FLAGS (\\Deleted)')
            c.command(b'EXPUNGE')
            c.send(b'z9 LOGOUT\r\n')
            check(b'* BYE' in c.until(b'z9 OK'), 'LOGOUT')


def test_bombs_and_rubbish(store):
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        bomb = Compressed(eider.imap(anna, tls=False))
        began = time.monotonic()
        try:
            for _ in range(10):
                bomb.send(b'y' * 10000000)  # 10 KB on the wire
            bomb.send(b'\r\nz5 NOOP\r\n')
            answer = bomb.until(b'z5 OK')
        except OSError:
            answer = None
        check(answer is None or b' BAD ' in answer or b'BYE' in answer, f'100 MB of a command are refused: {answer}')
        check(time.monotonic() - began < 30, 'and cost little')
        rubbish = Compressed(eider.imap(anna, tls=False))
        rubbish.sock.sendall(b'a1 NOOP\r\n' * 10)
        check(rubbish.until(b'never') is None, 'what is not DEFLATE ends the connection')
        with eider.imap(anna) as imap:
            check(imap.noop()[0] == 'OK', 'and harms nobody else')


def test_starttls_is_over():
    with Eider('sqlite') as eider:
        anna = eider.account('anna@example.org')
        c = Compressed(eider.imap(anna, tls=False))
        c.send(b'z1 STARTTLS\r\n')
        check(c.until(b'z1 BAD'), 'STARTTLS after COMPRESS is BAD')


if __name__ == '__main__':
    main(globals())
