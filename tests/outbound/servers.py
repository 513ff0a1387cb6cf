"""Servers on port 0 that no honest HTTP server would be: byte by byte, under the test's control."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Script = Callable[[socket.socket, threading.Event], None]


@contextmanager
def raw_server(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run `script(connection, stop)` for each connection; yields the port."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        # What the client does to the connection is the test's business.
        with suppress(OSError), connection:
            connection.settimeout(5)
            secured = connection if tls is None else tls.wrap_socket(connection, server_side=True)
            with secured:
                script(secured, stop)

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request: hanging up on an unread body would reset the connection, answer and all."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def sends(answer: bytes) -> Script:
    """A script that sends these bytes after the request and hangs up."""

    def script(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(answer)

    return script


def dribbles(beginning: bytes, piece: bytes = b"x", every: float = 0.02) -> Script:
    """A script that begins an answer and goes on with a piece at a time, for ever."""

    def script(connection: socket.socket, stop: threading.Event) -> None:
        read_request(connection)
        connection.sendall(beginning)
        while not stop.wait(every):
            connection.sendall(piece)

    return script


def says_nothing(connection: socket.socket, stop: threading.Event) -> None:
    """A script that accepts and then waits."""
    stop.wait(30)


def make_certificate(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """Make a self-signed certificate; returns its file, for the client to trust, and the server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "door test")])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context
