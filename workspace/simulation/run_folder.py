"""The folder of a run: what it is a run of, how far it is, and what of it a new one may replace.

``run.json`` says both from the first moment on: a run that was killed is marked as running, and holds no lock. What says how a
run ended is written when it has ended, and renamed in.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from federation.errors import InputError
from federation.files import read_regular, write_whole
from federation.paths import remove
from workspace.model_folder import model_files, remove_model

State = Literal["running", "interrupted", "failed", "finished"]

RUN, SUMMARY, METRICS, MODEL = "run.json", "summary.json", "metrics.jsonl", "model"
BEST, LAST = "exchanged_best.safetensors", "exchanged_last.safetensors"
FROZEN = "frozen.safetensors"
UNFINISHED = "unfinished"
"""What `fed simulate --resume` goes on from; removed when a run has ended."""
COMMANDS = ("simulate", "central", "local")
MOST_BYTES = 64 << 20
_ENDED = {
    "running": "was killed",
    "interrupted": "was interrupted",
    "failed": "has failed",
    "finished": "has finished",
}


class RunFolder:
    """A folder that one run at a time has, while `held` is entered.

    Parameters
    ----------
    path
        Made if it is not there.
    files, folders
        What a run writes beside ``run.json`` and ``model/``. Such a folder is replaced only where a run has made it.
    commands
        Those whose runs write so.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[str] = (SUMMARY, METRICS, BEST, LAST, FROZEN),
        folders: Sequence[str] = (UNFINISHED,),
        commands: Sequence[str] = COMMANDS,
    ) -> None:
        self.path = path
        self._files, self._folders, self._commands = files, folders, commands
        self.told = self._read()

    @contextmanager
    def held(self) -> Iterator[RunFolder]:
        """Keep other runs out.

        Raises
        ------
        InputError
            If one is in.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{self.path}: is a file; name a folder to write to") from None
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(descriptor, self.path)
            self.told = self._read()
            yield self
        finally:
            os.close(descriptor)

    @property
    def state(self) -> State | None:
        """How far the run is that the folder holds; None if it holds none."""
        return self.told.get("state") if self._is_ours() else None

    def require_free(self, force: bool = False) -> None:
        """Refuse a folder that holds something that a run would replace.

        Raises
        ------
        InputError
            If it does, and it is not to be replaced, or no run has made it.
        """
        foreign = [name for name in self._folders if (self.path / name).exists()]
        if foreign and not self._is_ours():
            raise InputError(
                f"{self.path}: holds {foreign[0]}/, which is not of a run that is known; name another folder, or remove it"
            )
        there = self._there()
        if not there or force:
            return
        if self.state is None:
            raise InputError(
                f"{self.path}: holds {there[0]}, which would be replaced; name another folder, or --force to replace it"
            )
        go_on = "--resume to go on with it" if self._can_go_on() else ""
        ways = ", ".join(filter(None, ("name another folder", go_on)))
        raise InputError(
            f"{self.path}: holds a run ({self.told.get('command')} of {self.told.get('plan')}) that {_ENDED[self.state]}; "
            f"{ways}, or --force to replace it"
        )

    def begin(self, told: Mapping[str, Any]) -> None:
        """Mark the folder as that of a run which begins, and remove what an earlier one has left."""
        # What an earlier run could be gone on from would not be this one's.
        if self._is_ours():
            self._remove_folders()
        self._remove_partial()
        self._mark({**told, "state": "running"})
        for name in self._files:
            remove(self.path, name, missing_ok=True)
        remove_model(self.path / MODEL)

    def go_on(self) -> None:
        """Mark the run as running again, and remove what it has left of how it ended."""
        self._remove_partial()
        self._mark({**self.told, "state": "running"})
        for name in self._files:
            if name != METRICS:
                remove(self.path, name, missing_ok=True)
        remove_model(self.path / MODEL)

    def end(self, state: State) -> None:
        """Say how the run has ended; one that has finished needs nothing more to go on from."""
        self._mark({**self.told, "state": state})
        if state == "finished":
            self.tidy()

    def tidy(self) -> None:
        """Remove what nothing is gone on from any more."""
        if UNFINISHED in self._folders:
            remove(self.path, UNFINISHED, missing_ok=True)

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Mark the run as interrupted or failed where it does not come to its end."""
        try:
            yield
        except KeyboardInterrupt:
            self.end("interrupted")
            raise
        except Exception:
            # A full disk must not hide what went wrong.
            with suppress(OSError):
                self.end("failed")
            raise

    def _there(self) -> list[str]:
        found = [name for name in (RUN, *self._files) if (self.path / name).exists()]
        return found + [f"{MODEL}/{name}" for name in model_files(self.path / MODEL)[:1]]

    def _can_go_on(self) -> bool:
        return self.told.get("command") == "simulate" and self.state != "finished"

    def _is_ours(self) -> bool:
        return self.told.get("command") in self._commands and self.told.get("state") in _ENDED

    def _remove_folders(self) -> None:
        for name in self._folders:
            remove(self.path, name, missing_ok=True)

    def _remove_partial(self) -> None:
        """Remove what whoever was killed was about to rename."""
        partial = [f".{name}.*" for name in (RUN, *self._files, MODEL)]
        for path in [*self.path.iterdir()]:
            if any(fnmatch(path.name, pattern) for pattern in partial):
                remove(self.path, path.name)

    def _mark(self, told: Mapping[str, Any]) -> None:
        self.told = dict(told)
        write_json(self.path / RUN, self.told)

    def _read(self) -> dict[str, Any]:
        try:
            told = json.loads(read_regular(self.path / RUN, MOST_BYTES))
        except (OSError, ValueError, InputError):
            return {}
        return told if isinstance(told, dict) else {}


def write_json(file: Path, content: Any) -> None:
    """Write a file of JSON, whole or not at all."""
    write_whole(file, (json.dumps(content, indent=2) + "\n").encode())


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{path}: another run is writing there now; wait for it, or name another folder"
        ) from None
    except OSError:
        # A file system that knows no locks of folders: whoever runs two into one is not told.
        return
