#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Are all C files laid out as .clang-format says?  format.py ROOT: names those that are not."""
import pathlib
import subprocess
import sys
from multiprocessing.pool import ThreadPool

FOLDERS = ('lib', 'protocols', 'daemons', 'tests')


def differs(path):
    done = subprocess.run(['clang-format', '--dry-run', '-Werror', str(path)], cwd=sys.argv[1], check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode != 0


def main(root):
    files = [f for folder in FOLDERS for f in sorted((root / folder).rglob('*.[ch]'))]
    with ThreadPool(2) as pool:
        bad = [f for f, wrong in zip(files, pool.map(differs, files)) if wrong]
    for f in bad:
        print(f'{f.relative_to(root)}: run clang-format -i')
    print(f'{len(files)} files, {len(bad)} not laid out as .clang-format says')
    return len(bad) > 0 or not files


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
