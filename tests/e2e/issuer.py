# SPDX-License-Identifier: MPL-2.0
"""An issuer of tokens for end-to-end tests: HTTPS on a free loopback port with a certificate of its own,
a key set (/keys), token introspection (/ask). Keys and signatures are made by openssl.

    with Issuer(folder) as issuer:
        settings = issuer.settings()        # a group for auth.oauth
        token = issuer.token(email='anna@example.org')
"""
import base64
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse

NAME = 'https://id.example.org'
CLIENT = 'mail', 's&cret'


def openssl(*words, stdin=b''):
    return subprocess.run(['openssl', *words], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True, timeout=60).stdout


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


class Key:
    """alg: RS256, ES256, EdDSA."""
    KINDS = {'RS256': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
             'ES256': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
             'EdDSA': ['-algorithm', 'ED25519']}

    def __init__(self, folder, alg, kid):
        self.alg, self.kid = alg, kid
        self.path = f'{folder}/{kid}.pem'
        openssl('genpkey', *self.KINDS[alg], '-out', self.path)

    def jwk(self):
        der = openssl('pkey', '-in', self.path, '-pubout', '-outform', 'DER')
        common = {'kid': self.kid, 'alg': self.alg, 'use': 'sig'}
        if self.alg == 'ES256':
            return {**common, 'kty': 'EC', 'crv': 'P-256', 'x': b64(der[-64:-32]), 'y': b64(der[-32:])}
        if self.alg == 'EdDSA':
            return {**common, 'kty': 'OKP', 'crv': 'Ed25519', 'x': b64(der[-32:])}
        modulus = openssl('rsa', '-in', self.path, '-noout', '-modulus').decode().split('=')[1]
        return {**common, 'kty': 'RSA', 'n': b64(bytes.fromhex(modulus.strip())), 'e': 'AQAB'}

    def sign(self, text):
        if self.alg == 'EdDSA':
            file = pathlib.Path(self.path + '.text')
            file.write_bytes(text)
            return openssl('pkeyutl', '-sign', '-rawin', '-inkey', self.path, '-in', str(file))
        signature = openssl('dgst', '-sha256', '-sign', self.path, stdin=text)
        if self.alg == 'RS256':
            return signature
        numbers, rest = b'', signature[2:]  # SEQUENCE of two INTEGERs
        for _ in range(2):
            numbers += rest[2:2 + rest[1]].lstrip(b'\0').rjust(32, b'\0')
            rest = rest[2 + rest[1]:]
        return numbers


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        issuer = self.server.issuer
        issuer.requests.append(self.path)
        if issuer.broken:
            self.answer(500, {})
        else:
            self.answer(200, {'keys': [key.jwk() for key in issuer.shown]})

    def do_POST(self):
        issuer = self.server.issuer
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers['Content-Length'])).decode())
        issuer.requests.append(self.path)
        user, password = (urllib.parse.quote_plus(part) for part in CLIENT)
        expected = 'Basic ' + base64.b64encode(f'{user}:{password}'.encode()).decode()
        if issuer.broken or self.headers['Authorization'] != expected:
            self.answer(500 if issuer.broken else 401, {})
        else:
            self.answer(200, issuer.opaque.get(form['token'][0], {'active': False}))

    def log_message(self, *_):
        pass


class Issuer:
    """shown: the keys in the set; opaque: what introspection answers for a token; requests: the paths
    asked for; broken: everything is answered 500."""

    def __init__(self, folder):
        self.folder = folder
        self.requests, self.opaque, self.broken = [], {}, False
        self.shown = [Key(folder, alg, alg.lower()) for alg in Key.KINDS]
        self.stranger = Key(folder, 'ES256', 'stranger')
        self.cafile = f'{folder}/issuer.crt'
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', f'{folder}/issuer.key',
                '-out', self.cafile, '-days', '2', '-subj', '/CN=localhost',
                '-addext', 'subjectAltName=IP:127.0.0.1')
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.issuer = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cafile, f'{folder}/issuer.key')
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def settings(self, keys=True, introspection=True, more=''):
        url = f'https://127.0.0.1:{self.server.server_address[1]}'
        return (f'{{ issuer = "{NAME}"; audience = "mail"; cafile = "{self.cafile}"; '
                + (f'keys = "{url}/keys"; ' if keys else '')
                + (f'introspection = "{url}/ask"; client_id = "{CLIENT[0]}"; '
                   f'client_secret = "{CLIENT[1]}"; ' if introspection else '') + more + '}')

    def token(self, key=None, header=None, sign=True, **claims):
        """A claim given as None is left out."""
        key = key or self.shown[1]
        all_claims = {'iss': NAME, 'aud': 'mail', 'exp': int(time.time()) + 3600, **claims}
        parts = [{'alg': key.alg, 'kid': key.kid, **(header or {})},
                 {k: v for k, v in all_claims.items() if v is not None}]
        text = '.'.join(b64(json.dumps(part).encode()) for part in parts)
        return text + '.' + (b64(key.sign(text.encode())) if sign else '')
