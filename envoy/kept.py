"""What a site keeps of experiments, such as personal layers: a folder for each; and what they have frozen by value.

It outlives stops and failures, after which an experiment may be gone on with, and goes when the director says that nobody needs
it any more. The director is not believed: a name that it says leads nowhere but to a folder of ours.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from envoy.frozen import drop_all_but, path_of
from federation.errors import Refused
from federation.files import write_whole
from federation.names import is_experiment_name
from federation.paths import inside, remove

logger = logging.getLogger(__name__)

# What has no place in one announcement has its turn when some of it is forgotten.
MOST_ANNOUNCED = 1000
NOTE = "frozen"


class Kept:
    """The folders of an envoy's experiments.

    Parameters
    ----------
    folder
        They lie in it; made when there is something to keep.
    frozen
        The folder of what is frozen by value, which experiments share.
    """

    def __init__(self, folder: Path, frozen: Path | None = None) -> None:
        self._folder = folder
        self.frozen = frozen or folder.with_name("frozen")
        self._lock = threading.Lock()

    def folder_of(self, experiment: str) -> Path:
        """Return the folder of an experiment, which need not be there.

        Raises
        ------
        Refused
            If no experiment can have this name, or a link stands in the folder's place.
        """
        if not is_experiment_name(experiment):
            raise Refused(f"no experiment can be called {experiment[:80]!r}")
        return inside(self._folder, experiment)

    def names(self) -> list[str]:
        """Return the experiments of which something is kept, sorted; as many as an announcement may hold."""
        try:
            folders = [entry for entry in self._folder.iterdir() if entry.is_dir() and not entry.is_symlink()]
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.warning("what is kept here cannot be listed: %s", error)
            return []
        return sorted(folder.name for folder in folders if is_experiment_name(folder.name))[:MOST_ANNOUNCED]

    def name_frozen(self, experiment: str, sha256: str) -> None:
        """Note that an experiment needs a frozen part, which stays as long as the experiment's folder does.

        Raises
        ------
        Refused
            As `folder_of` does, or if that is no SHA-256.
        OSError
            If it cannot be noted.
        """
        path_of(self.frozen, sha256)
        with self._lock:
            folder = self.folder_of(experiment)
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(inside(folder, NOTE), sha256.encode())

    def drop_unnamed(self) -> None:
        """Remove the frozen parts that no experiment needs any more."""
        with self._lock:
            try:
                notes = [file.read_text() for file in self._folder.glob(f"*/{NOTE}") if not file.is_symlink()]
            except (OSError, ValueError) as error:
                logger.warning("what experiments have frozen cannot be read, and stays: %s", error)
                return
            drop_all_but(self.frozen, {note.strip() for note in notes})

    def forget(self, experiment: str) -> None:
        """Remove what is kept of an experiment; what cannot be removed now is announced again, and removed later."""
        try:
            self.clear(experiment)
        except (OSError, Refused) as error:
            logger.warning("what is kept of the experiment %s cannot be removed: %s", experiment, error)

    def clear(self, experiment: str) -> None:
        """Remove what is kept of an experiment, if there is anything.

        Raises
        ------
        Refused
            As `folder_of` does.
        OSError
            If something cannot be removed.
        """
        self.folder_of(experiment)
        try:
            remove(self._folder, experiment)
        except FileNotFoundError:
            return
        self.drop_unnamed()
        logger.info("experiment %s: nothing of it is kept here any more", experiment)
