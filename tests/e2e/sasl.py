# SPDX-License-Identifier: MPL-2.0
"""SASL exchanges over IMAP, POP3 and submission, message by message; and SCRAM's client, which may lie."""
import base64
import hashlib
import hmac
import os
import socket
import ssl

from harness import check, client_context


class Line:
    """A connection under TLS, before the login. attempt() says (let in?, the last line)."""

    def __init__(self, eider, protocol, context=None):
        port = getattr(eider, {'imap': 'imaps_port', 'pop3': 'pop3s_port', 'smtp': 'submits_port'}[protocol])
        plain = socket.create_connection(('127.0.0.1', port), 60)
        self.protocol = protocol
        self.socket = (context or client_context()).wrap_socket(plain, server_hostname='localhost')
        self.file = self.socket.makefile('rb')
        self.receive()
        if protocol == 'smtp':
            self.send('EHLO client.example.org')
            while (line := self.receive())[3:4] == '-':
                pass
            check(line.startswith('250 '), f'EHLO: {line}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, line):
        self.socket.sendall(line.encode() + b'\r\n')

    def receive(self):
        return self.file.readline().decode().rstrip('\r\n')

    def mechanisms(self):
        if self.protocol == 'imap':
            self.send('c CAPABILITY')
            words = self.receive().split()
            self.receive()
            return [word[5:] for word in words if word.startswith('AUTH=')]
        if self.protocol == 'pop3':
            self.send('CAPA')
            lines = iter(self.receive, '.')
            return [word for line in lines if line.startswith('SASL ') for word in line.split()[1:]]
        self.send('EHLO again.example.org')
        words = []
        while (line := self.receive())[:3] == '250':
            if line[4:].startswith('AUTH '):
                words = line[4:].split()[1:]
            if line[3] == ' ':
                break
        return words

    def begin(self, mechanism, initial):
        text = '' if initial is None else ' ' + (base64.b64encode(initial).decode() or '=')
        verb = {'imap': 'a AUTHENTICATE ', 'pop3': 'AUTH ', 'smtp': 'AUTH '}[self.protocol]
        self.send(verb + mechanism + text)

    def attempt(self, mechanism, initial=None, answers=()):
        """answers: for each challenge bytes, or a function of the challenge."""
        answers = iter(answers)
        self.begin(mechanism, initial)
        while True:
            line = self.receive()
            if line.startswith('+ ') or line == '+' or line.startswith('334'):
                challenge = base64.b64decode(line.partition(' ')[2])
                answer = next(answers)
                answer = answer(challenge) if callable(answer) else answer
                self.send(base64.b64encode(answer).decode())
            elif not line.startswith('* '):
                return line.startswith(('a OK', '+OK', '235')), line

    def password(self, account, password):
        """By the protocol's own command, or what is nearest to it."""
        if self.protocol == 'imap':
            self.send(f'a LOGIN {account} "{password}"')
        elif self.protocol == 'pop3':
            self.send(f'USER {account}')
            self.receive()
            self.send(f'PASS {password}')
        else:
            return self.attempt('PLAIN', f'\0{account}\0{password}'.encode())
        while (line := self.receive()).startswith('* '):
            pass
        return line.startswith(('a OK', '+OK')), line


class Scram:
    """RFC 5802. binding: None ("n"), "y", or (type, data)."""

    def __init__(self, mechanism, user, password, binding=None):
        self.hash = 'sha1' if 'SHA-1' in mechanism else 'sha256'
        self.password = password.encode()
        flag, data = ('n', b'') if binding is None else ('y', b'') if binding == 'y' else (
            'p=' + binding[0], binding[1])
        self.header = f'{flag},,'.encode()
        self.data = data
        self.bare = f'n={user},r={base64.b64encode(os.urandom(18)).decode()}'.encode()
        self.first = self.header + self.bare
        self.final = self.signature = None

    def hmac(self, key, text):
        return hmac.new(key, text, self.hash).digest()

    def answer(self, challenge):
        fields = dict(field.split(b'=', 1) for field in challenge.split(b','))
        salted = hashlib.pbkdf2_hmac(self.hash, self.password, base64.b64decode(fields[b's']),
                                     int(fields[b'i']))
        client = self.hmac(salted, b'Client Key')
        without = b'c=' + base64.b64encode(self.header + self.data) + b',r=' + fields[b'r']
        text = self.bare + b',' + challenge + b',' + without
        proof = bytes(a ^ b for a, b in zip(client, self.hmac(hashlib.new(self.hash, client).digest(),
                                                              text)))
        self.signature = base64.b64encode(self.hmac(self.hmac(salted, b'Server Key'), text))
        self.final = without + b',p=' + base64.b64encode(proof)
        return self.final

    def verify(self, challenge):
        check(challenge == b'v=' + self.signature, f'the server knows the password too: {challenge}')
        return b''


def scram(line, mechanism, user, password, binding=None):
    client = Scram(mechanism, user, password, binding)
    return line.attempt(mechanism, client.first, [client.answer, client.verify])


def end_point(line):
    """tls-server-end-point of a certificate signed with SHA-256."""
    return 'tls-server-end-point', hashlib.sha256(line.socket.getpeercert(True)).digest()


def tls12():
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def bearer(user, token):
    return f'n,{"a=" + user if user else ""},\1host=x\1port=1\1auth=Bearer {token}\1\1'.encode()


def xoauth2(user, token):
    return f'user={user}\1auth=Bearer {token}\1\1'.encode()
