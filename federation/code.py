"""Which code an experiment runs: a hash for each, which must agree between sites for the same plan to give the same model.

It covers the project's learning and engine code and, for an experiment from outside, the distribution that brings it. A
package that brings a shard is its site's own affair. Code is read, not imported: this needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, version
from importlib.util import find_spec
from pathlib import Path

from federation import plugins
from federation.experiments import GROUP, usable_experiments

PROJECT = "speech-federation"
CODE = (
    "federation/engine",
    "federation/statistics.py",
    "federation/tensors.py",
    "shard_descriptors",
    "workspace/experiments",
    "workspace/learning",
)
"""What decides the bits of a model; the rest of the project may differ without harm to them."""


def project_version() -> str:
    """Return this project's version."""
    return version(PROJECT)


def code_hashes() -> dict[str, str]:
    """Return the hash of every experiment that can be used here, by name."""
    return {name: code_hash(name) for name in usable_experiments()}


@cache
def code_hash(experiment: str) -> str:
    """Return the SHA-256 of the code that an installed experiment runs.

    Raises
    ------
    InputError
        If two packages claim the experiment.
    """
    digest = hashlib.sha256()
    for name, file in _project_files():
        _add(digest, name, file)
    point = plugins.entry(GROUP, experiment)
    if point.dist is not None and plugins.package_of(point) != PROJECT:
        digest.update(f"{point.dist.name} {point.dist.version}\n".encode())
        for name, file in _distribution_files(point.dist, point.module):
            _add(digest, name, file)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, file: Path) -> None:
    content = file.read_bytes()
    digest.update(f"{name}\n{len(content)}\n".encode())
    digest.update(content)


def _project_files() -> Iterator[tuple[str, Path]]:
    for part in CODE:
        package, *below = part.split("/")
        for root in _locations(package):
            place = root.joinpath(*below)
            files = [place] if place.suffix == ".py" else place.rglob("*.py")
            yield from _named(root.parent, files)


def _distribution_files(distribution: Distribution, module: str) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a distribution's packages, as they would be imported, wherever they are installed."""
    tops = {file.parts[0].removesuffix(".py") for file in distribution.files or () if file.suffix == ".py"}
    # An editable install lists no files of its own but a hook.
    tops = {top for top in tops if top.isidentifier() and not top.startswith("__editable__")}
    listed = (distribution.read_text("top_level.txt") or "").split()
    for top in sorted(tops or set(listed) or {module.partition(".")[0]}):
        locations = _locations(top)
        for root in locations:
            yield from _named(root.parent, root.rglob("*.py"))
        found = find_spec(top)
        if not locations and found is not None and found.origin is not None:
            yield f"{top}.py", Path(found.origin)


def _locations(package: str) -> list[Path]:
    found = find_spec(package)
    return sorted(map(Path, (found.submodule_search_locations if found else None) or ()))


def _named(root: Path, files: Iterator[Path] | list[Path]) -> Iterator[tuple[str, Path]]:
    yield from sorted((file.relative_to(root).as_posix(), file) for file in files)
