"""What a simulation or a baseline starts from where its plan says so: an earlier simulation, in the folder beside its own."""

from __future__ import annotations

from pathlib import Path

from federation.errors import InputError
from federation.paths import inside
from federation.tensors import Tensors, open_mapped
from workspace.initial_exchange import Earlier
from workspace.simulation.run_folder import FROZEN


def earlier(folder: Path, name: str, which: str) -> Earlier:
    """Return the best or the last model of an earlier simulation.

    Parameters
    ----------
    folder
        Of the run that starts from it.
    name
        Of the folder beside that one.
    which
        "best" or "last".

    Raises
    ------
    InputError
        If there is none.
    """
    path = inside(folder.parent, name, f"exchanged_{which}.safetensors")
    if not path.is_file():
        raise InputError(f"federation.settings.start_from: no earlier simulation {name!r} beside {folder}")
    return Earlier(open_mapped(path), frozen_in(inside(folder.parent, name)))


def frozen_in(folder: Path) -> Tensors:
    """Return what a simulation's folder has of what is frozen by value; empty if nothing is."""
    path = inside(folder, FROZEN)
    return open_mapped(path) if path.is_file() else {}
