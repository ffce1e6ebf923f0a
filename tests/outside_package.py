"""Packages from outside, installed beside the running environment and not into it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT


def guide() -> dict[str, str]:
    """The files that docs/design.md shows, by name: each fenced block that begins with one."""
    page = (ROOT / "docs" / "design.md").read_text()
    found = re.findall(r"^```(?:python|toml|yaml)\n# ([\w./]+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return dict(found)


def install(source: Path, target: Path) -> Path:
    """Install a package with pip into a folder of its own; nothing is fetched."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(source)]
    # Some libraries set this where they are imported; Python 3.12 has no distutils of its own to fall back on.
    env = {name: value for name, value in os.environ.items() if name != "SETUPTOOLS_USE_DISTUTILS"}
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL, env=env)
    return target


def pretend(folder: Path, name: str, entry_points: str, code: str = "") -> Path:
    """Lay out what pip would leave of a package of one module, with these entry points."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    module = f"{name.replace('-', '_')}.py"
    (folder / module).write_text(code)
    (info / "RECORD").write_text(f"{module},,\n{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n")
    return folder
