#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Logins by every mechanism over every protocol, and all that must be refused: alike, and counted."""
import concurrent.futures
import os
import ssl
import subprocess
import tempfile

import sasl
from harness import PASSWORD, Eider, check, client_context, main, wait_for
from issuer import Issuer, Key, openssl
from sasl import Line, Scram, bearer, scram, xoauth2
from test_imapflow import library

PROTOCOLS = ['imap', 'pop3', 'smtp']
FAST = 'failure_delay = "10ms"; failure_delay_max = "300ms"; '
ANNA, BERT = 'anna@example.org', 'bert@example.org'


def good(eider, protocol, mechanism, initial=None, answers=(), context=None):
    with Line(eider, protocol, context) as line:
        done, said = line.attempt(mechanism, initial, answers)
        check(done, f'{mechanism} over {protocol}: {said}')


def refusal(eider, protocol, mechanism, initial=None, answers=(), context=None):
    with Line(eider, protocol, context) as line:
        done, said = line.attempt(mechanism, initial, answers)
        check(not done, f'{mechanism} over {protocol} is refused: {said}')
        return said


def wrong(eider, protocol, user, word='wrong'):
    """What is said to a wrong password."""
    with Line(eider, protocol) as line:
        done, said = line.password(user, word)
        check(not done, said)
        return said


def scram_refusal(eider, protocol, mechanism, user, word, binding=None, context=None):
    with Line(eider, protocol, context) as line:
        client = Scram(mechanism, user, word, binding(line) if callable(binding) else binding)
        done, said = line.attempt(mechanism, client.first, [client.answer, client.verify])
        check(not done, f'{mechanism} over {protocol} is refused: {said}')
        return said


