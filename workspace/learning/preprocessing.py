"""How a checkpoint's files want its input prepared: read, and held against what is done here, before anything is trained.

What a recipe cannot do as the files say is refused by the name of their key; so the exported folder says what was trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from federation.document import shown
from federation.errors import InputError
from workspace.learning.checkpoint_files import read_config

OWN, WITHIN = "preprocessor_config.json", "processor_config.json"


@dataclass(frozen=True)
class Preprocessing:
    """What a checkpoint says.

    Parameters
    ----------
    file : pathlib.Path or None
        Where it says so; None where it says nothing.
    said : dict
        By its keys, without those that are null.
    """

    file: Path | None = None
    said: dict[str, Any] = field(default_factory=dict)

    def refused(self, key: str, hint: str) -> InputError:
        """Return the error for a key that cannot be followed: the hint says what can."""
        return InputError(f"{self.file}: {key} is {shown(self.said.get(key))}; {hint}")

    def switch(self, key: str, default: bool) -> bool:
        """Return what stands under a key that is on or off.

        Raises
        ------
        InputError
            If it is neither.
        """
        value = self.said.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, "it must be true or false")
        return value


def read_preprocessing(folder: Path | None, part: str) -> Preprocessing:
    """Read how a checkpoint wants its input, from the file that transformers would read.

    Parameters
    ----------
    folder
        The checkpoint's; None where there is none.
    part
        The key of ``processor_config.json`` under which newer checkpoints say it: ``feature_extractor``, ``image_processor``.

    Raises
    ------
    InputError
        If a file is no JSON mapping.
    """
    for name in (WITHIN, OWN) if folder else ():
        file = Path(folder or "") / name
        if file.is_file():
            said: Any = read_config(file)
            said = said.get(part) if name == WITHIN else said
            if said is not None and not isinstance(said, dict):
                raise InputError(f"{file}: {part} is {shown(said)}; it must be a mapping")
            if said is not None:
                return Preprocessing(file, {key: value for key, value in said.items() if value is not None})
    return Preprocessing()
