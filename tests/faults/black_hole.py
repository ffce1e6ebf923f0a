"""A proxy in which connections go silent, as behind a firewall that has forgotten them: nothing arrives, nothing is refused."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.cutting_proxy import PIECE, CuttingProxy


class SwallowingProxy(CuttingProxy):
    """Lets each connection that would be cut go on without passing anything more; later ones are not disturbed."""

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                if self._is_silent(sink):
                    continue
                if counted and self._is_cut(len(data)):
                    self._silence(source, sink)
                    continue
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_silent(self, end: socket.socket) -> bool:
        return end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    def _silence(self, *ends: socket.socket) -> None:
        # The mark is the socket's own: the two threads of a connection share nothing else.
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
