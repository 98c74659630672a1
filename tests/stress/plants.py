#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Shows that tests/stress notices bugs: builds Eider with bugs put in on purpose (-Dplant=any, see
lib/base/plant.h), has each chosen in turn, and runs the stress program over two nodes on MongoDB until
it complains. Without a bug it must not.

    plants.py [--seconds N] [--seed N] [NAME]...

Not part of tools/test: it takes some minutes. $EIDER_BUILD (default build/) gets a folder `plants`.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = pathlib.Path(os.environ.get('EIDER_BUILD', ROOT / 'build')).resolve() / 'plants'
sys.path[:0] = [str(ROOT / 'tests' / 'e2e')]
os.environ['EIDER_BIN'] = str(FOLDER / 'daemons')

# Wants more than the plain program: hints ignored are noticed by who waits in IDLE.
WORDS = ['--announce-ms', '5000', '--round-ms', '1500', '--clients', '8']


# What shows only when parts die: tests/cluster/plants.py.
NEED_FAULTS = ('fence_skipped', 'txid_unchecked', 'local_reads', 'one_member_enough')


def names():
    text = (ROOT / 'meson_options.txt').read_text()
    found = re.findall(r"'(\w+)'", text[text.index('choices:', text.index("'plant'")):])
    return [name for name in found if name not in ('any', *NEED_FAULTS)]


def build():
    if not (FOLDER / 'build.ninja').exists():
        subprocess.run(['meson', 'setup', str(FOLDER), str(ROOT), '--buildtype=debugoptimized', '-Dplant=any'],
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['ninja', '-C', str(FOLDER), 'daemons/eider', 'tests/stress/stress'], check=True,
                   stdout=subprocess.DEVNULL)


def run(name, options):
    """(what was found or None, seconds)."""
    os.environ['EIDER_PLANT'] = name
    both = nodes.Nodes(settings='mail = { poll_interval = "2s"; };')
    try:
        anna = both.account('anna@example.org')
        began = time.monotonic()
        done = subprocess.run(
            [str(FOLDER / 'tests' / 'stress' / 'stress'), '--user', anna.login, '--password', anna.password,
             '--seconds', str(options.seconds), '--seed', str(options.seed), *WORDS,
             *[str(node.imap_port) for node in both.nodes]],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=options.seconds + 300, check=False)
        took = time.monotonic() - began
    finally:
        try:
            both.close()
        except harness.Failed:
            pass  # it was not well
    said = re.search(r'BROKEN \(seed \d+\): (.*)', done.stderr.decode(errors='replace'))
    if done.returncode and not said:
        return 'status %d: %s' % (done.returncode, done.stderr.decode(errors='replace')[-200:]), took
    return said and said[1], took


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=int, default=30, help='at most, for each')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('names', nargs='*')
    options = p.parse_args()
    build()
    passed = failed = 0
    for name in options.names or names():
        found, took = run(name, options)
        good = (found is None) == (name == 'none')
        passed, failed = passed + good, failed + (not good)
        print(f'{"ok" if good else "FAIL":4} {name}: {found or "nothing found"} ({took:.1f} s)', flush=True)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    import harness
    import nodes
    try:
        STATUS = main()
    finally:
        harness.Shared.end()
    sys.exit(STATUS)
