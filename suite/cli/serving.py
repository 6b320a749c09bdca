"""Serves a folder of pages to this machine only, for example on the login node of a cluster."""

from __future__ import annotations

import argparse
import contextlib
import functools
import getpass
import re
import socket
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from suite.errors import SuiteError, printable

LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(1024, 65536)
"""Lower ports are reserved for the system."""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files without logging requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing, so that the address stays visible on the terminal."""


def checked_port(args: argparse.Namespace) -> int:
    """The port that ``--serve`` names.

    Raises:
        SuiteError: it is not a valid port, or another option conflicts with ``--serve``.
    """
    if args.strict or args.format not in (None, "html"):
        raise SuiteError("--serve runs until it is interrupted: leave out --strict and other formats")
    # Only ASCII digits, and few enough for int().
    port = int(args.serve) if re.fullmatch(r"[0-9]{1,5}", args.serve) else 0
    if port not in _PORTS:
        raise SuiteError(
            f"--serve must be a port from {_PORTS[0]} to {_PORTS[-1]}, got {printable(repr(args.serve), 40)}"
        )
    return port


def serve(folder: Path, port: int) -> None:
    """Prints the address, and serves a folder on the loopback interface until it is interrupted.

    Args:
        folder: folder of the site.
        port: port to serve at.

    Raises:
        SuiteError: the port is taken, or not allowed.
    """
    handler = functools.partial(_Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError as error:
        raise SuiteError(f"cannot serve at port {port} ({error.strerror}): name another one") from None
    with server, contextlib.suppress(KeyboardInterrupt):
        for line in addresses(server.server_address[1]):
            print(line, flush=True)
        server.serve_forever()


def addresses(port: int) -> tuple[str, ...]:
    """Lines that say where the site is, and how to reach it from another machine."""
    here = f"http://{LOOPBACK}:{port}/"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user without a name.
        user = "USER"
    host = printable(f"{user}@{socket.gethostname()}", 100)
    return (
        f"Serving the site at {here} to users of this machine; Ctrl-C ends it.",
        f"From another machine: ssh -N -L {port}:{LOOPBACK}:{port} {host}",
        f"and then open {here} there.",
    )
