"""The names that members and experiments may bear: they become tensor tags, file names and log lines."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from federation.errors import InputError

_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_EXPERIMENT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# OpenFL marks tensors with these words and with the collaborator's name alike.
_TAGS = {"model", "delta", "trained", "metric", "validate_agg", "validate_local"}
_TAGS |= {"aggregated", "compressed", "lossy_compressed"}


def check_name(name: str) -> str:
    """Return the name if a member of the federation may bear it.

    Raises
    ------
    InputError
        If it may not; the message says what a name must be.
    """
    shown = repr(name[:70])
    if not _PATTERN.fullmatch(name):
        rule = "begin with a small letter and go on with up to 62 of a-z, 0-9, _ and -"
        raise InputError(f"the name {shown} must {rule}")
    if name in _TAGS or "aggregator" in name:
        raise InputError(f"the name {shown} has a meaning of its own in OpenFL; choose another")
    return name


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except InputError as error:
        raise ValueError(str(error)) from None


MemberName = Annotated[str, AfterValidator(_checked)]
"""For the fields of checked dataclasses."""


def is_experiment_name(name: str) -> bool:
    """Say whether an experiment may bear a name, which leads out of no folder."""
    return _EXPERIMENT.fullmatch(name) is not None


def is_sha256(name: str) -> bool:
    """Say whether a text is a SHA-256 in hexadecimal, as blobs are named."""
    return _SHA256.fullmatch(name) is not None
