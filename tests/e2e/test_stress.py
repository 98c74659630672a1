#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""tests/stress for a short time, on each store and over two nodes (I1-I12, I14-I16, I20-I22). Longer:

    EIDER_STRESS_SECONDS=600 EIDER_STRESS_SEED=5 tests/e2e/test_stress.py sqlite

EIDER_STRESS_MORE: further words for tests/stress/stress."""
import os
import subprocess
import sys

from harness import BIN, Eider, check, main
from nodes import HintProxy, Nodes, Redis

STRESS = BIN.parent / 'tests' / 'stress' / 'stress'
SECONDS = int(os.environ.get('EIDER_STRESS_SECONDS', '5'))
SEED = ['--seed', os.environ['EIDER_STRESS_SEED']] if 'EIDER_STRESS_SEED' in os.environ else []
MORE = os.environ.get('EIDER_STRESS_MORE', '').split()
NODES = True


def stress(servers, *words, seconds=SECONDS):
    anna = servers[0].account('anna@example.org')
    done = subprocess.run(
        [str(STRESS), '--user', anna.login, '--password', anna.password, '--seconds', str(seconds), *SEED, *words,
         *MORE, *[str(s.imap_port) for s in servers]],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds * 3 + 200, check=False)
    sys.stdout.write(done.stdout.decode())
    check(done.returncode == 0, f'stress: status {done.returncode}:\n{done.stderr.decode(errors="replace")}')


def servers_of(eider):
    return getattr(eider, 'nodes', [eider])


def test_many_clients_do_random_things(store):
    with Eider(store) as eider:
        stress(servers_of(eider))
        status, out, error = eider.cli('fsck', '--all', status=None)
        check(status == 0, f'fsck: {out[-2000:]} {error[-2000:]}')


def test_one_at_a_time(store):
    """A run that its seed repeats; with a snapshot every other moment (I6)."""
    with Eider(store, settings='mail = { snapshot_after = 16; };') as eider:
        stress(servers_of(eider), '--serial', '--clients', '5', seconds=max(SECONDS // 2, 1))
        status, out, error = eider.cli('fsck', '--all', status=None)
        check(status == 0, f'fsck: {out[-2000:]} {error[-2000:]}')


def test_without_room_for_replicas(store):
    """Every two seconds all that is saved is let go, while it is used (lib/mail/account.c, make_room)."""
    with Eider(store, settings='mail = { snapshot_after = 16; }; cache = { replicas = 0; keep = 0; };') as eider:
        stress(servers_of(eider))
        status, out, error = eider.cli('fsck', '--all', status=None)
        check(status == 0, f'fsck: {out[-2000:]} {error[-2000:]}')


def test_I28_hints_that_suffer_change_nothing():
    proxy = HintProxy(Redis.get())
    try:
        with Nodes(settings='mail = { poll_interval = "2s"; };',
                   bus=f'redis://127.0.0.1:{proxy.port}?prefix=stress') as both:
            proxy.mode = 'wild'
            stress(both.nodes, seconds=max(SECONDS // 2, 1))
            check(all(proxy.counts.values()), f'the proxy had work: {proxy.counts}')
    finally:
        proxy.close()


def test_two_sessions_on_two_nodes_change_one_mailbox_as_fast_as_they_can():
    with Nodes() as both:
        stress(both.nodes, '--clients', '2', '--boxes', '1', '--round-ms', '1000', seconds=max(SECONDS // 2, 1))


if __name__ == '__main__':
    main(globals())
