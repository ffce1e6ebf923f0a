"""A site's own tensors from round to round: personal layers, which neither travel nor are the same anywhere else.

A round begins with what the last round that counted has left. What a round leaves is kept under its number, beside what it
began with: whether it counts is known only when the next one begins, and until then it may be trained again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from federation.files import settle
from federation.paths import inside, remove
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
            for unfinished in folder.glob("*.partial"):
                remove(folder, unfinished.name)
            files = [
                inside(folder, file.name) for file in folder.glob("*.safetensors") if file.stem.isdecimal()
            ]
            self._rounds = {int(file.stem): open_mapped(file) for file in files}

    def begin(self, round_number: int, counted: int | None) -> None:
        """Drop what rounds have left that did not count; may be called again while the round lasts.

        Parameters
        ----------
        round_number
            The round that is open.
        counted
            One more than the last round that counted for this site, 0 if none did; None if nobody knows, and all did.
        """
        if counted is not None:
            self._drop(number for number in self._rounds if number >= counted and number != round_number)

    def before(self, round_number: int) -> Tensors | None:
        """Return what the last round before this one has left; None if there was none."""
        earlier = [number for number in self._rounds if number < round_number]
        return self._rounds[max(earlier)] if earlier else None

    def keep(self, round_number: int, tensors: Tensors) -> None:
        """Keep what a round has left; it is on disk when this returns."""
        if self._folder is not None:
            self._write(self._path(round_number), tensors)
        self._rounds[round_number] = tensors
        # A later one is of an experiment that once had this name.
        later = [number for number in self._rounds if number > round_number]
        self._drop([*sorted(self._rounds.keys() - later)[:-KEPT], *later])

    def _write(self, path: Path, tensors: Tensors) -> None:
        unfinished = path.with_suffix(".partial")
        try:
            with unfinished.open("wb") as file:
                file.writelines(chunks(tensors))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            self._settle()
        except OSError:
            # A full disk gets back what it has taken.
            unfinished.unlink(missing_ok=True)
            raise

    def _drop(self, numbers: Iterable[int]) -> None:
        dropped = list(numbers)
        for number in dropped:
            del self._rounds[number]
            if self._folder is not None:
                remove(self._folder, self._path(number).name, missing_ok=True)
        if dropped:
            self._settle()

    def _settle(self) -> None:
        """See to it that no failing machine undoes what has changed in the folder."""
        if self._folder is not None:
            settle(self._folder)

    def _path(self, round_number: int) -> Path:
        assert self._folder is not None
        return inside(self._folder, f"{round_number}.safetensors")
