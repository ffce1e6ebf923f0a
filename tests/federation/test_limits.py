"""The limits of the protocol: every field of every message has one, which is taken, and one more is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.protocol import limits
from federation.protocol.limits import check

METHODS = pb.DESCRIPTOR.services_by_name["Director"].methods
TRAVELLING = sorted({kind.name for method in METHODS for kind in (method.input_type, method.output_type)})
NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
}


def messages() -> Iterator[Descriptor]:
    """All messages but those of which the limits are made."""
    yield from (kind for name, kind in pb.DESCRIPTOR.message_types_by_name.items() if name != "Limit")


FIELDS = {f"{kind.name}.{field.name}": field for kind in messages() for field in kind.fields}


def limit_of(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[pb.limit]


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_many(field: FieldDescriptor) -> bool:
    return field.label == FieldDescriptor.LABEL_REPEATED


def message_with(field: FieldDescriptor, value: Any) -> Any:
    """A message in which a field is set, and nothing else."""
    message = getattr(pb, field.containing_type.name)()
    if is_many(field):
        kept = getattr(message, field.name)
        kept.update(value) if is_map(field) else kept.extend(value)
    else:
        setattr(message, field.name, value)
    return message


def values_of(field: FieldDescriptor) -> FieldDescriptor:
    """The field whose values a field's limit is of: a map's own for its values."""
    return field.message_type.fields_by_name["value"] if is_map(field) else field


def at_and_above(field: FieldDescriptor) -> Iterator[tuple[str, Any, Any]]:
    """Values of one field: what is limited of it, one at the limit, and the next one."""
    limit, one = limit_of(field), values_of(field)

    def whole(value: Any, key: str = "") -> Any:
        return {key: value} if is_map(field) else [value] if is_many(field) else value

    if one.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        letter = b"x" if one.type == FieldDescriptor.TYPE_BYTES else "x"
        yield "length", whole(letter * limit.length), whole(letter * (limit.length + 1))
        nothing: Any = letter[:0]
    elif one.cpp_type in NUMBERS:
        number = NUMBERS[one.cpp_type]
        after = int(limit.most) + 1 if number is int else math.nextafter(limit.most, math.inf)
        yield "most", whole(number(limit.most)), whole(number(after))
        before = limit.least - 1 if number is int else math.nextafter(limit.least, -math.inf)
        if number is float or limit.least < 0:
            yield "least", whole(number(limit.least)), whole(number(before))
        nothing = number(max(0, limit.least))
    else:
        nothing = getattr(pb, one.message_type.name)() if one.message_type else None
    if is_map(field):
        yield "key", whole(nothing, "k" * limit.key), whole(nothing, "k" * (limit.key + 1))
        full = {str(number): nothing for number in range(limit.count)}
        yield "count", full, full | {"one more": nothing}
    elif is_many(field):
        yield "count", [nothing] * limit.count, [nothing] * (limit.count + 1)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_limit(name: str) -> None:
    field, limit = FIELDS[name], limit_of(FIELDS[name])
    one = values_of(field)
    if is_many(field):
        assert limit.count > 0
    if is_map(field):
        assert limit.key > 0
    if one.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        assert limit.length > 0
    if one.cpp_type in NUMBERS:
        assert limit.least < limit.most


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_at_a_limit_is_taken_and_one_above_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Here it is about the fields: a message may be full before all of its fields are.
    monkeypatch.setattr(limits, "_size", lambda kind: limits.LARGEST_REQUEST)
    for what, at, above in at_and_above(FIELDS[name]):
        check(message_with(FIELDS[name], at))
        with pytest.raises(InputError, match=FIELDS[name].name) as refused:
            check(message_with(FIELDS[name], above))
        assert len(str(refused.value)) < 200, what


@pytest.mark.parametrize("name", TRAVELLING)
def test_every_message_that_travels_has_a_size_and_no_larger_one_is_taken(name: str) -> None:
    kind = getattr(pb, name)
    most = kind.DESCRIPTOR.GetOptions().Extensions[pb.size]
    assert most > 0
    if most >= limits.LARGEST_REQUEST:
        assert most <= limits.LARGEST_ANSWER  # and gRPC measures it
        return
    # A field that nobody knows, as a newer version's would be: number 1000, of so many bytes.
    overhead = len(unknown_field(most)) - most
    check(kind.FromString(unknown_field(most - overhead)))
    with pytest.raises(InputError, match=f"{name} has {most + 1} bytes; up to {most} are taken"):
        check(kind.FromString(unknown_field(most - overhead + 1)))


def unknown_field(length: int) -> bytes:
    return varint(1000 << 3 | 2) + varint(length) + b"x" * length


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def test_what_is_no_number_is_in_no_range() -> None:
    for wait in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="wait is"):
            check(pb.TasksRequest(wait=wait))


def test_what_is_refused_is_named_by_its_place_and_not_repeated() -> None:
    for message, told in [
        (
            pb.SubmitChunk(submission=pb.Submission(blob=pb.Blob(sha256="x" * 300))),
            "submission.blob.sha256 has 300 characters; up to 256 are taken",
        ),
        (
            pb.Announcement(devices=[pb.Device(), pb.Device(model="x" * 1000)]),
            "devices.model has 1000 characters; up to 200 are taken",
        ),
        (pb.Announcement(samples={"x" * 65: 1}), "a key of samples has 65 characters; up to 64 are taken"),
        (pb.Event(id=2**64 - 1), "id is 18446744073709551615; 0 to 1000000000000000 are taken"),
    ]:
        with pytest.raises(InputError) as refused:
            check(message)
        assert str(refused.value) == told
