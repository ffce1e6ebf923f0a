"""A TCP proxy that cuts connections after so many bytes, as networks do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress

PIECE = 16 << 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends a reset and drops what is on its way


class CuttingProxy:
    """Passes bytes on to an address; what callers send is counted, and at each of some counts their connection is reset.

    Parameters
    ----------
    target
        ``host:port``.
    cuts
        How many bytes, counted over all connections, are let through before each cut.
    """

    def __init__(self, target: str, cuts: Sequence[int]) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._cuts = sorted(cuts)
        self.sent = 0
        self.made = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                try:
                    director = socket.create_connection(self._target)
                except OSError:
                    caller.close()  # as a host answers where nobody listens
                    continue
                # Little may be on its way at any time, as on a slow line.
                for end in (caller, director):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
                for source, sink in ((caller, director), (director, caller)):
                    counted = source is caller
                    threading.Thread(target=self._pump, args=(source, sink, counted), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                if counted and self._is_cut(len(data)):
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _is_cut(self, length: int) -> bool:
        with self._lock:
            self.sent += length
            if self._cuts and self.sent >= self._cuts[0]:
                self._cuts.pop(0)
                self.made += 1
                return True
            return False
