"""What workspaces and operators call: they submit, watch and change experiments; operators revoke, and read who did what."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from functools import partial

from director.answers import described, end_of, listing
from director.calls import Caller, brief, in_pool, receiving, sending, waiting_stream
from director.desk import Desk
from director.rows import ExperimentRow
from federation.certificates import OPERATOR, USERS
from federation.errors import Unreachable
from federation.protocol import federation_pb2 as pb
from federation.protocol.limits import LARGEST_ANSWER

logger = logging.getLogger(__name__)


class UserCalls(Desk):
    """Answers workspaces and operators."""

    @brief(*USERS)
    def ListEnvoys(self, request: pb.Empty, caller: Caller) -> pb.Envoys:  # noqa: N802
        """List the envoys that are online."""
        online = self._experiments.online()
        # Together they fit into an answer, whatever some of them have announced.
        most = LARGEST_ANSWER // 2 // max(1, len(online))
        return pb.Envoys(
            envoys=[
                pb.Envoy(
                    name=e.name,
                    announcement=e.listed(most),
                    since=e.since,
                    certificate_ends=end_of(e.certificate),
                    experiments=self._rights.readable(caller, work),
                )
                for e, work in online
            ]
        )

    @brief(*USERS)
    def ListExperiments(self, request: pb.Empty, caller: Caller) -> pb.Experiments:  # noqa: N802
        """List the experiments that the caller may read."""
        rows = [row for row in self._experiments.experiments() if self._rights.may_read(caller, row)]
        return listing(rows, self.disk.paused)

    @receiving(*USERS, does="submit")
    def Submit(self, requests: Iterator[pb.SubmitChunk], caller: Caller) -> pb.Experiment:  # noqa: N802
        """Take in a plan and its initial model."""
        if (first := next(requests, None)) is None:
            raise Unreachable("the stream ended before it began")
        pieces = (chunk.data for chunk in requests)
        with self._holdings.submission(caller.name, first.submission):
            row = self._experiments.submit(first.submission, pieces, caller.name)
        self._rights.require_reading(replace(caller, experiment=row.name))
        return self._answer(row)

    @waiting_stream(*USERS)
    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncIterator[pb.Event]:  # noqa: N802
        """Stream an experiment's events, from the first if asked, until it has ended."""
        after = request.after
        await in_pool(self.pool, self._rights.require_reading, caller)
        with self._experiments.news.listening() as news:
            while True:
                news.clear()
                self._refuse_while_closing()
                found = await in_pool(self.pool, self._experiments.events_after, caller.experiment, after)
                for event in found.events:
                    after = event.id
                    yield pb.Event(id=event.id, time=event.time, kind=event.kind, body=json.dumps(event.body))
                if not found.events and (found.ended or not request.follow):
                    return
                if not found.events:
                    await news.wait()

    @brief(*USERS, writes=True, does="stop")
    def Stop(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Stop an experiment."""
        self._rights.require_owner(caller)
        logger.info("experiment %s: %s asks to stop it", caller.experiment, caller.name)
        return self._answer(self._experiments.stop(caller.experiment))

    @brief(*USERS, writes=True, does="resume")
    def Resume(self, request: pb.ResumeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Queue an experiment that failed or was stopped again, or take back the envoys of one that runs."""
        self._rights.require_owner(caller)
        amendment = request.amendment if request.HasField("amendment") else None
        row = self._experiments.resume(
            caller.experiment, dict(request.settings), request.accept_code, caller.name, amendment
        )
        return self._answer(row)

    @brief(*USERS, writes=True, does="exclude", whom=lambda request: request.envoy)
    def Exclude(self, request: pb.ExcludeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Let an experiment go on without an envoy."""
        self._rights.require_owner(caller)
        logger.info("experiment %s: %s excludes %s", caller.experiment, caller.name, request.envoy)
        return self._answer(self._experiments.exclude(caller.experiment, request.envoy, caller.name))

    @brief(*USERS, does="remove")
    def Remove(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Remove an experiment that has ended."""
        self._rights.require_owner(caller)
        return self._answer(self._experiments.remove(caller.experiment, caller.name))

    # Operators.

    @sending(OPERATOR)
    def Audit(self, request: pb.AuditRequest, caller: Caller) -> Iterator[pb.AuditEntry]:  # noqa: N802
        """Stream the audit log."""
        for entry in self.audit.read(request.since, request.member, request.what, request.last):
            yield pb.AuditEntry(**asdict(entry))

    @brief(OPERATOR, writes=True, does="revoke", whom=lambda request: request.serial or request.name)
    def Revoke(self, request: pb.Revocation, caller: Caller) -> pb.Revocations:  # noqa: N802
        """Make certificates worth nothing, and whoever has them gone."""
        end_calls = partial(self.open_calls.end, self.revocations.reason)
        self._experiments.revoke(request, caller.name, end_calls)
        return pb.Revocations(revocations=self.revocations)

    @brief(*USERS)
    def ListRevocations(self, request: pb.Empty, caller: Caller) -> pb.Revocations:  # noqa: N802
        """List what is revoked, oldest first."""
        return pb.Revocations(revocations=self.revocations)

    def _answer(self, row: ExperimentRow) -> pb.Experiment:
        return described(row, self._experiments.plan(row.name), self._experiments.members(row.name))
