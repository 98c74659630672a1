#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Shows that the fault test notices bugs: has each of those that only faults bring to light (lib/base/plant.h)
chosen in turn, and runs tests/cluster under faults until a rule is broken, at most --seconds each.

    plants.py [--seconds N] [--seed N] [--rounds N] [NAME]...

A bug shows only when things meet, so each gets --rounds runs with other seeds. Not part of tools/test.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / 'tools'))
import suites

NAMES = {  # and the faults that bring it to light
    'fence_skipped': 'set',      # an outcome that is not known counts as refused: what was refused comes after all
    'txid_unchecked': 'set',     # a taken place counts as ours: another's record is there
    'one_member_enough': 'set',  # acknowledged before a majority has it: rolled back
    'local_reads': 'set',        # what is rolled back later is shown
    'earlier_forgotten': 'all',  # what has vanished is forgotten: who comes back is not told
}


def run(name, folder, options, seed):
    """(what was found or None)."""
    done = subprocess.run(
        ['python3', str(HERE / 'test_faults.py'), '--no-waits', '--no-housekeeping', '--seconds', str(options.seconds),
         '--seed', str(seed), '--only', NAMES.get(name, 'all')],
        env={**os.environ, 'EIDER_BIN': str(folder / 'daemons'), 'EIDER_PLANT': name}, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=options.seconds + 900, check=False)
    said = done.stdout.decode(errors='replace')
    found = re.search(r'(\d+ violations).*?:\\n(.*?)(\\n|")', said) or re.search(r'(FAIL) (.*)', said)
    if found:
        return f'{found[1]}: {found[2][:200]}'
    return None if done.returncode == 0 else f'status {done.returncode}: {said[-300:]} {done.stderr[-300:].decode()}'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seconds', type=int, default=60)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--rounds', type=int, default=4)
    p.add_argument('names', nargs='*')
    options = p.parse_args()
    folder = suites.build('faults')
    passed = failed = 0
    for name in options.names or ['none', *NAMES]:
        found = None
        for seed in range(options.seed, options.seed + options.rounds):
            found = found or run(name, folder, options, seed)
            if found or name == 'none':
                break
        good = (found is None) == (name == 'none')
        passed, failed = passed + good, failed + (not good)
        print(f'{"ok" if good else "FAIL":4} {name}: {found or "nothing found"}', flush=True)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
