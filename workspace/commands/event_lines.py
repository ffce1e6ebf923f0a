"""An experiment's events as lines for a person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from federation.printing import printable
from workspace.infos import Event

MAX_LINE = 20_000


def event_lines(event: Event) -> Iterator[str]:
    """Yield a line of time, kind and what happened, and the lines of a traceback if there is one."""
    when = dt.datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
    body = dict(event.body)
    traceback = body.pop("traceback", "")
    yield printable(f"{when} {event.kind:14} {' '.join(_words(body))}".rstrip(), MAX_LINE)
    yield from (f"    {printable(line)}" for line in traceback.splitlines())


def _words(body: dict[str, Any]) -> Iterator[str]:
    for key, value in body.items():
        if key == "metrics":
            nested = value if all(isinstance(v, dict) for v in value.values()) else {"": value}
            for task, metrics in nested.items():
                prefix = f"{task}: " if task else ""
                shown = {k: v for k, v in metrics.items() if "/" not in k}
                yield prefix + " ".join(f"{name}={number:.4f}" for name, number in shown.items())
        elif isinstance(value, list):
            yield f"{key}={','.join(map(str, value))}"
        elif isinstance(value, float):
            yield f"{key}={value:.6g}"
        elif value not in (None, ""):
            yield f"{key}={value}"
