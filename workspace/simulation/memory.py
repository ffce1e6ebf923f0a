"""How much memory a run has taken."""

from __future__ import annotations

import resource
import sys


def peak_memory_mb() -> float:
    """Return the most memory that this process, or the largest of its ended children, has had resident, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return round(max(resource.getrusage(one).ru_maxrss for one in who) * unit / 2**20, 1)
