#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The checker of includes catches what it must."""
from includes import allowed

CASES = [
    ('lib/mail/state.c', 'lib/base/buf.h', True),
    ('lib/mail/state.c', 'lib/store/store.h', True),
    ('lib/mail/state.c', 'lib/store/faulty.h', False),
    ('lib/mail/state.c', 'lib/auth/login.h', False),
    ('lib/store/sqlite.c', 'lib/mail/mail.h', False),
    ('lib/base/buf.c', 'lib/conf/conf.h', False),
    ('protocols/imap/session.c', 'lib/mail/mail.h', True),
    ('protocols/imap/session.c', 'lib/net/net.h', False),
    ('protocols/lmtp/lmtp.c', 'protocols/smtp/smtp.h', True),
    ('protocols/imap/session.c', 'protocols/smtp/smtp.h', False),
    ('lib/mime/parse.c', 'daemons/serve.h', False),
    ('daemons/serve.c', 'lib/net/net.h', True),
]
for source, target, may in CASES:
    assert allowed(source, target) == may, (source, target)
