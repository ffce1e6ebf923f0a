"""A site's own tensors from round to round: personal layers, which neither travel nor are the same anywhere else.

Each round's are kept under its number, and those of the round before as well: a worker that died between training and sending
trains that round again, and must begin with what the round before had left.
"""

from __future__ import annotations

import os
from pathlib import Path

from federation.tensors import Tensors, chunks, open_mapped

KEPT = 2


class LocalTensors:
    """Keeps what each round has left, in a folder if there is one, in memory otherwise.

    Parameters
    ----------
    folder : Path, optional
        Of this site and experiment; made if it is not there.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._rounds: dict[int, Tensors] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._rounds = {int(file.stem): open_mapped(file) for file in folder.glob("*.safetensors")}

    def before(self, round_number: int) -> Tensors | None:
        """Return what the last round before this one has left; None if there was none."""
        earlier = [number for number in self._rounds if number < round_number]
        return self._rounds[max(earlier)] if earlier else None

    def keep(self, round_number: int, tensors: Tensors) -> None:
        """Keep what a round has left; it is on disk when this returns."""
        self._rounds[round_number] = tensors
        if self._folder is not None:
            path = self._path(round_number)
            unfinished = path.with_suffix(".partial")
            with unfinished.open("wb") as file:
                file.writelines(chunks(tensors))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        # A later one is of an experiment that once had this name.
        later = [number for number in self._rounds if number > round_number]
        for number in [*sorted(self._rounds.keys() - later)[:-KEPT], *later]:
            del self._rounds[number]
            if self._folder is not None:
                self._path(number).unlink(missing_ok=True)

    def _path(self, round_number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{round_number}.safetensors"
