# SPDX-License-Identifier: MPL-2.0
"""A word with a mongod, without a driver: commands out, replies in (OP_MSG), and enough of BSON for
the administration of a replica set in tests and tools.

    command(('127.0.0.1', 27017), {'hello': 1, '$db': 'admin'}).get('isWritablePrimary')
"""
import socket
import struct


def encode(value):
    """A document of strings, booleans, 32-bit integers, binary values, documents and lists."""
    out = b''
    for key, v in value.items():
        name = key.encode() + b'\0'
        if isinstance(v, str):
            text = v.encode() + b'\0'
            out += b'\2' + name + struct.pack('<i', len(text)) + text
        elif isinstance(v, bytes):
            out += b'\5' + name + struct.pack('<iB', len(v), 0) + v
        elif isinstance(v, dict):
            out += b'\3' + name + encode(v)
        elif isinstance(v, list):
            out += b'\4' + name + encode({str(i): x for i, x in enumerate(v)})
        elif isinstance(v, bool):
            out += b'\x08' + name + bytes([v])
        else:
            out += b'\x10' + name + struct.pack('<i', v)
    return struct.pack('<i', len(out) + 5) + out + b'\0'


FIXED = {0x01: 'd', 0x09: 'q', 0x10: 'i', 0x11: 'Q', 0x12: 'q', 0x08: '?'}
SIZES = {0x06: 0, 0x07: 12, 0x0a: 0, 0x13: 16, 0x7f: 0, 0xff: 0}  # passed over as bytes


def decode(data, at=0):
    """(document, where it ends); values of kinds that nobody asks for come as bytes."""
    end = at + struct.unpack_from('<i', data, at)[0]
    at += 4
    document = {}
    while data[at]:
        kind = data[at]
        name_end = data.index(b'\0', at + 1)
        name, at = data[at + 1:name_end].decode(), name_end + 1
        if kind in FIXED:
            document[name], = struct.unpack_from('<' + FIXED[kind], data, at)
            at += struct.calcsize('<' + FIXED[kind])
        elif kind in (0x02, 0x0d, 0x0e):
            size, = struct.unpack_from('<i', data, at)
            document[name] = data[at + 4:at + 3 + size].decode(errors='replace')
            at += 4 + size
        elif kind == 0x05:
            size, = struct.unpack_from('<i', data, at)
            document[name] = data[at + 5:at + 5 + size]
            at += 5 + size
        elif kind in (0x03, 0x04):
            inner, at = decode(data, at)
            document[name] = inner if kind == 0x03 else list(inner.values())
        else:
            size = SIZES[kind] if kind in SIZES else 5 + struct.unpack_from('<i', data, at)[0]
            document[name] = data[at:at + size]
            at += size
    return document, end


def receive(s, n):
    """Exactly n bytes; a socket with a timeout may give less at a time."""
    data = b''
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise ConnectionError('the connection broke')
        data += part
    return data


def command(address, document, timeout=10):
    """The reply as a dict, or None while nobody answers."""
    body = struct.pack('<iB', 0, 0) + encode(document)
    try:
        with socket.create_connection(address, timeout) as s:
            s.sendall(struct.pack('<iiii', 16 + len(body), 1, 0, 2013) + body)
            size, = struct.unpack('<i', receive(s, 4))
            return decode(receive(s, size - 4), 17)[0]
    except (OSError, struct.error):
        return None
