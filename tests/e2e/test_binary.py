#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""FETCH BINARY (RFC 3516) of every part of the corpus beside Python's decoders; a large part, whole and by pieces;
APPEND of binary parts.  EIDER_BINARY_MESSAGES: how many of the corpus (default 400; 0: all)."""
import base64
import binascii
import email
import hashlib
import os
import pathlib
import quopri
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from harness import ROOT, Eider, check, main

MESSAGES = int(os.environ.get('EIDER_BINARY_MESSAGES', '400'))
LARGE = 30 << 20


def corpus():
    folder = tempfile.mkdtemp(prefix='eider-binary-')
    subprocess.run([sys.executable, str(ROOT / 'tests/corpus/make.py'), folder], check=True, stdout=subprocess.DEVNULL)
    files = sorted(f for f in pathlib.Path(folder).rglob('*') if f.is_file() and f.stat().st_size)
    n = len(files)
    return folder, [f for i, f in enumerate(files)
                    if (not MESSAGES or i * MESSAGES // n != (i - 1) * MESSAGES // n) and f.stat().st_size < 4 << 20]


def values(imap, number, items):
    """Label -> bytes (None: NIL) of one FETCH response; None: the answer was NO."""
    kind, data = imap.fetch(str(number), items)
    if kind != 'OK':
        check(b'UNKNOWN-CTE' in data[0], f'{items}: {data}')
        return None
    found, text = {}, b''
    for piece in data:
        head = piece[0] if isinstance(piece, tuple) else piece
        text += head
        if isinstance(piece, tuple):
            label = re.search(rb'((?:BODY|BINARY)\[[^]]*\](?:<\d+>)?) ~?\{\d+\}$', head)[1]
            found[label.decode()] = piece[1]
            check((b'~{' in head[-14:]) == (label.startswith(b'BINARY') and b'\0' in piece[1]),
                  f'a literal8 for NULs, and only for them: {head}')
    for label in re.findall(rb'((?:BODY|BINARY)\[[^]]*\]) NIL', text):
        found[label.decode()] = None
    for label, size in re.findall(rb'(BINARY\.SIZE\[[^]]*\]) (\d+)', text):
        found[label.decode()] = int(size)
    return found


def base64_leniently(raw):
    """Joined encodings are read in full, what does not belong is skipped; undamaged ones as Python does."""
    kept = re.sub(rb'[^A-Za-z0-9+/=]', b'', raw)
    got = b''
    for piece in re.split(b'=+', kept):
        piece = piece[:-1] if len(piece) % 4 == 1 else piece
        got += base64.b64decode(piece + b'=' * (-len(piece) % 4))
    if b'=' not in kept.rstrip(b'=') and len(kept) % 4 == 0:
        check(got == binascii.a2b_base64(raw), 'the oracle agrees with binascii')
    return got


def qp_is_sound(raw):
    return not re.search(rb'=(?![0-9A-Fa-f]{2}|\r?\n|$)|[ \t]\r?\n|[ \t\r]$|\r(?!\n)', raw)


def encoding_of(header):
    head = email.message_from_bytes(header)
    if head.get_content_maintype() in ('multipart', 'message'):
        return ''
    return head.get('Content-Transfer-Encoding', '').strip().lower()


def compare_part(imap, number, section, name, tally):
    """False: there is no such part."""
    body = f'BODY[{section}]'
    raw = values(imap, number, f'(BODY.PEEK[{section}] BODY.PEEK[{section}.MIME])')
    if raw.get(body) is None:
        return False
    got = values(imap, number, f'(BINARY.PEEK[{section}] BINARY.SIZE[{section}])')
    if got is None:
        tally['unknown'] += 1
        return True
    decoded, raw_bytes, where = got[f'BINARY[{section}]'], raw[body], f'{name} [{section}]'
    check(got[f'BINARY.SIZE[{section}]'] == len(decoded), f'{where}: BINARY.SIZE')
    encoding = encoding_of(raw.get(f'BODY[{section}.MIME]') or b'')
    if encoding == 'base64' and decoded != raw_bytes:
        check(decoded == base64_leniently(raw_bytes), f'{where}: base64')
        tally['base64'] += 1
    elif encoding == 'quoted-printable' and decoded != raw_bytes:
        if qp_is_sound(raw_bytes):
            check(decoded == quopri.decodestring(raw_bytes), f'{where}: quoted-printable')
            tally['qp'] += 1
    elif encoding in ('', '7bit', '8bit', 'binary'):
        check(decoded == raw_bytes, f'{where}: as it is')
        tally['plain'] += 1
    if len(decoded) > 3:
        part = values(imap, number, f'(BINARY.PEEK[{section}]<1.{len(decoded) // 2}>)')[f'BINARY[{section}]<1>']
        check(part == decoded[1:1 + len(decoded) // 2], f'{where}: partial')
    return True


def compare_parts(imap, number, prefix, name, tally):
    for i in range(1, 12):
        if not compare_part(imap, number, f'{prefix}{i}', name, tally):
            return
        if prefix.count('.') < 2:
            head = values(imap, number, f'(BODY.PEEK[{prefix}{i}.1.MIME])').get(f'BODY[{prefix}{i}.1.MIME]')
            if head is not None:
                compare_parts(imap, number, f'{prefix}{i}.', name, tally)


def quoted_printable(folder):
    """The corpus has little of it that is more than its own text."""
    dice, made = random.Random(5), []
    for i in range(30):
        text = ''.join(dice.choice('abc =\t\nüß.') for _ in range(dice.randrange(400))).encode()
        made.append(pathlib.Path(folder) / f'quoted-printable-{i}')
        made[-1].write_bytes(b'MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
                             + quopri.encodestring(text).replace(b'\n', b'\r\n'))
    return made


def test_decodes_as_python_does():
    folder, files = corpus()
    files += quoted_printable(folder)
    tally = {'base64': 0, 'qp': 0, 'plain': 0, 'unknown': 0}
    try:
        with Eider('sqlite') as eider, eider.imap(eider.account('anna@example.org')) as imap:
            for f in files:
                check(imap.append('INBOX', None, None, f.read_bytes())[0] == 'OK', f.name)
            imap.select()
            for number, f in enumerate(files, 1):
                compare_parts(imap, number, '', f.name, tally)
    finally:
        shutil.rmtree(folder)
    print(tally)
    check(min(tally['base64'], tally['qp'], tally['plain']) >= 10, f'enough was compared: {tally}')


def test_a_large_part():
    content = random.Random(7).randbytes(LARGE)
    text = (b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee below\r\n--b\r\n'
            b'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n'
            + base64.encodebytes(content).replace(b'\n', b'\r\n') + b'--b--\r\n')
    with Eider('sqlite') as eider, eider.imap(eider.account('anna@example.org')) as imap:
        check(imap.append('INBOX', None, None, text)[0] == 'OK', 'APPEND')
        imap.select()
        check(values(imap, 1, '(BINARY.SIZE[2])')['BINARY.SIZE[2]'] == LARGE, 'BINARY.SIZE')
        began = time.monotonic()
        check(values(imap, 1, '(BINARY.PEEK[2])')['BINARY[2]'] == content, 'whole')
        whole = time.monotonic() - began
        began, pieces = time.monotonic(), hashlib.sha256()
        for at in range(0, LARGE, 1 << 18):
            pieces.update(values(imap, 1, f'(BINARY.PEEK[2]<{at}.{1 << 18}>)')[f'BINARY[2]<{at}>'])
        by_pieces = time.monotonic() - began
        check(pieces.digest() == hashlib.sha256(content).digest(), 'by pieces')
        print(f'whole {whole:.2f} s, {LARGE >> 18} pieces {by_pieces:.2f} s')
        check(by_pieces < 10 * whole + 5, 'a piece does not cost what is before it')


def append8(imap, content):
    """APPEND with a literal8, which imaplib does not know."""
    tag = imap._new_tag()
    imap.send(tag + b' APPEND INBOX ~{%d+}\r\n' % len(content) + content + b'\r\n')
    return imap._command_complete('APPEND', tag)


def test_what_is_appended_in_binary_comes_back():
    content = random.Random(8).randbytes(300000)
    head = b'MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n'
    with Eider('sqlite') as eider, eider.imap(eider.account('anna@example.org')) as imap:
        imap.select()
        check(append8(imap, head + content)[0] == 'OK', 'APPEND of a literal8')
        check(append8(imap, b'Subject: a\0b\r\n\r\n')[0] == 'NO', 'a NUL where no base64 can take it')
        imap.noop()
        check(values(imap, 1, '(BINARY.PEEK[1])')['BINARY[1]'] == content, 'the same octets')
        plain = email.message_from_bytes(imap.fetch('1', '(BODY.PEEK[])')[1][0][1])
        check(plain.get_payload(decode=True) == content, 'and for a client that knows no BINARY')


if __name__ == '__main__':
    main(globals())