def counted(attempt):
    """Many of them at once are refused unseen, sooner or later."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wait_for(lambda: any('again later' in said for said in pool.map(lambda _: attempt(), range(16))),
                 60, 'guesses are counted')


def test_every_mechanism_lets_the_right_one_in(store):
    with Eider(store, plaintext=False) as eider:
        eider.account(ANNA)
        for protocol in PROTOCOLS:
            with Line(eider, protocol) as line:
                check(line.mechanisms() == ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-1-PLUS',
                                            'SCRAM-SHA-1', 'PLAIN', 'LOGIN'], line.mechanisms())
            good(eider, protocol, 'PLAIN', f'\0{ANNA}\0{PASSWORD}'.encode())
            good(eider, protocol, 'PLAIN', None, [f'\0{ANNA}\0{PASSWORD}'.encode()])
            good(eider, protocol, 'LOGIN', None, [ANNA.encode(), PASSWORD.encode()])
            for mechanism in ('SCRAM-SHA-1', 'SCRAM-SHA-256'):
                with Line(eider, protocol) as line:
                    check(scram(line, mechanism, ANNA, PASSWORD)[0], f'{mechanism} over {protocol}')
                with Line(eider, protocol) as line:
                    check(scram(line, mechanism + '-PLUS', ANNA, PASSWORD, sasl.end_point(line))[0],
                          f'{mechanism}-PLUS by the certificate over {protocol}')
                with Line(eider, protocol, sasl.tls12()) as line:
                    unique = 'tls-unique', line.socket.get_channel_binding('tls-unique')
                    check(scram(line, mechanism + '-PLUS', ANNA, PASSWORD, unique)[0],
                          f'{mechanism}-PLUS by tls-unique over {protocol}')


def test_wrong_ones_and_strangers_are_answered_alike():
    with Eider(auth=FAST) as eider:
        eider.account(ANNA)
        for i, protocol in enumerate(PROTOCOLS):
            user = f'u{i}@example.org'
            eider.account(user)
            nobody = f'nobody{i}@example.org'
            said = wrong(eider, protocol, nobody)
            check(wrong(eider, protocol, user) == said, 'wrong password')
            check(refusal(eider, protocol, 'PLAIN', f'\0{user}\0wrong'.encode()) == said, 'PLAIN')
            for mechanism in ('SCRAM-SHA-1', 'SCRAM-SHA-256'):
                for name in (user, nobody):
                    check(scram_refusal(eider, protocol, mechanism, name, 'wrong') == said, mechanism)
        for protocol in PROTOCOLS:
            counted(lambda p=protocol: wrong(eider, p, f'victim-{p}@example.org', os.urandom(4).hex()))


def test_scram_cannot_be_replayed_or_bound_elsewhere():
    with Eider(auth=FAST) as eider:
        for i, protocol in enumerate(PROTOCOLS):
            user = f'u{i}@example.org'
            eider.account(user)
            said = wrong(eider, protocol, user)
            heard = Scram('SCRAM-SHA-256', user, PASSWORD)
            with Line(eider, protocol) as line:
                check(line.attempt('SCRAM-SHA-256', heard.first, [heard.answer, heard.verify])[0], 'once')
            final = heard.final
            check(refusal(eider, protocol, 'SCRAM-SHA-256', heard.first, [final]) == said, 'replayed')

            def other(line):
                return 'tls-server-end-point', bytes(32)
            check(scram_refusal(eider, protocol, 'SCRAM-SHA-256-PLUS', user, PASSWORD, other) == said,
                  'the certificate of another server')
            with Line(eider, protocol, sasl.tls12()) as elsewhere:
                unique = 'tls-unique', elsewhere.socket.get_channel_binding('tls-unique')
                check(scram_refusal(eider, protocol, 'SCRAM-SHA-1-PLUS', user, PASSWORD, unique,
                                    sasl.tls12()) == said, 'tls-unique of another connection')
            # of TLS 1.3 there is no tls-unique
            client = Scram('SCRAM-SHA-256-PLUS', user, PASSWORD, ('tls-unique', bytes(12)))
            refusal(eider, protocol, 'SCRAM-SHA-256-PLUS', client.first, [client.answer])
            # somebody took -PLUS out of our list on its way to the client
            check(scram_refusal(eider, protocol, 'SCRAM-SHA-256', user, PASSWORD, 'y') == said,
                  'downgraded')


def test_app_passwords(store):
    with Eider(store, auth=FAST) as eider:
        eider.account(ANNA)
        imap = eider.cli('account', 'app-password', 'add', '-s', 'imap', ANNA, 'phone').strip()
        every = eider.cli('account', 'app-password', 'add', ANNA, 'all').strip()
        for protocol in PROTOCOLS:
            check(Line(eider, protocol).password(ANNA, every)[0], f'{protocol} by one for all')
            good(eider, protocol, 'PLAIN', f'\0{ANNA}\0{every.replace("-", "").upper()}'.encode())
            if protocol != 'imap':
                check(wrong(eider, protocol, ANNA, imap) == wrong(eider, protocol, 'x@example.org'),
                      f'{protocol} by one for IMAP')
        check(Line(eider, 'imap').password(ANNA, imap)[0], 'IMAP by one for IMAP')
        eider.cli('account', 'set', '--password-for', 'pop3', ANNA)
        wrong(eider, 'imap', ANNA, PASSWORD)
        scram_refusal(eider, 'imap', 'SCRAM-SHA-256', ANNA, PASSWORD)
        check(Line(eider, 'imap').password(ANNA, imap)[0], 'IMAP by one for IMAP, still')
        eider.cli('account', 'app-password', 'delete', ANNA, 'phone')
        wrong(eider, 'imap', ANNA, imap)


def with_issuer(test, **options):
    with tempfile.TemporaryDirectory() as folder, Issuer(folder) as issuer:
        auth = (FAST + 'oauth_key_floor = "100ms"; oauth_cache = 0; oauth_timeout = "20s"; oauth = ( '
                + issuer.settings(**options) + ' );')
        with Eider(auth=auth) as eider:
            eider.account(ANNA)
            test(eider, issuer)


def test_tokens_let_in():
    def test(eider, issuer):
        for protocol in PROTOCOLS:
            for key in issuer.shown:
                good(eider, protocol, 'OAUTHBEARER', bearer('', issuer.token(key, email=ANNA)))
            token = issuer.token(email=ANNA, aud=['x', 'mail'])
            good(eider, protocol, 'OAUTHBEARER', bearer(ANNA, token))
            good(eider, protocol, 'OAUTHBEARER', None, [bearer('Anna@Example.org', token)])
            good(eider, protocol, 'XOAUTH2', xoauth2(ANNA, token))
            issuer.opaque['opaque'] = {'active': True, 'email': ANNA, 'aud': 'mail'}
            good(eider, protocol, 'XOAUTH2', xoauth2(ANNA, 'opaque'))
        check(issuer.requests.count('/keys') == 1, f'keys are read once: {issuer.requests}')
    with_issuer(test)


def test_tokens_that_are_refused():
    def test(eider, issuer):
        def bad_tokens():
            yield 'alg none', issuer.token(header={'alg': 'none', 'kid': None}, sign=False, email=ANNA)
            yield 'HMAC', issuer.token(header={'alg': 'HS256'}, email=ANNA)
            yield 'a wrong audience', issuer.token(aud='drive', email=ANNA)
            yield 'no audience', issuer.token(aud=None, email=ANNA)
            yield 'another issuer', issuer.token(iss='https://evil.example', email=ANNA)
            yield 'expired', issuer.token(exp=1, email=ANNA)
            yield 'never expiring', issuer.token(exp=None, email=ANNA)
            yield 'not yet', issuer.token(nbf=1 << 40, email=ANNA)
            yield 'an unknown kid', issuer.token(issuer.stranger, email=ANNA)
            yield 'a known kid, another key', issuer.token(issuer.stranger, header={'kid': 'es256'},
                                                          email=ANNA)
            yield 'cut', issuer.token(email=ANNA)[:-8]
            yield 'nobody', issuer.token(email='nobody@example.org')
            yield 'an address that is not verified', issuer.token(email=ANNA, email_verified=False)
            yield 'nonsense', 'nonsense'
        for protocol in PROTOCOLS:
            said = wrong(eider, protocol, 'nobody@example.org')
            for what, token in bad_tokens():
                challenges = []

                def hear(challenge):
                    challenges.append(challenge)
                    return b'\1'
                last = refusal(eider, protocol, 'OAUTHBEARER', bearer('', token), [hear])
                check(last == said, f'{what} over {protocol}: {last}')
                check(b'"invalid_token"' in challenges[0], f'{what}: {challenges}')
            last = refusal(eider, protocol, 'XOAUTH2', xoauth2(BERT, issuer.token(email=ANNA)), [b''])
            check(last == said, f'for somebody else: {last}')
            long = bearer('', 'e' * 9000 + '.e.e')
            last = refusal(eider, protocol, 'OAUTHBEARER', long, [b'\1'])
            check(last == said, f'an oversized one: {last}')
            with Line(eider, protocol) as line:
                line.begin('XOAUTH2', bytes(20000))
                check('long' in line.receive(), 'longer than any line may be')
        counted(lambda: refusal(eider, 'imap', 'XOAUTH2',
                                xoauth2('victim@example.org', os.urandom(4).hex()), [b'']))
    with_issuer(test)


def test_an_issuer_that_changes_its_keys_or_is_away():
    def test(eider, issuer):
        old, fresh = issuer.shown[1], Key(issuer.folder, 'ES256', 'fresh')
        issuer.broken = True
        last = refusal(eider, 'imap', 'OAUTHBEARER', bearer(ANNA, issuer.token(old, email=ANNA)), [b'\1'])
        check('UNAVAILABLE' in last, f'not known yet: {last}')
        issuer.broken = False

        def lets_in(key):
            with Line(eider, 'imap') as line:
                return line.attempt('OAUTHBEARER', bearer('', issuer.token(key, email=ANNA)), [b'\1'])[0]
        wait_for(lambda: lets_in(old), 30, 'the keys are read when the issuer is there again')
        issuer.shown = [fresh]
        wait_for(lambda: lets_in(fresh), 30, 'the new key is found')
        check(not lets_in(old), 'the old one is no longer good')
        issuer.broken = True
        check(lets_in(fresh), 'what was read stays good while the issuer is away')
    with_issuer(test, introspection=False)


def test_scopes():
    def test(eider, issuer):
        good(eider, 'imap', 'OAUTHBEARER', bearer(ANNA, issuer.token(email=ANNA, scope='a mail.read')))
        heard = []
        refusal(eider, 'imap', 'OAUTHBEARER', bearer(ANNA, issuer.token(email=ANNA, scope='a')),
                [lambda challenge: heard.append(challenge) or b'\1'])
        check(b'"insufficient_scope"' in heard[0] and b'"mail.read"' in heard[0], f'{heard}')
    with_issuer(test, more='scope = "mail.read"; ')


def test_imapflow_and_imaplib_with_tokens():
    """imapflow chooses OAUTHBEARER or XOAUTH2 by itself."""
    script = '''
const { ImapFlow } = require('imapflow');
const [port, user, accessToken] = process.argv.slice(1);
const client = new ImapFlow({ host: '127.0.0.1', port, secure: true, logger: false,
    tls: { rejectUnauthorized: false }, auth: { user, accessToken } });
client.connect().then(() => client.status('INBOX', { messages: true }))
    .then(status => { console.log('messages', status.messages); return client.logout(); })
    .catch(error => { console.log('refused', error.oauthError ? JSON.stringify(error.oauthError) : error.responseText); });
'''
    modules = library()

    def test(eider, issuer):
        def run(token):
            done = subprocess.run(['node', '-e', script, str(eider.imaps_port), ANNA, token],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env={**os.environ, 'NODE_PATH': str(modules)}, timeout=120, check=False)
            return done.stdout.decode()
        eider.deliver(ANNA, b'Subject: x\r\n\r\nhello\r\n')
        check(run(issuer.token(email=ANNA)) == 'messages 1\n', run(issuer.token(email=ANNA)))
        said = run(issuer.token(email=ANNA, exp=1))
        check(said.startswith('refused'), said)
        client = eider.imap()
        client.authenticate('XOAUTH2', lambda _: xoauth2(ANNA, issuer.token(email=ANNA)))
        check(client.select()[1] == [b'1'], 'imaplib')
        client.logout()
    with_issuer(test)


def make_certificates(folder):
    """An authority, certificates that it has signed, one that it has taken back, one of a stranger."""
    def sign(name, by, addresses, *more):
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', f'{folder}/{name}.key', '-subj', f'/CN={name}',
                '-out', f'{folder}/{name}.csr')
        with open(f'{folder}/{name}.ext', 'w') as f:
            f.write('subjectAltName=' + ','.join(f'email:{a}' for a in addresses) + '\n')
        openssl('x509', '-req', '-in', f'{folder}/{name}.csr', '-CA', f'{folder}/{by}.crt', '-CAkey',
                f'{folder}/{by}.key', '-CAcreateserial', '-days', '2', '-out', f'{folder}/{name}.crt',
                '-extfile', f'{folder}/{name}.ext', *more)
    for name in ('ca', 'evil'):
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', f'{folder}/{name}.key',
                '-out', f'{folder}/{name}.crt', '-days', '2', '-subj', f'/CN={name}')
    sign('anna', 'ca', ['someone@example.net', ANNA])
    sign('nobody', 'ca', ['nobody@example.org'])
    sign('stranger', 'evil', [ANNA])


def certificate(folder, name, version=None):
    context = client_context()
    context.load_cert_chain(f'{folder}/{name}.crt', f'{folder}/{name}.key')
    if version:
        context.maximum_version = version
    return context


def test_certificates():
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(folder)
        with Eider(auth=FAST,
                   settings=f'tls = {{ client_authorities = "{folder}/ca.crt"; }};') as eider:
            eider.account(ANNA)
            eider.account(BERT)
            for protocol in PROTOCOLS:
                said = wrong(eider, protocol, 'nobody@example.org')
                anna = certificate(folder, 'anna')
                with Line(eider, protocol, anna) as line:
                    check(line.mechanisms()[0] == 'EXTERNAL', f'{line.mechanisms()}')
                good(eider, protocol, 'EXTERNAL', b'', context=anna)
                good(eider, protocol, 'EXTERNAL', None, [b''], context=anna)
                good(eider, protocol, 'EXTERNAL', ANNA.encode(), context=anna)
                good(eider, protocol, 'EXTERNAL', b'',
                     context=certificate(folder, 'anna', ssl.TLSVersion.TLSv1_2))
                check(refusal(eider, protocol, 'EXTERNAL', BERT.encode(), context=anna) == said, 'for bert')
                check(refusal(eider, protocol, 'EXTERNAL', b'', context=certificate(folder, 'nobody'))
                      == said, 'of nobody here')
                for context in (certificate(folder, 'stranger'), client_context()):
                    with Line(eider, protocol, context) as line:
                        check('EXTERNAL' not in line.mechanisms(), 'not for strangers')
                        check(not line.attempt('EXTERNAL', b'')[0], 'strangers')
                    with Line(eider, protocol, context) as line:
                        check(line.password(ANNA, PASSWORD)[0], 'but they may have a password')


if __name__ == '__main__':
    main(globals())
