"""A director's service over parts that a test has made, with the limits of the field."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from director.audit import AuditLog
from director.blobs import BlobStore
from director.disk import Disk
from director.experiments import Experiments
from director.holdings import Holdings
from director.journal import Journal
from director.limits import Limits
from director.quotas import Quotas
from director.rights import Rights
from director.service import DirectorService
from director.uploads import Uploads

THREADS = 8


def service_of(
    folder: Path,
    experiments: Experiments,
    journal: Journal,
    blobs: BlobStore,
    uploads: Uploads,
    disk: Disk,
) -> DirectorService:
    """Make the service; its pools and its audit log, which lies in the folder, are ended with it by `end`."""
    limits = Limits()
    return DirectorService(
        experiments,
        blobs,
        uploads,
        disk,
        ThreadPoolExecutor(THREADS),
        ThreadPoolExecutor(THREADS),
        Rights(journal),
        Quotas(limits, THREADS),
        Holdings(journal, blobs, uploads, limits),
        AuditLog(folder, on_fault=disk.note),
    )


def end(service: DirectorService) -> None:
    """End what `service_of` has begun."""
    service.pool.shutdown()
    service.transfers.shutdown()
    service.audit.close()
