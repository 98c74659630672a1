#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes the mail corpus: make.py OUTDIR [--no-system] [--small]

Writes some hundreds of messages, real-looking and nasty, one file each, always the same ones.
--small leaves out what is larger than 2 MB. Unless --no-system is given, messages that come with
packages of this machine (Python's own tests of its email package) are copied beside them; nothing of
theirs is in this repository.
"""
import base64
import glob
import os
import quopri
import random
import sys

CRLF = b"\r\n"
rnd = random.Random(20260101)
made = {}

WORDS = ("the mail server writes every change to a log and all nodes read it again when they start "
         "offer invoice meeting tomorrow please find attached regards thanks report number project "
         "kind sincerely team update question answer delivery order customer office").split()

NAMES = ["Anna Schmidt", "Jürgen Müller", "José García", "Ольга Иванова", "山田太郎", "김철수",
         "Ελένη Παπαδοπούλου", "محمد علي", "Smith, John", 'Quote "Q" Quinn', "O'Neil (work)", ""]

CHARSETS = [
    ("utf-8", "Grüße aus Köln – 日本語 и кириллица €"),
    ("iso-8859-1", "Grüße aus Köln, déjà vu"),
    ("iso-8859-2", "Zażółć gęślą jaźń"),
    ("iso-8859-5", "Привет, мир"),
    ("iso-8859-7", "Καλημέρα κόσμε"),
    ("iso-8859-8", "שלום עולם"),
    ("iso-8859-9", "Pijamalı hasta yağız şoföre"),
    ("iso-8859-15", "Preis 10 € für œuvre"),
    ("windows-1250", "Příliš žluťoučký kůň"),
    ("windows-1251", "Съешь же ещё этих мягких"),
    ("windows-1252", "“Smart quotes” – and €"),
    ("windows-1253", "Ξεσκεπάζω την ψυχοφθόρα"),
    ("windows-1255", "דג סקרן שט בים"),
    ("windows-1256", "نص حكيم له سر"),
    ("windows-1257", "Įlinkdama fechtuotojo"),
    ("koi8-r", "В чащах юга жил бы цитрус"),
    ("koi8-u", "Жебракують філософи ґ"),
    ("iso-2022-jp", "いろはにほへと 漢字"),
    ("shift_jis", "いろはにほへと 漢字カナ"),
    ("euc-jp", "いろはにほへと 漢字"),
    ("gb2312", "中文测试邮件"),
    ("gbk", "中文測試郵件"),
    ("gb18030", "中文测试𠀀"),
    ("big5", "中文測試郵件"),
    ("euc-kr", "안녕하세요 세계"),
    ("iso-2022-kr", "안녕하세요"),
    ("hz", "中文测试"),
    ("utf-16", "sixteen bits ä"),
    ("utf-7", "Hi Mom ☺"),
    ("cp437", "box ║ and é"),
    ("cp866", "Привет"),
    ("mac-roman", "Café naïve"),
    ("tis-620", "สวัสดี"),
]


def add(name, data):
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    assert name not in made, name
    made[name] = data


def msg(headers, body=b""):
    """Header lines (str or bytes) and a body, joined with CRLF."""
    out = b"".join((h if isinstance(h, bytes) else h.encode("utf-8", "surrogateescape")) + CRLF for h in headers)
    return out + CRLF + (body if isinstance(body, bytes) else body.encode())


def crlf(text):
    data = text if isinstance(text, bytes) else text.encode()
    return data.replace(b"\r\n", b"\n").replace(b"\n", CRLF)


def sentence(n):
    return " ".join(rnd.choice(WORDS) for _ in range(n)).capitalize() + "."


def text(octets, width=72):
    """Lines of text, about so many octets, CRLF."""
    out, line = [], ""
    size = 0
    while size < octets:
        word = rnd.choice(WORDS)
        if len(line) + len(word) + 1 > width:
            out.append(line)
            size += len(line) + 2
            line = word
        else:
            line = (line + " " + word).strip()
        if rnd.random() < 0.02:
            out += [line, ""]
            size += len(line) + 4
            line = ""
    return ("\r\n".join(out + [line]) + "\r\n").encode()


def word(name, charset="utf-8", kind="q"):
    raw = name.encode(charset)
    if kind == "b":
        return "=?%s?B?%s?=" % (charset, base64.b64encode(raw).decode())
    q = "".join(chr(c) if chr(c).isalnum() and c < 128 else "_" if c == 32 else "=%02X" % c for c in raw)
    return "=?%s?Q?%s?=" % (charset, q)


def address(i=None):
    name = NAMES[(rnd.randrange(len(NAMES)) if i is None else i) % len(NAMES)]
    addr = "%s.%s@%s" % (rnd.choice(WORDS), rnd.choice(WORDS), rnd.choice(["example.org", "example.net", "mail.example.com"]))
    if not name:
        return addr
    if not name.isascii():
        name = word(name, kind=rnd.choice("qb"))
    elif any(c in name for c in ',"()'):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "%s <%s>" % (name, addr)


def date(i):
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    days = "Mon Tue Wed Thu Fri Sat Sun".split()
    return "%s, %d %s %d %02d:%02d:%02d %s" % (days[i % 7], i % 28 + 1, months[i % 12], 1995 + i % 30,
                                              i % 24, i * 7 % 60, i * 13 % 60, rnd.choice(["+0000", "+0200", "-0500", "+0530"]))


def usual(i, extra=(), received=2):
    head = ["Return-Path: <%s@example.org>" % rnd.choice(WORDS)]
    for hop in range(received):
        head.append("Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n\tby mail.example.org (Postfix) "
                    "with ESMTPS id %010X\r\n\tfor <user%d@example.org>; %s" % (hop, hop, i % 250, rnd.getrandbits(40), i, date(i)))
    head += ["Date: " + date(i), "From: " + address(), "To: " + ", ".join(address() for _ in range(1 + i % 4)),
             "Subject: " + ("Re: " * (i % 3)) + sentence(4 + i % 5), "Message-ID: <%x.%d@example.org>" % (rnd.getrandbits(48), i)]
    if i % 3:
        head += ["In-Reply-To: <parent.%d@example.org>" % i,
                 "References: <root.%d@example.org>\r\n <parent.%d@example.org>" % (i, i)]
    head += ["MIME-Version: 1.0"]
    return head + list(extra)


def b64(data, width=76, end=CRLF):
    raw = base64.b64encode(data)
    return end.join(raw[i:i + width] for i in range(0, len(raw), width)) + end if raw else b""


def noise(n):
    return rnd.getrandbits(8 * n).to_bytes(n, "big") if n else b""


def multipart(boundary, parts, preamble=b"", epilogue=b""):
    out = preamble
    for p in parts:
        out += b"--" + boundary.encode() + CRLF + p + CRLF
    return out + b"--" + boundary.encode() + b"--" + CRLF + epilogue


def part(headers, body):
    return msg(headers, body)


def ordinary():
    for i in range(40):
        add("plain-%02d" % i, msg(usual(i, ["Content-Type: text/plain; charset=utf-8",
                                            "Content-Transfer-Encoding: 8bit"]), text(200 + i * 300)))
    for i in range(20):
        html = b"<html><head><style>p{color:red}</style></head><body><p>" + text(900).replace(CRLF, b"<br>" + CRLF) + b"</p></body></html>" + CRLF
        alt = multipart("alt%d" % i, [part(["Content-Type: text/plain; charset=utf-8"], text(600)),
                                      part(["Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: quoted-printable"],
                                           crlf(quopri.encodestring(html)))])
        add("alternative-%02d" % i, msg(usual(i, ['Content-Type: multipart/alternative;\r\n\tboundary="alt%d"' % i]), alt))
    for i in range(20):
        names = ["report.pdf", "Übersicht.pdf", "a b.txt", "日本.doc"]
        fn = names[i % 4]
        cd = 'attachment; filename="%s"' % fn if fn.isascii() else "attachment;\r\n filename*=utf-8''" + "".join("%%%02X" % c for c in fn.encode())
        mixed = multipart("=_mix_%d" % i, [
            part(["Content-Type: text/plain; charset=us-ascii; format=flowed"], text(400)),
            part(['Content-Type: application/pdf; name="%s"' % fn.encode("ascii", "replace").decode(), "Content-Transfer-Encoding: base64",
                  "Content-Disposition: " + cd, "Content-Description: file number %d" % i, "Content-ID: <part%d@example.org>" % i],
                 b64(noise(100 << (i % 12)), 76 if i % 3 else 60)),
        ], b"This is a multi-part message in MIME format.\r\n" if i % 2 else b"")
        add("attachment-%02d" % i, msg(usual(i, ['Content-Type: multipart/mixed; boundary="=_mix_%d"' % i]), mixed))
    rel = multipart("rel", [part(["Content-Type: text/html"], b'<img src="cid:pic@x">\r\n'),
                            part(["Content-Type: image/png", "Content-Transfer-Encoding: base64", "Content-ID: <pic@x>",
                                  "Content-Disposition: inline; filename=pic.png", "Content-Location: http://example.org/\r\n pic.png",
                                  "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==", "Content-Language: en, de-AT"], b64(noise(900)))])
    add("related", msg(usual(1, ['Content-Type: multipart/related; type="text/html"; boundary=rel']), rel))


def charsets():
    for cs, sample in CHARSETS:
        py = {"hz": "hz", "cp437": "cp437", "mac-roman": "mac_roman"}.get(cs, cs)
        raw = sample.encode(py, "replace")
        add("charset-q-" + cs, msg(usual(3, ["Subject: " + word(sample, py).replace("=?" + py, "=?" + cs) if py == cs else "Subject: x",
                                             "Content-Type: text/plain; charset=" + cs, "Content-Transfer-Encoding: quoted-printable"]),
                                   crlf(quopri.encodestring(raw)) + CRLF))
        add("charset-b-" + cs, msg(["From: =?%s?B?%s?= <a@example.org>" % (cs, base64.b64encode(raw).decode()), "To: b@example.org",
                                    "Subject: =?%s?b?%s?= and =?%s*en?B?%s?=" % (cs.upper(), base64.b64encode(raw).decode(), cs, base64.b64encode(raw).decode()),
                                    "Date: " + date(5), "MIME-Version: 1.0", 'Content-Type: text/plain; charset="%s"' % cs,
                                    "Content-Transfer-Encoding: base64"], b64(raw)))
        add("charset-raw-" + cs, msg([b"From: a@example.org", b"Subject: " + raw.replace(b"\r", b"").replace(b"\n", b""),
                                      b"Content-Type: text/plain; charset=" + cs.encode()], raw + CRLF))
    words = ["=?utf-8?q?a?= =?utf-8?q?b?=", "=?utf-8?b?w6Q?= x", "=?utf-8?b?w6Q=?==?utf-8?q?=20?=", "=?x-nosuch?q?abc=E4?=",
             "=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "=?utf-8?q?broken", "=?utf-8?x?abc?=", "=?=?=?=", "=?utf-8?q??=", "=?utf-8?q?a b c?=",
             "=?us-ascii?q?=00=0D=0A?=", "=?iso-8859-1?Q?=A4?=text=?iso-8859-1?Q?=A4?=", "(=?utf-8?q?comment?=)", "=?" * 2000, "=?a?q?" * 1000]
    for i, w in enumerate(words):
        add("words-%02d" % i, msg(["From: %s <a@example.org>" % w, "Subject: " + w, "To: (" + w + ") x@example.org"], "x\r\n"))


def addresses():
    odd = [
        "user@example.org", "<user@example.org>", "A B <user@example.org>", '"A, B" <user@example.org>', "user@example.org (A Comment)",
        "Group: a@x, b@y;", "undisclosed-recipients:;", "Group:;, x@y", "Group: a@x", "G1: a@x;, G2: b@y, c@z;", "<@a,@b:user@c>",
        "<@a:user>", "<@:x@y>", "user", "user name", "<user>", "<>", "<@>", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c@d", "a@b, , c@d",
        ",,,", ",a@b", "a@b,", "a@b;c@d", '"quoted local"@example.org', '"a\\"b"@example.org', "a.b.@c", ".a@b", "a..b@c", "a . b @ c . d",
        "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@[unclosed", "a@b]", '"unclosed <a@b>', "(unclosed a@b", "a(c1)@(c2)b(c3)", "a@b (c(nested)d)",
        "A B", "A B C <>", "Name <a@b", "Name <a@b> trailing", "Name <a@b> (comment), c@d", "=?utf-8?q?J=C3=BCrgen?= <j@x>",
        "Jürgen <j@x>", "j@müller.example", "Jürgen.Müller@x", "a\\b@c", "a,b,c@d", "Name: <a@b>", "x:y:z@w;", "G: A <a@b>, B <c@d>; , e@f",
        "A <a@b>, B", "mailto:a@b", "<a@b>,<c@d>", "a@b\r\n\t,\r\n c@d", "A\r\n B <a@b>", '"fold\r\n ed" <a@b>', "a@b" + ", a@b" * 500,
        "N" * 2000 + " <a@b>", "(" * 500 + ")" * 500 + "a@b", '"\\\\" <a@b>', '""@x', '"" <a@b>', "'a' <a@b>", "A. B. <a@b>", ". <a@b>",
        "<a@b> <c@d>", "<<a@b>>", "[a]@b", "a@b:c", "a;b", "A <a@b>;", "\t", " ", "", "a\x00b@c", "\"x\x00y\" <a@b>", "a@b\x7f", "Ä", "a=b <c@d>",
        "a/b/c@d", "!path!user", "user%host@relay", "A B <a b@c>", "A (c) B <a@b>", "first.last (First Last)", "a@b(", "a <a@b>(c) , d",
    ]
    for i, a in enumerate(odd):
        add("address-%03d" % i, msg(["From: " + a, "Sender: s@example.org" if i % 2 else "X-A: b", "To: %s, z@example.org" % a, "Cc: z@example.org,%s" % a,
                                     "Subject: address %d" % i, "Date: " + date(i)], "x\r\n"))
    add("address-repeated", msg(["From: a@b", "From: c@d", "To: e@f", "To:", "To: g@h", "Subject: 1", "Subject: 2", "Message-ID: <1@x>",
                                 "Message-ID: <2@x>", "Sender:", "Reply-To: "], "x\r\n"))


def dates():
    odd = ["Mon, 1 Jan 2024 10:00:00 +0000", "1 Jan 24 10:00 GMT", "Monday, 01-Jan-99 10:00:00 EST", "Thu Sep  4 10:00:00 1998", "32 Jan 2024 10:00:00 +0000",
           "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "Mon, 1 Jan 2024 10:00:00 +9999", "Mon, 1 Jan 2024", "garbage", "", "Mon, 1 Jan 2024 10:00:60 Z",
           "1 January 2024 10:00:00 +0100 (CET)", "Mon,1 Jan 2024 10:00:00+0000", "Mon, 29 Feb 2023 10:00:00 +0000", "Mon, 1 Jan 99999 10:00:00 +0000",
           "Mon, 1 Jan 100 10:00:00 +0000", "1 Jan 70 00:00:00 A", "2024-01-01T10:00:00Z", "Mon, 1 Jan 2024 10:00:00 PM", 'a "q" \\ b', "date\r\n folded"]
    for i, d in enumerate(odd):
        add("date-%02d" % i, msg(["From: a@example.org", "Date: " + d, "Subject: date"], "x\r\n"))
    subjects = ["", " ", '"quoted"', "back\\slash", 'a "b" c', "tab\there", "  lead", "trail  ", "a  b", "folded\r\n line", "folded\r\n\ttab", "folded\r\n \r\n x",
                "\r\n next line", "Re: [list] re: Fwd: x (fwd)", "[fwd: [a] re[2]: hello ]", "[a][b][c]", "Re:", "nul\x00in", "bare\rcr", "8bit ä", "\x01control\x1f",
                "x" * 5000, "[a]" * 3000, "Re: " * 3000]
    for i, s in enumerate(subjects):
        add("subject-%02d" % i, msg(["From: a@example.org", "Subject: " + s, "Message-ID: " + s, "In-Reply-To: " + s], "x\r\n"))
    ids = ["<a@b>", "a@b", "<a b@c>", '<"a b"@c>', '<"ab"@c>', "<a@b><c@d>", "<a@b> text <c@d>", "<a@[1.2.3.4]>", "(c) <a@b>", "<<a@b>>", "<a", "a>", "<>",
           "<a@b>\r\n <c@d>\r\n\t<e@f>", "<" + "x" * 990 + "@y>", " ".join("<%d@x>" % i for i in range(300)), "<ä@b>", "<a@b> (x)"]
    for i, s in enumerate(ids):
        add("msgid-%02d" % i, msg(["From: a@example.org", "Message-ID: " + s, "References: " + s, "In-Reply-To: " + s, "Content-ID: " + s,
                                   "Content-Description: " + s, "Content-Type: text/plain"], "x\r\n"))


def types():
    odd = ["text/plain", "TEXT/PLAIN; CHARSET=US-ASCII", "text", "text/", "/plain", "text/plain;", "text/plain; charset", "text/plain; charset=", 'text/plain; charset=""',
           "text/plain; charset = utf-8", "text/plain; charset=utf-8; charset=latin1", "text/plain; =x; a=b", "text/plain a=b", "text/plain; a=b c=d; e=f", "text / plain ; a = b",
           "(c) text/plain (d); (e) a=(f) b", 'application/x; name="a\\"b\\\\c"', 'application/x; name="unclosed', "application/x; name==?utf-8?q?a?=", "application/x; name=a;;; b=c",
           "application/x; name*=utf-8''%41%C3%A4; size=1", "application/x; name*0=a; name*1=b; name*2=c", "application/x; name*1=b; name*0=a", "application/x; name*0*=utf-8''%41; name*1=b%",
           "application/x; name*0=a; name*1*=%42", "application/x; name*0=a; name*2=c", "application/x; name*x=a", "application/x; name*=a; name=b", "application/x; *=a", "application/x; *0=a",
           "application/x; a*99999999999=b", "application/x; n=ä", 'application/x; n="a\r\n b"', "message/rfc822", "message/partial; number=1; total=2; id=x", "message/external-body; access-type=URL; URL=\"http://x\"",
           "message/delivery-status", "multipart/mixed", "multipart/mixed; boundary=", 'multipart/mixed; boundary=""', "multipart/mixed; boundary=x y", "multipart/; boundary=x", "multipart", "text/x/y", "text/plain/",
           "application/octet-stream; x=\x00", "text/plain; charset=utf-8\r\n\t; format=flowed", "ä/ö; ü=ß", "text/html; charset=\"utf-8\"; x=" + "y" * 3000, "application/x; " + "; ".join("p%d=v" % i for i in range(300)),
           "text/calendar; method=REQUEST; charset=utf-8", "message/global", "text/richtext", "x-foo/x-bar", "image/jpeg; name=a.jpg", "\ttext/plain", "text/plain; name=\"=?utf-8?b?w6Q=?=\""]
    body = "--x\r\n\r\npart one\r\n--x--\r\nFrom: inner@example.org\r\nSubject: inner\r\n\r\nx\r\n"
    for i, t in enumerate(odd):
        add("type-%02d" % i, msg(["From: a@example.org", "MIME-Version: 1.0", "Content-Type: " + t, "Content-Disposition: attachment; " + t.partition(";")[2]], body))
        add("type-part-%02d" % i, msg(["From: a@example.org", "Content-Type: multipart/mixed; boundary=outer"],
                                      multipart("outer", [part(["Content-Type: " + t], body), part(["Content-Type: text/plain"], "y")])))
    for i, c in enumerate(["7bit", "8BIT", "base64", "quoted-printable", "x-uuencode", "", "7bit; x", "base64 (c)", "ba se64", '"base64"', "binary\r\n "]):
        add("encoding-%02d" % i, msg(["From: a@example.org", "Content-Transfer-Encoding: " + c, "Content-Type: application/x"], "aGFsbG8=\r\n"))
    for i, c in enumerate(["inline", "attachment", "", ";", "; filename=x", "ATTACHMENT; FILENAME=X", "attachment; filename", 'attachment; filename="a b"; size=5', "form-data; name=x", '"inline"', "a/b; c=d", "attachment; filename*=iso-8859-1'en'%A4"]):
        add("disposition-%02d" % i, msg(["From: a@example.org", "Content-Disposition: " + c, "Content-Language: " + c, "Content-Location: " + c, "Content-MD5: " + c], "x\r\n"))
    add("disposition-twice", msg(["Content-Disposition: inline", "Content-Disposition: attachment; a=b", "Content-Disposition: x; c=d", "Content-Type: text/plain", "Content-Type: text/html",
                                  "Content-Transfer-Encoding: 7bit; x", "Content-Transfer-Encoding: 8bit", "Content-ID: <1>", "Content-ID: <2>", "Content-Language: ;", "Content-Language: en"], "x\r\n"))


def structures():
    h = ["From: a@example.org", "Subject: structure", "MIME-Version: 1.0"]
    mp = h + ["Content-Type: multipart/mixed; boundary=b"]
    forms = {
        "no-end": "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n", "no-end-no-newline": "--b\r\n\r\none\r\n--b\r\n\r\ntwo", "no-parts": "nothing here\r\n", "only-end": "--b--\r\n", "end-then-more": "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
        "empty-body": "", "prefix-line": "--b\r\n\r\none\r\n--bcd\r\n\r\ntwo\r\n--b--x\r\nepi\r\n", "space-after": "--b \t\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n--b--  \r\n", "lf": "--b\n\none\n--b\n\ntwo\n--b--\n",
        "mixed-ends": "--b\r\n\none\n--b\n\r\ntwo\r\n--b--\n", "bare-cr": "--b\r\r\none\r--b\r\rtwo\r--b--\r", "cr-lf-cr": "--b\r\n\r\none\r\r\n--b\r\n\r\ntwo\r\n\r--b--\r\n", "no-blank": "--b\r\none\r\n--b\r\nContent-Type: text/html\r\n--b--\r\n",
        "header-only-parts": "--b\r\nContent-Type: text/html\r\n--b\r\nContent-Type: text/css\r\n\r\n--b\r\n\r\n--b--\r\n", "double": "--b\r\n--b\r\n--b\r\n--b--\r\n--b--\r\n", "preamble": "pre\r\namble\r\n\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\nmore\r\n",
        "indented": " --b\r\n\r\none\r\n --b--\r\n", "dashes": "---b\r\n--\r\n-\r\n--b\r\n\r\n--\r\n---\r\n--b--\r\n", "nul": "--b\r\n\r\nnul \x00 here\r\n--b--\r\n", "end-no-newline": "--b\r\n\r\none\r\n--b--", "end-one-dash": "--b\r\n\r\none\r\n--b-\r\n\r\ntwo\r\n--b--\r\n",
        "rfc822-interrupted": "--b\r\nContent-Type: message/rfc822\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n--b--\r\n", "folded-part-header": "--b\r\nContent-Type: text/html;\r\n charset=utf-8\r\n\r\none\r\n--b--\r\n",
        "blank-lines": "\r\n\r\n--b\r\n\r\n\r\n\r\none\r\n\r\n\r\n--b\r\n\r\n\r\n--b--\r\n\r\n\r\n", "long-line": "--b\r\n\r\n" + "x" * 70000 + "\r\n--b--\r\n", "long-boundary-line": "--b" + "y" * 70000 + "\r\n\r\none\r\n--b--\r\n",
        "header-no-colon": "--b\r\nno colon line\r\nContent-Type: text/html\r\n\r\none\r\n--b--\r\n", "cr-only-eoh": "--b\r\nContent-Type: text/html\r\n\r\rone\r\n--b--\r\n", "inner-unclosed": "--b\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
        "inner-same": "--b\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n", "inner-prefix": "--b\r\nContent-Type: multipart/x; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n--b--\r\n",
        "inner-shorter": "--b\r\nContent-Type: multipart/x; boundary=\"\"\r\n\r\n--\r\n\r\none\r\n----\r\n--b--\r\n", "inner-dashes": "--b\r\nContent-Type: multipart/x; boundary=b--\r\n\r\n--b--\r\n\r\none\r\n--b----\r\n--b--\r\n",
        "inner-eof": "--b\r\nContent-Type: multipart/x; boundary=i\r\n\r\n--i\r\nContent-Type: multipart/y; boundary=j\r\n\r\n--j\r\n\r\none", "digest-in": "--b\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: one\r\nFrom: a@b\r\n\r\nx\r\n--d\r\nContent-Type: text/plain\r\n\r\ny\r\n--d--\r\n--b--\r\n",
        "digest-broken": "--b\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n--d\r\nSubject: mime header\r\n\r\nSubject: real\r\n\r\nx\r\n--d--\r\n--b--\r\n",
    }
    for name, body in forms.items():
        add("structure-" + name, msg(mp, body))
        if name not in ("lf", "mixed-ends", "bare-cr", "cr-lf-cr", "nul", "cr-only-eoh"):
            add("structure-lf-" + name, msg(mp, body).replace(b"\r\n", b"\n"))
    add("header-only", msg(usual(2))[:-2])
    add("header-only-blank", msg(usual(2)))
    add("header-no-newline", msg(usual(2))[:-4])
    add("empty", b"")
    add("one-newline", b"\r\n")
    add("one-lf", b"\n")
    add("one-cr", b"\r")
    add("cr-cr-lf", b"\r\r\n")
    add("one-byte", b"x")
    add("body-only", b"\r\nonly a body\r\n")
    add("no-colon-header", b"this is no header\r\nFrom: a@b\r\n\r\nx\r\n")
    add("mbox-from", b"From a@b Mon Jan  1 00:00:00 2024\r\nFrom: a@b\r\nSubject: mbox\r\n\r\nx\r\n>From here\r\n")
    add("leading-space-header", b" Subject: x\r\nFrom: a@b\r\n\r\nx\r\n")
    add("space-before-colon", b"Subject : x\r\nFrom\t: a@b\r\nContent-Type : text/html\r\n\r\nx\r\n")
    add("empty-name", b": x\r\nFrom: a@b\r\n\r\nx\r\n")
    add("nul-header", b"From: a@b\r\nSubject: a\x00b\r\nX\x00Y: z\r\n\r\nbody\x00nul\r\n")
    add("eight-bit-name", b"S\xc3\xbcbject: x\r\nFrom: a@b\r\n\r\nx\r\n")
    add("huge-header-line", b"From: a@b\r\nSubject: " + b"y" * 300000 + b"\r\n\r\nx\r\n")
    add("huge-header-fields", b"From: a@b\r\n" + b"".join(b"X-H%d: value of it\r\n" % i for i in range(20000)) + b"\r\nx\r\n")
    add("huge-name", b"N" * 5000 + b": x\r\nFrom: a@b\r\n\r\nx\r\n")
    add("folded-much", b"From: a@b\r\nSubject: x\r\n" + b" y\r\n" * 5000 + b"\r\nx\r\n")
    add("huge-line", msg(h, b"z" * 1000000))
    add("lf-only", msg(usual(4), text(500)).replace(b"\r\n", b"\n"))
    add("cr-only", msg(usual(4), text(500)).replace(b"\r\n", b"\r"))
    add("double-cr", msg(usual(4), text(300)).replace(b"\r\n", b"\r\r\n"))
    add("binary-body", msg(h + ["Content-Type: application/octet-stream", "Content-Transfer-Encoding: binary"], noise(5000)))
    add("latin-body-no-type", msg(h, "Grüße\r\n".encode("latin-1")))
    add("no-mime-version", msg(["From: a@b", "Content-Type: text/html; charset=utf-8"], "<b>x</b>\r\n"))


def nested():
    for depth in (2, 10, 50, 98, 99, 100, 101, 150):
        body = b"innermost\r\n"
        for i in range(depth, 0, -1):
            body = part(["Content-Type: multipart/mixed; boundary=n%d" % i], multipart("n%d" % i, [part(["Content-Type: text/plain"], "level"), body] if depth < 50 else [body]))
        add("nested-multipart-%03d" % depth, msg(["From: a@b"], b"")[:-2] + body)
        body = msg(["From: deepest@example.org", "Subject: deepest"], "x\r\n")
        for i in range(depth):
            body = msg(["From: level%d@example.org" % i, "Content-Type: message/rfc822"], body)
        add("nested-message-%03d" % depth, body)
    add("many-parts", msg(["From: a@b", "Content-Type: multipart/mixed; boundary=m"], multipart("m", [part(["Content-Type: text/plain"], "p%d" % i) for i in range(3000)])))
    add("too-many-parts", msg(["From: a@b", "Content-Type: multipart/mixed; boundary=m"], b"--m\r\n\r\n\r\n" * 10100 + b"--m--\r\n"))


def kinds():
    inner = msg(["From: Inner <inner@example.org>", "To: x@example.org", "Subject: inner", "Date: " + date(9), "MIME-Version: 1.0",
                 "Content-Type: multipart/alternative; boundary=in"], multipart("in", [part(["Content-Type: text/plain"], "one\r\n"), part(["Content-Type: text/html"], "<p>two")]))
    for i, head in enumerate([["Content-Type: message/rfc822"], ["Content-Type: message/rfc822; name=\"x.eml\"", "Content-Disposition: attachment; filename=x.eml"],
                              ["Content-Type: MESSAGE/RFC822", "Content-Transfer-Encoding: 8bit"], ["Content-Type: message/rfc822", "Content-Transfer-Encoding: base64"],
                              ["Content-Type: message/global"], ["Content-Type: message/news"]]):
        add("forward-%d" % i, msg(usual(i, ["Content-Type: multipart/mixed; boundary=fw"]), multipart("fw", [part(["Content-Type: text/plain"], "see below\r\n"), part(head, inner), part(head, "Subject: short")])))
        add("forward-root-%d" % i, msg(["From: a@example.org"] + head, inner))
    add("digest", msg(usual(2, ["Content-Type: multipart/digest; boundary=dg"]), multipart("dg", [CRLF + inner, part(["Content-Type: message/rfc822"], inner), CRLF, CRLF + b"no header"])))
    dsn = [part(["Content-Type: text/plain"], "Could not deliver.\r\n"), part(["Content-Type: message/delivery-status"], "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@b\r\nAction: failed\r\nStatus: 5.1.1\r\n"),
           part(["Content-Type: text/rfc822-headers"], "From: a@b\r\nSubject: x\r\n")]
    add("delivery-status", msg(usual(3, ['Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="dsn"']), multipart("dsn", dsn)))
    add("disposition-notification", msg(usual(3, ['Content-Type: multipart/report; report-type=disposition-notification; boundary="mdn"']),
                                        multipart("mdn", [dsn[0], part(["Content-Type: message/disposition-notification"], "Original-Recipient: rfc822;a@b\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n")])))
    add("partial", msg(usual(3, ['Content-Type: message/partial; id="x@y"; number=1; total=3']), inner))
    add("external", msg(usual(3, ["Content-Type: message/external-body; access-type=anon-ftp;\r\n name=x; site=example.org; size=12"]), "Content-Type: image/gif\r\nContent-ID: <x@y>\r\n\r\nphantom"))
    add("yenc", msg(usual(3, ["Content-Type: text/plain"]), b"=ybegin line=128 size=1000 name=x.bin\r\n" + bytes((c + 42) % 256 for c in noise(900)).replace(b"\r", b"=M").replace(b"\n", b"=J").replace(b"\0", b"=@") + b"\r\n=yend size=900\r\n"))
    import binascii
    add("uuencode", msg(usual(3), b"begin 644 file.bin\r\n" + b"".join(binascii.b2a_uu(noise(45)).replace(b"\n", CRLF) for _ in range(30)) + b"`\r\nend\r\n"))
    add("smime-signed", msg(usual(3, ['Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n micalg=sha-256; boundary="sm"']),
                            multipart("sm", [part(["Content-Type: text/plain"], "signed\r\n"), part(["Content-Type: application/pkcs7-signature; name=smime.p7s", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename=smime.p7s"], b64(noise(2000), 64))])))
    add("smime-enveloped", msg(usual(3, ["Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "Content-Transfer-Encoding: base64"]), b64(noise(20000), 64)))
    add("pgp-mime", msg(usual(3, ['Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=pg']),
                        multipart("pg", [part(["Content-Type: application/pgp-encrypted"], "Version: 1\r\n"), part(["Content-Type: application/octet-stream"], b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + b64(noise(1500), 64) + b"-----END PGP MESSAGE-----\r\n")])))
    add("pgp-inline", msg(usual(3), b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\n- --dash escaped\r\nText\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\n" + b64(noise(200), 64) + b"-----END PGP SIGNATURE-----\r\n"))
    add("calendar", msg(usual(3, ["Content-Type: multipart/alternative; boundary=cal"]), multipart("cal", [part(["Content-Type: text/plain"], "Meeting\r\n"),
        part(['Content-Type: text/calendar; charset="utf-8"; method=REQUEST', "Content-Transfer-Encoding: base64", "Content-class: urn:content-classes:calendarmessage"], b64(b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"))])))
    add("eai", msg(["From: Jürgen <jürgen@müller.example>", "To: 用户@例子.测试", "Subject: RFC 6532 – ümlaut", "Date: " + date(3), "Message-ID: <ü@example.org>", "Content-Type: text/plain; charset=utf-8; name=\"ä.txt\"",
                    "Content-Transfer-Encoding: 8bit", "Content-Disposition: attachment; filename=\"ä.txt\"", "Content-Description: ß"], "ä\r\n"))
    add("format-flowed", msg(usual(2, ["Content-Type: text/plain; format=flowed; delsp=yes"]), b"one \r\ntwo \r\n> quoted \r\n>> more\r\n-- \r\nsig\r\n"))
    add("dots", msg(usual(2), b".\r\n..\r\n...\r\n.x\r\n"))
    add("list", msg(usual(2, ["List-Id: Some list <list.example.org>", "List-Post: <mailto:list@example.org>", "List-Unsubscribe: <https://example.org/u>,\r\n <mailto:u@example.org>", "Precedence: bulk"]), text(300)))


def large(small):
    for i, (width, end, tail) in enumerate([(76, CRLF, b""), (76, b"\n", b""), (64, CRLF, b"\r\n\r\n"), (72, CRLF, b"-- \r\nlist footer\r\n"), (60, CRLF, b""), (75, CRLF, b""), (10000000, CRLF, b""), (4, CRLF, b""), (76, CRLF, b"====\r\n")]):
        for size in (12000, 16384, 17000, 200001, 1048575, 1100000):
            body = b64(noise(size), width, end) + tail
            add("base64-%d-%d" % (i, size), msg(["From: a@b", "Content-Type: application/x", "Content-Transfer-Encoding: base64"], body))
    raw = bytearray(b64(noise(300000)))
    raw[150000:150000] = b"\r\n"
    add("base64-blank-line", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], bytes(raw)))
    raw = bytearray(b64(noise(300000)))
    raw[200000] = ord("*")
    add("base64-bad-char", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], bytes(raw)))
    add("base64-lead-blank", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], b"\r\n\r\n" + b64(noise(40000))))
    add("base64-only-newlines", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], b"\r\n" * 20000))
    add("base64-joined", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], b64(noise(20000)) + b64(noise(20000))))
    add("base64-bits-left", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], b64(noise(18000)) + b"QR==\r\n"))
    add("base64-trailing-space", msg(["Content-Type: application/x", "Content-Transfer-Encoding: base64"], b64(noise(18000)).replace(CRLF, b" \r\n")))
    add("qp-large", msg(["Content-Type: text/plain", "Content-Transfer-Encoding: quoted-printable"], crlf(quopri.encodestring(text(50000)))))
    add("text-large", msg(["Content-Type: text/plain"], text(400000)))
    if not small:
        add("attachment-30mb", msg(usual(7, ["Content-Type: multipart/mixed; boundary=big"]), multipart("big", [part(["Content-Type: text/plain"], text(500)),
            part(["Content-Type: application/zip; name=big.zip", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename=big.zip"], b64(noise(22 << 20)))])))


def system_messages():
    """Messages of packages on this machine; none is fine."""
    out = {}
    for path in sorted(glob.glob("/usr/lib/python3*/test/test_email/data/*.txt")):
        with open(path, "rb") as f:
            data = f.read()
        name = "system-" + os.path.basename(path)
        out[name] = data
        out[name + "-crlf"] = crlf(data)
    return out


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(args) != 1:
        sys.exit(__doc__)
    small = "--small" in sys.argv
    for make in (ordinary, charsets, addresses, dates, types, structures, nested, kinds):
        make()
    large(small)
    files = dict(made)
    if "--no-system" not in sys.argv:
        files.update(system_messages())
    os.makedirs(args[0], exist_ok=True)
    for name, data in files.items():
        if small and len(data) > 2 << 20:
            continue
        with open(os.path.join(args[0], name.replace("/", "_") + ".eml"), "wb") as f:
            f.write(data)
    print("%d messages, %d of them made" % (len(files), len(made)))


if __name__ == "__main__":
    main()
