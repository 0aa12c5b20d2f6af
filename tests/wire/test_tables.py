"""The tables and the codec say the same, in both directions."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest
from omendb_core.model.errors import BY_CODE

from omendb_ws.wire import binary, fields, messages, text
from omendb_ws.wire.limits import LIMITS, Limits
from omendb_ws.wire.messages import Refusal
from omendb_ws.wire.opcodes import (
    ALIGNMENT,
    COLUMN_DTYPES,
    COMMON_FIELDS,
    ERRORS,
    HEADER,
    HEADER_BYTES,
    HEADER_FIELDS,
    JSON_TYPES,
    KIND_NUMBERS,
    KINDS,
    OPS,
    RIGHTS,
    SUBSCRIPTION_KINDS,
    Field,
    FieldType,
    Op,
    right_for,
)

REQUESTS = {cls.op: cls for cls in typing.get_args(messages.Request)}
#: Attributes of messages that no JSON field fills.
NOT_IN_JSON = {"id", "binary", "single", "keeps_min_score"}


def every_field() -> list[Field]:
    return [one for op in OPS.values() for one in op.fields] + [
        one for fields_ in SUBSCRIPTION_KINDS.values() for one in fields_
    ]


def test_every_op_has_a_message_and_every_message_an_op() -> None:
    assert set(REQUESTS) == set(OPS)
    assert {name: op.name for name, op in OPS.items()} == {name: name for name in OPS}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_an_ops_fields_are_its_messages_attributes(op: Op) -> None:
    attributes = {one.name for one in dataclasses.fields(REQUESTS[op.name])} - NOT_IN_JSON
    assert {one.target for one in op.fields} == attributes


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_an_optional_field_has_its_default_in_the_message(op: Op) -> None:
    without = {
        one.name
        for one in dataclasses.fields(REQUESTS[op.name])
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    required = {one.target for one in op.fields if one.required}
    one_of = {one.target for one in op.fields if one.name in op.one_of}
    assert without - {"id"} == required | (one_of & {"vectors"})


def test_the_subscribe_op_has_every_field_of_its_kinds() -> None:
    of_kinds = {one.name for fields_ in SUBSCRIPTION_KINDS.values() for one in fields_}
    assert {one.name for one in OPS["subscribe"].fields} == of_kinds | {"kind"}
    assert typing.get_args(messages.SubscriptionKind) == tuple(SUBSCRIPTION_KINDS)


def test_every_type_of_field_is_read_and_told_in_json() -> None:
    assert set(fields.READERS) == set(JSON_TYPES) == set(typing.get_args(FieldType))
    assert {one.type for one in every_field()} == set(fields.READERS)


def test_every_limit_that_a_field_names_is_one() -> None:
    assert {one.most for one in every_field() if isinstance(one.most, str)} <= set(LIMITS)


def test_choices_are_those_of_the_messages() -> None:
    choices = {one.name: one.choices for one in OPS["create"].fields}
    assert choices["durability"] == typing.get_args(messages.Durability)
    assert choices["if_exists"] == typing.get_args(messages.IfExists)
    encodings = {one.choices for one in every_field() if one.name == "encoding"}
    assert encodings == {typing.get_args(messages.Encoding)}


def test_hello_says_every_limit_by_its_name() -> None:
    assert Limits().as_hello() == {name: limit.default for name, limit in LIMITS.items()}
    assert Limits(max_k=7).as_hello()["max_k"] == 7
    assert all(limit.about for limit in LIMITS.values())


def test_rights_are_rights() -> None:
    for op in OPS:
        for whole_server in (False, True):
            assert right_for(op, whole_server=whole_server) in {*RIGHTS, "any", "none"}
    assert right_for("stats") == right_for("subscribe") == "read"
    assert right_for("stats", whole_server=True) == "admin"
    assert right_for("subscribe", whole_server=True) == "admin"
    assert right_for("add", whole_server=True) == "write"
    assert {op for op in OPS if right_for(op) == "write"} == {"add", "delete", "update"}
    assert {op for op in OPS if right_for(op) == "none"} == {"ping", "auth", "unsubscribe"}
    assert {op.name for op in OPS.values() if op.change} == {
        "create", "drop", "add", "delete", "update"
    }  # fmt: skip


def test_errors_are_the_engines() -> None:
    assert ERRORS is BY_CODE


# -- binary ---------------------------------------------------------------------------------------


def test_the_header_has_a_field_for_each_of_its_bytes() -> None:
    assert HEADER_BYTES == 32
    assert len(HEADER.unpack(bytes(32))) == len(HEADER_FIELDS)


def test_kinds_are_numbered_and_named_once() -> None:
    assert sorted(KINDS) == list(range(1, 11))
    assert {KINDS[number].name: number for number in KINDS} == KIND_NUMBERS


def test_every_kind_names_fields_flags_and_sizes_that_are_there() -> None:
    for kind in KINDS.values():
        assert set(kind.header) <= set(HEADER_FIELDS[5:])
        assert all(bit & (bit - 1) == 0 for bit in kind.flags)
        assert {one.flag for one in kind.sections} - {0} <= set(kind.flags)
        assert {one.unless_json for one in kind.sections} - {""} <= set(kind.json)
        assert {name for one in kind.sections for name in one.shape} <= {"n", "k", "dim", "1"}
        assert bool(kind.json) == ("json_bytes" in kind.header)
        assert ALIGNMENT % max(np.dtype(one.dtype).itemsize for one in kind.sections) == 0
    assert all(np.dtype(one).itemsize <= ALIGNMENT for one in COLUMN_DTYPES.values())


def test_the_codec_reads_exactly_the_kinds_that_clients_send() -> None:
    for number in range(256):
        header = HEADER.pack(0xDB, 1, number, 0, 5, 1, 0, 0, 0, 0, 0)
        refusal = binary.decode_request(header, Limits())
        assert isinstance(refusal, Refusal)
        known = number in KINDS and KINDS[number].direction == "request"
        assert refusal.error.message.startswith("n:" if known else "kind:")


def test_json_fields_of_binary_requests_are_those_of_their_ops() -> None:
    names = {op: {one.name for one in OPS[op].fields} for op in ("add", "search", "subscribe")}
    assert set(KINDS[KIND_NUMBERS["SEARCH"]].json) - COMMON_FIELDS < names["search"]
    assert set(KINDS[KIND_NUMBERS["SUBSCRIBE"]].json) < names["subscribe"]
    assert {"producer", "batch"} < set(KINDS[KIND_NUMBERS["ADD"]].json)


def test_every_op_is_decoded() -> None:
    for op in OPS:
        refusal = text.decode_request(f'{{"id":1,"op":"{op}","nonsense":1}}', Limits())
        assert isinstance(refusal, Refusal)
        assert refusal.error.message == "nonsense: unknown field"
