"""What a workspace signs: its submissions, and the changes of experiments that were signed.

Sites believe no director; what is signed they can check. Without a certificate, and at a director of an earlier version,
nothing is signed, and only sites whose policy says so take it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from federation.errors import InputError
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.signing import sign, text_of_amendment, text_of_submission
from workspace.infos import Event

logger = logging.getLogger("workspace.client")


def sign_submission(submission: pb.Submission, credentials: Credentials | None, director: str) -> None:
    """Sign a submission to a director, whose name is empty if it is of an earlier version."""
    if credentials is None:
        return
    if not director:
        logger.warning(
            "the director is of an earlier version, so the submission is not signed: only sites whose policy says "
            "`unsigned: true` take it"
        )
        return
    submission.director = director
    submission.signature.CopyFrom(sign(credentials, text_of_submission(submission)))


def signed_amendment(
    events: Iterable[Event], settings: Mapping[str, str], credentials: Credentials | None, director: str
) -> pb.Amendment | None:
    """Sign the next change of an experiment, whose events say what was signed of it before; None if it is not signed.

    Raises
    ------
    InputError
        If it must be signed, and cannot be from here.
    """
    bodies: list[Mapping[str, Any]] = [event.body for event in events]
    submission = next((str(body["submission"]) for body in bodies if body.get("submission")), "")
    if not submission:
        return None
    if credentials is None:
        raise InputError("the experiment was signed, so its changes must be: leave --insecure out")
    number = 1 + max((int(body.get("amendment", 0)) for body in bodies), default=0)
    text = text_of_amendment(director, submission, number, settings)
    return pb.Amendment(settings=settings, number=number, signature=sign(credentials, text))
