"""What can go wrong, as a person meets it: one line to act on and a fixed exit code.

Exit codes (``docs/exit_codes.md``): 0 done, 1 an error in this program, 2 wrong usage of a command, 3 bad input,
4 the director cannot be reached, 5 refused, 6 the experiment failed or was stopped, 7 this machine has no more of something,
130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations


class FederationError(Exception):
    """An error whose message is one actionable line: what, where, what to do."""

    exit_code = 1


class InputError(FederationError):
    """A plan, a config, a federation file, a setting or data is not what it must be."""

    exit_code = 3


class Unreachable(FederationError):  # noqa: N818
    """The other side does not answer; trying again later may help."""

    exit_code = 4


class Refused(FederationError):  # noqa: N818
    """The other side answered and said no: identity, role, site policy, or an update that was checked and not taken."""

    exit_code = 5


class ExperimentFailed(FederationError):  # noqa: N818
    """The experiment ended without a result: it failed or was stopped."""

    exit_code = 6


class Diverged(ExperimentFailed):
    """The loss, or what was trained, is not finite: whether that is the site's fault or the model's, the others show."""


class MachineFault(FederationError):  # noqa: N818
    """The machine has no more of something: room on a disk, memory, open files, a GPU that works."""

    exit_code = 7


DIVERGED = "diverged"
"""The kind of failure that `Diverged` is, as it is told to others."""


def kind_of(error: Exception) -> str:
    """Return the kind of failure that an error is; empty for one that has no name."""
    return DIVERGED if isinstance(error, Diverged) else ""
