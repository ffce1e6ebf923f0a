"""A `fed` command as a process of its own, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT


def in_a_process(
    *arguments: str, cwd: Path, before: str = "pass", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process of its own, which first does something."""
    script = f"import sys, resource, os\n{before}\nfrom federation.main import main\nsys.exit(main({list(arguments)!r}))"
    unset = {"HOME", "LC_ALL", "LANG", "PYTHONIOENCODING", "PYTHONUTF8"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "FED_STATE": str(cwd / "fed"), **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
