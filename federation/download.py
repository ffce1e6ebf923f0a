"""Taking a model from the director: to a file, no larger than it may be, and with the SHA-256 that was announced.

Nobody believes the director: what it announces is compared with what the plan's model takes and with the room on the disk
before a byte is written, and nothing is read beyond it. The file has no name, so that it is gone with the process that reads
it, however that ends; its tensors are mapped into memory.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from federation.errors import Refused, Unreachable
from federation.files import write_whole
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.tensors import Tensors, open_mapped, unpack

TRANSFER_SECONDS = 3600.0
MOST_BYTES = 8 << 30
"""Where nobody knows better: what a director takes by default."""
RESERVE_BYTES = 64 << 20
RESERVE_SHARE = 20
"""A disk is never filled: so much of it is left, or a twentieth part of a small one."""


class OtherBytes(Unreachable):
    """What arrived is not what was announced, though whole: it may come otherwise when it comes again."""


def download(
    stub: rpc.DirectorStub,
    request: pb.ModelRequest,
    metadata: Sequence[tuple[str, str]],
    folder: Path,
    most: Callable[[pb.ModelInfo], int] = lambda _: MOST_BYTES,
    keep: Path | None = None,
) -> tuple[pb.ModelInfo, Tensors]:
    """Download a model.

    Parameters
    ----------
    stub, request, metadata
        Of the call.
    folder
        On the disk that takes it; made if it is not there.
    most
        Returns how many bytes the model may have, given what is announced of it; called before any of them arrives.
    keep
        The file that it becomes when all of it is there, in the place of one without a name.

    Raises
    ------
    grpc.RpcError
        As the call does.
    Unreachable
        If the stream breaks off; as `OtherBytes` if other bytes arrive than were announced.
    Refused
        If more are announced than may be or arrive than were announced.
    InputError
        If they are no tensors.
    OSError
        If the disk has no room for them.
    """
    stream = stub.GetModel(request, metadata=metadata, timeout=TRANSFER_SECONDS)
    try:
        first = next(iter(stream), None)
        if first is None:
            raise OtherBytes("the director has sent nothing in the place of a model")
        info, size = first.info, first.info.blob.size
        if size > (limit := most(info)):
            raise Refused(f"the director announces a model of {size:,} bytes; it can have {limit:,} at most")
        target = folder if keep is None else keep.parent
        target.mkdir(parents=True, exist_ok=True)
        require_room(target, size)
        pieces = _checked((chunk.data for chunk in stream), info.blob)
        if keep is not None:
            write_whole(keep, pieces)
            return info, open_mapped(keep)
        with TemporaryFile(dir=target) as file:
            file.writelines(pieces)
            file.flush()
            return info, unpack(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")
    finally:
        stream.cancel()


def require_room(folder: Path, size: int) -> None:
    """Look whether a disk takes so many bytes and still has some left.

    Raises
    ------
    OSError
        If it does not, with the error number of a full disk.
    """
    disk = os.statvfs(folder)
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // RESERVE_SHARE)
    if size + reserve > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, f"No space left on device for {size:,} bytes", str(folder))


def _checked(pieces: Iterator[bytes], announced: pb.Blob) -> Iterator[bytes]:
    """Pass on what arrives, as long as it can be what was announced; at its end, it is."""
    sha, length = hashlib.sha256(), 0
    for piece in pieces:
        length += len(piece)
        if length > announced.size or not piece:
            raise Refused(
                f"more than the {announced.size:,} bytes that were announced arrive, or pieces without any"
            )
        sha.update(piece)
        yield piece
    if length < announced.size:
        raise Unreachable(f"{length} of {announced.size} bytes arrived")
    if (found := sha.hexdigest()) != announced.sha256:
        raise OtherBytes(
            f"a model of {length} bytes arrived with SHA-256 {found[:12]}, {announced.sha256[:12]} was announced: "
            "`fed director check` says whether the director's disk has damaged it"
        )
