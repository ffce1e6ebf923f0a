"""Taking a model home from the director: whole, and with the SHA-256 that was announced."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from federation.errors import Unreachable
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.tensors import Tensors, assemble, unpack

TRANSFER_SECONDS = 3600.0


class OtherBytes(Unreachable):
    """What arrived is not what was announced, though whole: it may come otherwise when it comes again."""


def download(
    stub: rpc.DirectorStub, request: pb.ModelRequest, metadata: Sequence[tuple[str, str]]
) -> tuple[pb.ModelInfo, Tensors]:
    """Download a model.

    Raises
    ------
    grpc.RpcError
        As the call does.
    Unreachable
        If the stream breaks off; as `OtherBytes` if other bytes arrive than were announced.
    Refused
        If more arrive, or they are no tensors.
    """
    stream = stub.GetModel(request, metadata=metadata, timeout=TRANSFER_SECONDS)
    if (first := next(stream, None)) is None:
        raise Unreachable("the stream of a model ended before it began")
    info = first.info
    data = assemble((chunk.data for chunk in stream), info.blob.size)
    found = hashlib.sha256(data).hexdigest()
    if found != info.blob.sha256:
        raise OtherBytes(
            f"a model of {len(data)} bytes arrived with SHA-256 {found[:12]}, {info.blob.sha256[:12]} was announced: "
            "`fed director check` says whether the director's disk has damaged it"
        )
    return info, unpack(data)
