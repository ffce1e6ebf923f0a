"""What the director's calls are answered with: its parts, and what is open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from director.audit import AuditLog
from director.blobs import BlobStore
from director.disk import Disk
from director.experiments import Experiments
from director.holdings import Holdings
from director.open_calls import OpenCalls
from director.quotas import Quotas
from director.rights import Rights
from director.uploads import Uploads
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import GoingDown


class Desk(rpc.DirectorServicer):  # type: ignore[misc]
    """The parts by which calls are answered; all state is in `Experiments`.

    Parameters
    ----------
    experiments, blobs, uploads, disk
        The director's.
    pool
        For what may block for a moment.
    transfers
        For uploads and downloads.
    rights
        Who may do what to whose experiment.
    quotas, holdings, audit
        What one member may use, what it holds, and what is written down of what it does.
    """

    def __init__(
        self,
        experiments: Experiments,
        blobs: BlobStore,
        uploads: Uploads,
        disk: Disk,
        pool: ThreadPoolExecutor,
        transfers: ThreadPoolExecutor,
        rights: Rights,
        quotas: Quotas,
        holdings: Holdings,
        audit: AuditLog,
    ) -> None:
        self._experiments = experiments
        self._blobs = blobs
        self._uploads = uploads
        self.disk = disk
        self.pool = pool
        self.transfers = transfers
        self._rights = rights
        self.quotas = quotas
        self._holdings = holdings
        self.audit = audit
        self.revocations = experiments.revocations
        self.open_calls = OpenCalls()
        self._closing = False

    def close(self) -> None:
        """End every call that waits as one that cannot be answered now: whoever made it tries again."""
        self._closing = True
        self._experiments.close()

    def _refuse_while_closing(self) -> None:
        if self._closing:
            raise GoingDown("the director is going down; try again when it is back")
