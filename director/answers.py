"""What the director says of experiments to whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509

from director.rows import ExperimentRow, MemberRow
from federation.protocol import federation_pb2 as pb

MAX_TEXT = 64 << 10
MAX_LISTED = 4_000


def listing(rows: Iterable[ExperimentRow], paused: str = "") -> pb.Experiments:
    """Say how experiments stand, and why nothing is taken in for now."""
    return pb.Experiments(experiments=[described(row) for row in rows], paused=paused)


def described(row: ExperimentRow, plan: str = "", members: Sequence[MemberRow] = ()) -> pb.Experiment:
    """Say how an experiment stands; a listing leaves the plans out, which no workspace reads there."""
    return pb.Experiment(
        name=row.name,
        state=row.state,
        reason=row.reason[: MAX_TEXT if plan else MAX_LISTED],
        round=row.round,
        rounds=row.rounds,
        created=row.created,
        ended=row.ended,
        cohort=row.cohort,
        submitted_by=row.submitted_by,
        plan=plan,
        best_round=row.best_round,
        best_score=row.best_score,
        exchanged_sha256=row.model,
        plan_name=row.plan_name or row.experiment,
        best_metric=row.best_metric,
        members=[
            pb.Member(name=m.name, standing=m.standing, reason=m.reason[:MAX_TEXT], counted=m.counted)
            for m in members
        ],
    )


def end_of(certificate: x509.Certificate | None) -> float:
    """Say when a certificate ends, as Unix time; 0 if there is none."""
    return 0.0 if certificate is None else certificate.not_valid_after_utc.timestamp()
