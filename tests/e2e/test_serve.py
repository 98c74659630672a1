#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The serving process: signals, certificates, PROXY headers from a real haproxy, one protocol a
process, a crowd of clients that only wait."""
import imaplib
import pathlib
import signal
import smtplib
import socket
import ssl
import subprocess
import time

from harness import (BIN, Eider, Failed, check, client_context, end_process, free_ports, main,
                     wait_for)


def make_certificate(folder, name):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                    'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-days', '9',
                    '-keyout', f'{folder}/key.pem', '-out', f'{folder}/cert.pem'],
                   check=True, capture_output=True)
    pem = pathlib.Path(f'{folder}/cert.pem').read_text() + \
        pathlib.Path(f'{folder}/key.pem').read_text()
    pathlib.Path(f'{folder}/both.pem').write_text(pem)


def shown_certificate(port):
    return ssl.get_server_certificate(('127.0.0.1', port))


def test_a_drain_says_good_bye_and_ends():
    with Eider() as eider:
        anna = eider.account('anna@example.org')
        imap = eider.imap(anna)
        began = time.monotonic()
        eider.process.send_signal(signal.SIGTERM)
        check(b'BYE' in imap.readline(), 'an idle session hears BYE')
        check(imap.readline() == b'', 'and the connection is closed')
        imap.shutdown()
        check(eider.process.wait(20) == 0, 'exit status 0')
        check(time.monotonic() - began < 10, 'it does not wait in vain')
        eider.process = None


def test_a_second_signal_ends_at_once():
    with Eider() as eider:
        anna = eider.account('anna@example.org')
        imap = eider.imap(anna)
        imap.send(b'a APPEND INBOX {1000000}\r\n')  # in the middle of a command
        check(imap.readline().startswith(b'+'), 'a literal is awaited')
        eider.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        check(eider.process.poll() is None, 'a command in progress is waited for')
        eider.process.send_signal(signal.SIGTERM)
        eider.process.wait(5)
        imap.shutdown()
        eider.process = None


def test_certificates_are_reloaded_and_a_slip_does_no_harm():
    with Eider(start=False) as eider:
        make_certificate(eider.folder, 'first')
        config = pathlib.Path(eider.config)
        config.write_text(config.read_text() + f'''
tls = {{ certificates = ( {{ certificate = "{eider.folder}/both.pem"; }} ); }};''')
        eider.start()
        first = shown_certificate(eider.imaps_port)
        anna = eider.account('anna@example.org')
        imap = eider.imap(anna)
        make_certificate(eider.folder, 'second')
        eider.reload()
        wait_for(lambda: shown_certificate(eider.imaps_port) != first, 10, 'the new one is shown')
        check(imap.noop()[0] == 'OK', 'who was there stays')
        second = shown_certificate(eider.imaps_port)
        pathlib.Path(f'{eider.folder}/both.pem').write_text('nonsense')
        eider.reload()
        wait_for(lambda: b'error=invalid' in eider.log(), 10, 'the slip is logged')
        check(shown_certificate(eider.imaps_port) == second, 'the old one stays')
        imap.logout()


def test_a_certificate_of_its_own_is_kept():
    with Eider() as eider:
        first = shown_certificate(eider.imaps_port)
        eider.restart()
        check(shown_certificate(eider.imaps_port) == first, 'the same after a restart')


def haproxy(eider, port, target):
    config = f'{eider.folder}/haproxy.cfg'
    pathlib.Path(config).write_text(f'''
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen imap
    bind 127.0.0.1:{port} ssl crt {eider.folder}/both.pem
    server one 127.0.0.1:{target} send-proxy-v2-ssl-cn proxy-v2-options crc32c,authority
''')
    return subprocess.Popen(['haproxy', '-db', '-f', config], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, start_new_session=True)


def test_behind_haproxy_with_tls_taken_off():
    """The client is known by its own address, and may send its password: it came by TLS."""
    behind, front = free_ports(2)
    with Eider(plaintext=False, start=False) as eider:
        make_certificate(eider.folder, 'front')
        config = pathlib.Path(eider.config)
        config.write_text(config.read_text().replace(
            'listeners = (', f'''proxy = {{ networks = [ "127.0.0.0/8" ]; }};
listeners = ( {{ protocol = "imap"; address = "127.0.0.1"; port = {behind}; proxy = true; }},'''))
        eider.start()
        anna = eider.account('anna@example.org')
        proxy = haproxy(eider, front, behind)
        try:
            def connect():
                try:
                    return imaplib.IMAP4_SSL('127.0.0.1', front, ssl_context=client_context())
                except OSError:
                    return None
            imap = wait_for(connect, 10, 'haproxy is up')
            imap.login(anna.login, anna.password)
            imap.logout()
        finally:
            end_process(proxy)
        with socket.create_connection(('127.0.0.1', behind), 10) as s:
            s.sendall(b'a CAPABILITY\r\n')
            try:
                check(s.recv(100) == b'', 'no header, no service')
            except ConnectionResetError:
                pass


def test_one_protocol_a_process():
    """eider-imapd, eider-lmtpd and eider-submitd share a store; what two deliver the other shows."""
    with Eider(start=False) as eider:
        processes = []
        try:
            for name, ports in (('eider-imapd', [eider.imaps_port]),
                                ('eider-lmtpd', [eider.lmtp_port]),
                                ('eider-submitd', [eider.submit_port, eider.submits_port])):
                with open(eider.log_path, 'ab') as log:
                    processes.append(subprocess.Popen(
                        [str(BIN / name), '-c', eider.config], stdin=subprocess.DEVNULL,
                        stdout=log, stderr=log, start_new_session=True))
                for port in ports:
                    wait_for(lambda p=port: is_open(p), 30, f'{name} listens')
            anna = eider.account('anna@example.org')
            with eider.imap(anna) as imap:
                imap.select()
                eider.deliver(anna.login, b'Subject: x\r\n\r\nhello\r\n')
                wait_for(lambda: imap.noop() and imap.response('EXISTS')[1][-1] == b'1', 10,
                         'the delivery shows')
                with smtplib.SMTP_SSL('127.0.0.1', eider.submits_port, context=client_context()) as client:
                    client.login(anna.login, anna.password)
                    client.sendmail(anna.login, [anna.login], b'Subject: y\r\n\r\nhello\r\n')
                wait_for(lambda: imap.noop() and imap.response('EXISTS')[1][-1] == b'2', 10,
                         'what was sent shows')
        finally:
            ended = [end_process(p) for p in processes]
        check(all(ended), 'all end cleanly')


def test_a_socket_that_systemd_opened_is_used():
    with Eider(start=False) as eider:
        listening = socket.create_server(('127.0.0.1', eider.imap_port))
        command = 'exec 3<&%d; LISTEN_FDS=1 LISTEN_PID=$$ exec %s serve -c %s' % (
            listening.fileno(), BIN / 'eider', eider.config)
        with open(eider.log_path, 'wb') as log:
            eider.process = subprocess.Popen(['sh', '-c', command], stdout=log, stderr=log,
                                             pass_fds=[listening.fileno()],
                                             start_new_session=True)
        listening.close()
        wait_for(lambda: b' ready ' in eider.log(), 30, 'it starts')
        anna = eider.account('anna@example.org')
        eider.imap(anna, tls=False).logout()


def is_open(port):
    try:
        socket.create_connection(('127.0.0.1', port), 5).close()
        return True
    except OSError:
        return False


def test_I35_half_commands_and_a_sipping_reader_leave_others_alone():
    with Eider(settings='limits = { message_size = "50M"; };') as eider:
        anna, bert = eider.account('anna@example.org'), eider.account('bert@example.org')
        eider.deliver(anna.login, b'Subject: big\r\n\r\n' + (b'x' * 76 + b'\r\n') * 390_000)
        waiting = []
        try:
            for _ in range(500):
                s = socket.create_connection(('127.0.0.1', eider.imap_port), 10)
                s.sendall(b'a LOG')
                waiting.append(s)
            sipping = eider.imap(anna, tls=False)
            sipping.select()
            sipping.send(b'b FETCH 1 BODY[]\r\n')
            check(sipping.sock.recv(1), 'it begins')
            slowest = 0
            with eider.imap(bert) as imap:
                imap.select()
                for _ in range(50):
                    began = time.monotonic()
                    imap.noop()
                    slowest = max(slowest, time.monotonic() - began)
                    sipping.sock.recv(1)
            check(slowest < 1, f'NOOP took {slowest:.3f} s')
            sipping.shutdown()
        finally:
            for s in waiting:
                s.close()


def test_a_port_in_use_is_said_plainly():
    with Eider() as eider:
        second = Eider(start=False)
        try:
            text = pathlib.Path(second.config).read_text()
            pathlib.Path(second.config).write_text(
                text.replace(str(second.imap_port), str(eider.imap_port)))
            try:
                second.start()
            except Failed as failure:
                check(f'127.0.0.1:{eider.imap_port} is in use' in str(failure), str(failure))
            else:
                raise Failed('two servers at one port')
        finally:
            second.process = None
            second.close()


if __name__ == '__main__':
    main(globals())
