#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""imapflow, the client library of many web applications: imapflow.js does the work and says "ok WHAT"
for each thing that held. The library is fetched once, by npm, into the cache."""
import os
import pathlib
import subprocess
import threading

from harness import ROOT, Eider, Failed, check, main

IMAPFLOW = 'imapflow@2.10.2'
CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')) / 'eider'
HELD = ['connect', 'list', 'append', 'fetch', 'download', 'search', 'flags', 'copy', 'move', 'delete',
        'idle', 'gone', 'mailboxes', 'resync', 'vanished', 'compress', 'quota', 'objects',
        'logout']


def library():
    """The folder that holds node_modules/imapflow."""
    folder = CACHE / 'npm' / IMAPFLOW
    if not (folder / 'node_modules' / 'imapflow').is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(['npm', 'install', '--no-audit', '--no-fund', '--silent', '--prefix',
                               str(folder), IMAPFLOW], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                              check=False)
        check(done.returncode == 0, f'npm install {IMAPFLOW}: {done.stdout.decode()}')
    return folder / 'node_modules'


def test_imapflow_uses_a_mailbox(store):
    modules = library()
    with Eider(store) as eider:
        anna = eider.account('anna@example.org')
        eider.deliver(anna.login, b'From: a@example.net\r\nSubject: first\r\n\r\nhello\r\n')
        node = subprocess.Popen(
            ['node', str(ROOT / 'tests' / 'e2e' / 'imapflow.js'), str(eider.imaps_port),
             anna.login, anna.password], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, 'NODE_PATH': str(modules)})
        guard = threading.Timer(120, node.kill)
        guard.start()
        said = []
        try:
            for line in node.stdout:
                said.append(line.decode(errors='replace').rstrip())
                if said[-1] == 'idling':
                    eider.deliver(anna.login, b'Subject: news\r\n\r\nhello again\r\n')
        finally:
            node.wait(120)
            guard.cancel()
        held = [line[3:] for line in said if line.startswith('ok ')]
        if node.returncode != 0 or held != HELD:
            raise Failed('imapflow: ' + '\n'.join(said))


NODES = True


if __name__ == '__main__':
    main(globals())
