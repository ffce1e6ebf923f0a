"""How far a simulation is, on disk from the beginning of each round on: what `fed simulate --resume` goes on from.

A snapshot is ``state.json``, and the models that it names. It is renamed in when its models are there, before a task of its
round is given out; so whatever moment a process is killed at, one whole snapshot is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from federation.engine.members import Member
from federation.engine.results import BestModel, OpenedRound, Progress
from federation.errors import InputError
from federation.files import read_regular, write_whole
from federation.paths import inside, remove
from federation.tensors import Tensors, chunks, open_mapped

STATE, ENVOYS = "state.json", "envoys"
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Snapshot:
    """A simulation between two rounds.

    Parameters
    ----------
    round_number
        How many rounds the last model has been trained for.
    best
        The best model so far, by the round that began with it.
    opened
        The round that begins; None after the last one.
    members
        The envoys that have counted, failed or been excluded; of all others there is nothing to say.
    metrics_bytes
        How long ``metrics.jsonl`` is.
    seconds
        Spent so far.
    ended
        Whether all rounds are done.
    """

    round_number: int = 0
    best: BestModel | None = None
    opened: OpenedRound | None = None
    members: tuple[Member, ...] = ()
    metrics_bytes: int = 0
    seconds: float = 0.0
    ended: bool = False

    def progress(self, names: list[str], samples: Mapping[str, Mapping[str, int]]) -> Progress:
        """Return where an aggregator of these envoys goes on."""
        known = {member.name: member for member in self.members}
        members = (replace(known.get(name, Member(name)), samples=samples.get(name)) for name in names)
        return Progress(self.round_number, self.best, tuple(members), self.opened)


class Snapshots:
    """The folder that holds the last snapshot of a simulation.

    Parameters
    ----------
    folder
        Made when the first one is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, snapshot: Snapshot, model: Tensors | None) -> None:
        """Write a snapshot, with the model that its round begins with if that is new, and remove what is named no more."""
        self.folder.mkdir(exist_ok=True)
        if model is not None:
            write_whole(self._model(snapshot.round_number), chunks(model))
        told = asdict(snapshot)
        if snapshot.opened is not None:
            told["opened"]["out"] = sorted(snapshot.opened.out)
        for member in told["members"]:
            del member["samples"]
        write_whole(self.folder / STATE, json.dumps(told).encode())
        self._tidy(snapshot)

    def load(self) -> Snapshot | None:
        """Return the last snapshot; None if there is none.

        Raises
        ------
        InputError
            If it is damaged.
        """
        file = self.folder / STATE
        try:
            told: dict[str, Any] = json.loads(read_regular(file, MOST_BYTES))
            best, opened = told.pop("best"), told.pop("opened")
            members = tuple(Member(**member) for member in told.pop("members"))
            if opened is not None:
                opened = OpenedRound(
                    **{
                        **opened,
                        "cohort": tuple(opened["cohort"]),
                        "late": tuple(opened["late"]),
                        "out": frozenset(opened["out"]),
                    }
                )
            snapshot = Snapshot(
                best=BestModel(**best) if best else None, opened=opened, members=members, **told
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file}: is damaged ({error}); begin anew with --force") from error
        self._tidy(snapshot)
        return snapshot

    def models(self, snapshot: Snapshot) -> tuple[Tensors, Tensors, int]:
        """Return the last model, the best one, and the round that began with it: -1, and the last one, if none was measured.

        Raises
        ------
        InputError
            If one is not there or damaged.
        """
        last = self._opened(snapshot.round_number)
        if snapshot.best is None:
            return last, last, -1
        number = snapshot.best.round_number
        return last, last if number == snapshot.round_number else self._opened(number), number

    def state_of(self, envoy: str) -> Path:
        """Return the folder of what an envoy must have from round to round."""
        return inside(self.folder, ENVOYS, envoy)

    def _opened(self, round_number: int) -> Tensors:
        file = self._model(round_number)
        try:
            return open_mapped(file)
        except (OSError, InputError) as error:
            raise InputError(f"{file}: cannot be gone on from ({error}); begin anew with --force") from error

    def _tidy(self, snapshot: Snapshot) -> None:
        best = snapshot.best.round_number if snapshot.best else snapshot.round_number
        named = {STATE, ENVOYS, *(self._model(number).name for number in (snapshot.round_number, best))}
        for path in self.folder.iterdir():
            if path.name not in named:
                remove(self.folder, path.name)

    def _model(self, round_number: int) -> Path:
        return self.folder / f"model_{round_number}.safetensors"
