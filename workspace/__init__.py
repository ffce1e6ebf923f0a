"""What data scientists use: client, simulation, and the experiments' learning code.

``workspace.Federation``, ``workspace.Experiment`` and ``workspace.connect`` are imported when they are asked for: a director
and ``fed --help`` read this package too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workspace.client import Experiment, Federation
    from workspace.config import connect

__all__ = ["Experiment", "Federation", "connect"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from workspace.config import connect

        return connect
    if name in __all__:
        from workspace import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
