"""The director's gRPC face: who may call what, and how answers are made.

One port serves envoys and workspaces. A caller's name and role are those of its certificate; both are checked before the
first byte of a payload is read. Calls that wait are coroutines; all others are plain functions (`director.calls`).
"""

from __future__ import annotations

from collections.abc import Iterator

from director.calls import Caller, brief, sending
from director.envoy_calls import EnvoyCalls
from director.user_calls import UserCalls
from federation.certificates import USERS
from federation.engine.client import StaleRound
from federation.errors import InputError
from federation.protocol import federation_pb2 as pb

FROZEN = "frozen"


class DirectorService(EnvoyCalls, UserCalls):
    """Answers envoys, workspaces and operators; here is what more than one may ask. Its parameters are those of `Desk`."""

    @brief("envoy", *USERS)
    def Introduce(self, request: pb.Challenge, caller: Caller) -> pb.Introduction:  # noqa: N802
        """Show who we are."""
        return self._experiments.signatures.introduce(request)

    @sending("envoy", *USERS)
    def GetModel(self, request: pb.ModelRequest, caller: Caller) -> Iterator[pb.ModelChunk]:  # noqa: N802
        """Stream the open round's model to an envoy, the best or last model to a workspace, what is frozen to both."""
        if caller.role == "envoy":
            self._member_of(caller)
            kept = FROZEN if request.kept == FROZEN else "last"
            info, pieces = self._opened(
                caller.experiment, kept, round_number=None if kept == FROZEN else request.round
            )
        elif request.kept in ("best", "last", FROZEN):
            self._rights.require_reading(caller)
            info, pieces = self._opened(caller.experiment, request.kept)
            self.audit.noted(caller.entry("model"))
        else:
            raise InputError("ask for the best or the last model, or what is frozen")
        yield pb.ModelChunk(info=info)
        for piece in pieces:
            yield pb.ModelChunk(data=piece)

    def _opened(
        self, experiment: str, kept: str, round_number: int | None = None
    ) -> tuple[pb.ModelInfo, Iterator[bytes]]:
        """Open a model of an experiment (of the round that must be open), which may be removed while it is sent."""
        with self._experiments.unchanged():
            row = self._experiments.with_models(experiment)
            if round_number not in (None, row.round):
                raise StaleRound(f"round {round_number} is not open; round {row.round} is")
            best = kept == "best" and bool(row.best_model)
            sha256 = row.frozen_model if kept == FROZEN else row.best_model if best else row.model
            if not sha256:
                raise InputError(f"nothing of experiment {experiment} is frozen by value")
            info = pb.ModelInfo(
                blob=pb.Blob(sha256=sha256, size=self._blobs.size(sha256)),
                round=row.best_round if best else row.round,
                # A site has it from its order.
                plan=self._experiments.plan(row.name) if round_number is None else "",
                frozen_fingerprint=row.frozen_fingerprint,
                frozen=row.frozen,
            )
            return info, self._blobs.stream(sha256)
