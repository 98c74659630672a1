#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The corpus beside Dovecot: ENVELOPE, BODY, BODYSTRUCTURE, sections, SEARCH, SORT, THREAD (tests/oracle); and every
byte of it through a real server, in by APPEND and out by FETCH.

EIDER_ORACLE_MESSAGES: how many of the corpus are compared (default 300; 0: all)."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from harness import BIN, ROOT, Eider, check, main

COMPARED = int(os.environ.get('EIDER_ORACLE_MESSAGES', '300'))
LARGE = 4 << 20


def corpus():
    folder = tempfile.mkdtemp(prefix='eider-corpus-')
    subprocess.run([sys.executable, str(ROOT / 'tests/corpus/make.py'), folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def sample(folder, n):
    """Every so many, so that each kind of message is among them; the largest are left to the other test."""
    files = sorted(f for f in pathlib.Path(folder).rglob('*') if f.is_file())
    check(len(files) >= 300, f'a corpus of {len(files)} messages')
    for i, f in enumerate(files):
        if (n and i * n // len(files) == (i - 1) * n // len(files)) or f.stat().st_size > LARGE:
            f.unlink()


def test_agrees_with_dovecot():
    folder = corpus()
    try:
        sample(folder, COMPARED)
        mimedump = BIN.parent / 'tests' / 'tools' / 'mimedump'
        done = subprocess.run([sys.executable, str(ROOT / 'tests/oracle/compare_mime.py'), str(mimedump), folder],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500, check=False)
        check(done.returncode == 0, done.stdout.decode(errors='replace')[-4000:])
    finally:
        shutil.rmtree(folder)


def test_search_sort_thread_agree_with_dovecot():
    folder = corpus()
    try:
        sample(folder, COMPARED)
        with Eider('sqlite') as eider:
            anna = eider.account('anna@example.org')
            done = subprocess.run([sys.executable, str(ROOT / 'tests/oracle/compare_search.py'), str(eider.imap_port), anna.login,
                                   anna.password, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500, check=False)
        check(done.returncode == 0, done.stdout.decode(errors='replace')[-20000:])
    finally:
        shutil.rmtree(folder)


def test_I33_every_byte_of_the_corpus_comes_back():
    folder = corpus()
    try:
        with Eider('sqlite') as eider:
            anna = eider.account('anna@example.org')
            with eider.imap(anna) as imap:
                for f in sorted(f for f in pathlib.Path(folder).rglob('*') if f.is_file()):
                    content = f.read_bytes()
                    if content:
                        kind, data = imap.append('INBOX', None, None, content)
                        check(kind == 'OK', f'{f.name}: {data}')
                files = [f for f in sorted(f for f in pathlib.Path(folder).rglob('*') if f.is_file()) if f.stat().st_size]
                check(imap.select()[1] == [str(len(files)).encode()], 'all are there')
                for i, f in enumerate(files, 1):
                    # what imaplib makes of line ends when it sends
                    sent = imaplib_ends(f.read_bytes())
                    got = imap.fetch(str(i), '(BODY.PEEK[])')[1][0][1]
                    check(got == sent, f'{f.name}: other bytes')
            check('clean' in eider.cli('fsck', '--all'), 'fsck')
    finally:
        shutil.rmtree(folder)


def imaplib_ends(content):
    import imaplib
    return imaplib.MapCRLF.sub(imaplib.CRLF, content)


if __name__ == '__main__':
    main(globals())
