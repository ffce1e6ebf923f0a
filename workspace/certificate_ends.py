"""Whose certificate is about to end: said in time to renew it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Iterator

from workspace.infos import EnvoyInfo

WARNING_DAYS = 30


def warnings(envoys: Iterable[EnvoyInfo]) -> Iterator[str]:
    """Yield a line for each envoy whose certificate ends within thirty days."""
    for envoy in envoys:
        if envoy.certificate_ends is None:
            continue
        days = (envoy.certificate_ends - time.time()) / 86_400
        if days < WARNING_DAYS:
            end = dt.datetime.fromtimestamp(envoy.certificate_ends, dt.UTC)
            yield (
                f"the certificate of {envoy.name} ends on {end:%Y-%m-%d}, in {max(0, int(days))} days; where the authority is: "
                f"fed certify renew {envoy.name} (a new one is used when the envoy connects anew)"
            )
