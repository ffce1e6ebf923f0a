"""Who may do what to whose experiment. The owner of one is the name in the certificate that submitted it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from director.calls import Caller
from director.journal import Journal
from director.rows import ExperimentRow
from federation.certificates import OPERATOR
from federation.errors import Refused


@dataclass(frozen=True)
class Rights:
    """The rule: an experiment is its owner's and the operators'; others may read it where the director's config says so.

    An experiment that is not there is nobody's: whoever answers the call says so.

    Parameters
    ----------
    journal
        The director's.
    reading
        What its config says: ``all`` or ``own``.
    """

    journal: Journal
    reading: Literal["all", "own"] = "all"

    def require_owner(self, caller: Caller) -> None:
        """Raise a `Refused` that names the owner, unless the caller may change the experiment that it calls about."""
        row = self.journal.experiment(caller.experiment)
        if row is not None and not _owns(caller, row):
            raise Refused(
                f"experiment {row.name} is {row.submitted_by}'s: ask its owner, or an operator of the federation"
            )

    def require_reading(self, caller: Caller) -> None:
        """Raise a `Refused` that names the owner, unless the caller may see the experiment that it calls about."""
        row = self.journal.experiment(caller.experiment)
        if row is not None and not self.may_read(caller, row):
            raise Refused(
                f"experiment {row.name} is {row.submitted_by}'s, and this director shows an experiment to its owner only "
                "(`reading: own`): ask the owner, or an operator of the federation"
            )

    def may_read(self, caller: Caller, row: ExperimentRow) -> bool:
        """Say whether the caller may see an experiment."""
        return self.reading == "all" or _owns(caller, row)

    def readable(self, caller: Caller, names: Iterable[str]) -> list[str]:
        """Return those of some experiments that the caller may see."""
        if self.reading == "all":
            return list(names)
        rows = (self.journal.experiment(name) for name in names)
        return [row.name for row in rows if row is not None and _owns(caller, row)]


def _owns(caller: Caller, row: ExperimentRow) -> bool:
    return caller.role == OPERATOR or caller.name == row.submitted_by
