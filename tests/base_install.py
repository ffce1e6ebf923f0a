"""An environment that holds what the base install holds, and nothing more: no torch, no transformers.

It is put together from the distributions that are installed here, by following the requirements of the package without its
extras, so that a test need not install half a gigabyte again.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.checkout import ROOT

PROJECT = "speech-federation"


def base_distributions() -> dict[str, Distribution]:
    """Follow the requirements of the package without extras."""
    found: dict[str, Distribution] = {}
    # OpenFL imports pip, which every environment that was installed with it has.
    open_names = [PROJECT, "pip"]
    while open_names:
        name = canonicalize_name(open_names.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for text in found[name].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                open_names.append(requirement.name)
    return found


def make_base_environment(folder: Path) -> Path:
    """Make the environment and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    installed = Path(sysconfig.get_path("purelib"))
    tops = {file.parts[0] for known in base_distributions().values() for file in known.files or []}
    # Our own package is installed editable: it is found where it stands.
    tops |= {path.name for path in installed.glob("speech_federation-*.dist-info")}
    (site / "project.pth").write_text(str(ROOT) + "\n")
    for top in tops - {"..", "__pycache__"}:
        if (installed / top).exists():
            (site / top).symlink_to(installed / top)
    return folder / "bin" / "python"
