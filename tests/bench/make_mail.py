#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes mail for measurements, always the same.

    make_mail.py texts DIR      200 plain texts of 6 kB
    make_mail.py short DIR      200 plain texts of 1.5-3 kB
    make_mail.py mix DIR        200 messages: 60 % text of 1-6 kB, 25 % alternative with 5-40 kB of
                                HTML, 15 % with an attachment of 20 kB-1.5 MB
"""
import base64
import pathlib
import random
import sys

WORDS = ('account meeting report please invoice delivery schedule question answer project review '
         'budget customer version release the and for with from will have been after before about '
         'today tomorrow week month thanks regards attached regarding between system server mail '
         'change update number order price offer contract draft final note').split()


def text(rnd, size):
    out, line = [], ''
    total = 0
    while total < size:
        word = rnd.choice(WORDS)
        if rnd.random() < 0.1:
            word += str(rnd.randrange(10000))
        if len(line) + len(word) > 72:
            out.append(line)
            total += len(line) + 2
            line = ''
        line += (' ' if line else '') + word
    return '\r\n'.join(out + [line]) + '\r\n'


def header(rnd, i, kind):
    hops = ''.join(
        f'Received: from mx{rnd.randrange(99)}.example.net (mx{h}.example.net [192.0.2.{h + 1}])\r\n'
        f'\tby relay{rnd.randrange(99)}.example.org (Postfix) with ESMTPS id {rnd.randrange(1 << 40):010X}\r\n'
        f'\tfor <user@bench.example>; Mon, 5 Oct 2026 10:{h:02}:{rnd.randrange(60):02} +0000\r\n' for h in range(3))
    signature = base64.b64encode(rnd.randbytes(192)).decode()
    return (hops +
            f'DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n\tb={signature[:70]}\r\n'
            f'\t {signature[70:140]}\r\n\t {signature[140:]}\r\n'
            f'Message-ID: <{rnd.randrange(1 << 60):x}.{i}@example.net>\r\n'
            f'Date: Mon, 5 Oct 2026 10:{i % 60:02}:00 +0000\r\n'
            f'From: "{rnd.choice(WORDS).title()} {rnd.choice(WORDS).title()}" <{rnd.choice(WORDS)}@example.net>\r\n'
            f'To: Bench User <user@bench.example>\r\n'
            f'Subject: {" ".join(rnd.choice(WORDS) for _ in range(6))}\r\n'
            f'MIME-Version: 1.0\r\n' + kind)


def plain(rnd, i, size):
    return (header(rnd, i, 'Content-Type: text/plain; charset=utf-8\r\n') + '\r\n').encode() + \
        text(rnd, size).encode()


def alternative(rnd, i, size):
    b = f'=_{rnd.randrange(1 << 60):x}'
    words = text(rnd, size).split('\r\n')
    html = '<html><body>\r\n' + '\r\n'.join(
        f'<p style="margin:0;font-family:sans-serif">{w}</p>' for w in words)[:size] + '\r\n</body></html>\r\n'
    return (header(rnd, i, f'Content-Type: multipart/alternative; boundary="{b}"\r\n') +
            f'\r\n--{b}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text(rnd, size // 4)}'
            f'\r\n--{b}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--{b}--\r\n').encode()


def attachment(rnd, i, size):
    b = f'=_{rnd.randrange(1 << 60):x}'
    data = base64.b64encode(rnd.randbytes(size * 3 // 4)).decode()
    lines = '\r\n'.join(data[k:k + 76] for k in range(0, len(data), 76))
    return (header(rnd, i, f'Content-Type: multipart/mixed; boundary="{b}"\r\n') +
            f'\r\n--{b}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text(rnd, 1500)}'
            f'\r\n--{b}\r\nContent-Type: application/pdf; name="report{i}.pdf"\r\n'
            f'Content-Disposition: attachment; filename="report{i}.pdf"\r\n'
            f'Content-Transfer-Encoding: base64\r\n\r\n{lines}\r\n--{b}--\r\n').encode()


def main(kind, folder):
    rnd, folder = random.Random(kind), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(200):
        if kind == 'short':
            mail = plain(rnd, i, rnd.randint(200, 1700))
        elif kind == 'texts' or i % 20 < 12:
            mail = plain(rnd, i, 4600 if kind == 'texts' else rnd.randint(200, 4600))
        elif i % 20 < 17:
            mail = alternative(rnd, i, rnd.randint(5000, 40000))
        else:
            mail = attachment(rnd, i, int(20000 * 75 ** rnd.random()))
        (folder / f'{i:03}.eml').write_bytes(mail)


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
