"""What keeps a director from starting, found before the engine is imported, which takes seconds."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

from director.config import DirectorConfig
from director.disk import NO_ROOM
from director.state import lock
from federation.addresses import require_loopback, split_address
from federation.errors import InputError
from federation.identity import Credentials
from federation.permissions import make_private

_WHY = {
    errno.EADDRINUSE: "is in use already, by another director perhaps; stop it, or choose another port",
    errno.EADDRNOTAVAIL: "is no address of this machine; 0.0.0.0 is all of them",
    errno.EACCES: "this user may not use that port; choose one above 1023",
}


def require_startable(config: DirectorConfig, insecure: bool) -> None:
    """Look at address, certificates and state folder; what changes afterwards, `director.server` meets itself.

    Raises
    ------
    InputError
        If a director cannot be started with this config.
    OSError
        If the state folder cannot be made or written.
    """
    split_address(config.listen)
    if insecure:
        require_loopback(config.listen)
    else:
        Credentials(config.certificates, config.name).server_credentials()
    try:
        make_private(config.state)
        lock(config.state).close()
    except OSError as error:
        # For room on its disk a director waits.
        if error.errno not in NO_ROOM:
            raise
    _require_free(config.listen)


def _require_free(address: str) -> None:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise InputError(f"listen: {address}: there is no host of that name") from None
    faults = []
    for family, kind, protocol, _, at in found:
        try:
            with closing(socket.socket(family, kind, protocol)) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind(at)
        except OSError as error:
            faults.append(error)
    # A host may have an address of each family, and this machine only one of them.
    if len(faults) == len(found):
        why = next((_WHY[fault.errno] for fault in faults if fault.errno in _WHY), faults[0].strerror)
        raise InputError(f"listen: {address}: {why}") from faults[0]
