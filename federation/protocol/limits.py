"""What is taken of a message: the limits that `federation.proto` has beside each field, enforced wherever one arrives.

gRPC itself refuses a message that is larger than any may be, before it is read; the rest is `check`, which the director applies
to all that is asked, and envoys and workspaces to all that is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb

LARGEST_REQUEST = 24 << 20
LARGEST_ANSWER = 64 << 20
# A few bytes could be gigabytes when they are inflated, which gRPC does before it measures. Nobody of ours compresses.
NEVER_INFLATED = [
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.per_message_decompression", 0),
]

_SIZE: Any = pb.size
_LIMIT: Any = pb.limit
M = TypeVar("M", bound=Message)
Check = Callable[[Any, str], None]

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
    FieldDescriptor.CPPTYPE_FLOAT,
    FieldDescriptor.CPPTYPE_DOUBLE,
}


def check(message: M) -> M:
    """Return a message that has arrived, if it is within its limits.

    Raises
    ------
    InputError
        Which names the field, its limit and how much was sent, and shows nothing of it.
    """
    kind = message.DESCRIPTOR
    # What is allowed to be as large as gRPC lets through need not be measured, which would cost a copy.
    if (most := _size(kind)) < LARGEST_REQUEST and (sent := message.ByteSize()) > most:
        raise InputError(f"{kind.name} has {sent} bytes; up to {most} are taken")
    for one in _checks(kind):
        one(message, "")
    return message


def checked(messages: Iterable[M]) -> Iterator[M]:
    """Yield what a stream brings, each message checked."""
    return map(check, messages)


def _limit(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[_LIMIT]


@cache
def _size(kind: Descriptor) -> int:
    return int(kind.GetOptions().Extensions[_SIZE])


@cache
def _checks(kind: Descriptor) -> tuple[Check, ...]:
    """Return the checks of a message's fields, in their order."""
    return tuple(map(_of_field, kind.fields))


def _of_field(field: FieldDescriptor) -> Check:
    name, limit = field.name, _limit(field)
    if field.label == FieldDescriptor.LABEL_REPEATED:
        return _of_many(field, limit)
    of_value = _of_value(field, limit)

    def of_one(message: Message, path: str) -> None:
        of_value(getattr(message, name), f"{path}{name}")

    def of_message(message: Message, path: str) -> None:
        if message.HasField(name):
            of_one(message, path)

    return of_one if field.message_type is None else of_message


def _of_many(field: FieldDescriptor, limit: Any) -> Check:
    """Return the check of a list or a map."""
    name, most, entry = field.name, limit.count, field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    of_key = _of_length(limit.key)
    of_value = _of_value(entry.fields_by_name["value"] if is_map else field, limit)

    def of_many(message: Message, path: str) -> None:
        values, path = getattr(message, name), f"{path}{name}"
        if len(values) > most:
            raise InputError(f"{path} has {len(values)} entries; up to {most} are taken")
        for key in values if is_map else ():
            of_key(key, f"a key of {path}")
        for value in values.values() if is_map else values:
            of_value(value, path)

    return of_many


def _of_value(field: FieldDescriptor, limit: Any) -> Check:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _of_length(limit.length)
    if field.cpp_type in _NUMBERS:
        return _of_range(limit.least, limit.most)
    return _anything if field.message_type is None else _of_message(field.message_type)


def _anything(value: Any, path: str) -> None:
    """Take any value: of a bool there is none that is too large."""


def _of_length(most: int) -> Check:
    def of_length(value: str | bytes, path: str) -> None:
        if (sent := len(value)) > most:
            what = "bytes" if isinstance(value, bytes) else "characters"
            raise InputError(f"{path} has {sent} {what}; up to {most} are taken")

    return of_length


def _of_range(least: float, most: float) -> Check:
    def of_range(value: float, path: str) -> None:
        if not least <= value <= most:  # so is what is no number
            raise InputError(f"{path} is {value}; {least:.17g} to {most:.17g} are taken")

    return of_range


def _of_message(kind: Descriptor) -> Check:
    def of_message(message: Message, path: str) -> None:
        for one in _checks(kind):
            one(message, f"{path}.")

    return of_message
