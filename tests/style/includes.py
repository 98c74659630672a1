#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Who may include whom (docs/architecture.md): arrows point down only.

    includes.py ROOT    prints each include that points elsewhere; exit status 1 if there is one
"""
import pathlib
import re
import sys

LIBS = {                                # folder -> folders of lib/ it may include, besides itself
    'base': set(),
    'conf': {'base'},
    'net': {'base'},
    'mime': {'base'},
    'store': {'base'},
    'bus': {'net', 'base'},
    'auth': {'store', 'base'},
    'mail': {'store', 'mime', 'bus', 'base'},
    'queue': {'mail', 'net', 'store', 'base'},
}
STORE_PORT = {'store.h', 'keys.h'}      # all that is seen of lib/store from above
PROTOCOL_LIBS = set(LIBS) - {'net', 'bus'}
SHARED_PROTOCOLS = {'lmtp': {'smtp'}, 'submit': {'smtp', 'imap'}}   # protocols that build on another one


def allowed(source, target):
    s, t = source.split('/'), target.split('/')
    if s[0] == 'daemons' or s[0] == 'tests':
        return True
    if t[0] == 'lib':
        inside = s[0] == 'lib' and s[1] == t[1]
        if t[1] == 'store' and not inside and t[2] not in STORE_PORT:
            return False
        if s[0] == 'protocols':
            return t[1] in PROTOCOL_LIBS
        return inside or t[1] in LIBS.get(s[1], set())
    if t[0] == 'protocols':
        return s[0] == 'protocols' and (s[1] == t[1] or t[1] in SHARED_PROTOCOLS.get(s[1], set()))
    return False                        # nothing includes daemons, web or tests


def main(root):
    bad = seen = 0
    for folder in ('lib', 'protocols', 'daemons'):
        for path in sorted((root / folder).rglob('*.[ch]')):
            source = str(path.relative_to(root))
            for n, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not m:
                    continue
                seen += 1
                if not (root / m[1]).exists() and not m[1].endswith('.inc'):
                    continue            # made at build time
                if not allowed(source, m[1]):
                    print(f'{source}:{n}: must not include {m[1]}')
                    bad += 1
    print(f'{seen} includes read, {bad} point where they must not')
    return bad > 0 or seen == 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
