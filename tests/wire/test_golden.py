"""One list of cases drives the encoder, the decoder and the files; and their broken versions."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from omendb_core.model.errors import BadFrame, BadRequest, OmenError

from omendb_ws.wire import binary, binary_replies, text, text_replies
from omendb_ws.wire.messages import Refusal
from omendb_ws.wire.opcodes import HEADER_BYTES, KINDS, OPS, Limits

from .cases import BINARY_REPLIES, BINARY_REQUESTS, CASES, TEXT_REPLIES, TEXT_REQUESTS, Case
from .golden import FOLDER, files
from .plain import same

LIMITS = Limits()
NAMES = [case.name for case in CASES]


def decode(case: Case, data: bytes) -> Any:
    if case.sent_by == "client":
        if case.is_binary:
            return binary.decode_request(data, LIMITS)
        return text.decode_request(data.decode(), LIMITS)
    return (
        binary_replies.decode_incoming(data)
        if case.is_binary
        else text_replies.decode_incoming(data)
    )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_message_is_encoded_as_the_protocol_says_by_hand(case: Case) -> None:
    assert case.encode() == case.data


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_message_is_decoded_to_what_it_means(case: Case) -> None:
    decoded = decode(case, case.data)
    assert same(decoded, case.decoded), decoded


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_the_golden_files_are_those_of_the_cases() -> None:
    found = {
        path.name: path.read_bytes()
        for path in FOLDER.iterdir()
        if path.suffix in (".bin", ".json")
    }
    made = files()
    # As JSON: versions of orjson write one number differently (3e38, 3e+38).
    indices = [json.loads(one.pop("index.json")) for one in (found, made)]
    assert (found, indices[0]) == (made, indices[1]), (
        "stale: python -m tests.wire.golden writes them anew"
    )


def test_every_op_and_kind_has_a_case() -> None:
    assert {case.decoded.op for case in TEXT_REQUESTS} == set(OPS)
    kinds = {case.data[2] for case in BINARY_REQUESTS + BINARY_REPLIES}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_truncated_message_is_refused_wherever_it_ends(case: Case) -> None:
    """A text loses its last brace, a frame a byte of its length: no part of one is another."""
    for length in range(len(case.data)):
        part = case.data[:length]
        try:
            part.decode()
        except UnicodeDecodeError:
            if not case.is_binary:
                continue
        if case.sent_by == "server":
            with pytest.raises(OmenError):
                decode(case, part)
            continue
        refusal = decode(case, part)
        assert isinstance(refusal, Refusal), length
        has_id = case.is_binary and length >= 8
        assert refusal.id == (case.decoded.id if has_id else None)
        assert refusal.error.code == ("bad_frame" if case.is_binary else "bad_request")


@pytest.mark.parametrize("case", BINARY_REQUESTS, ids=lambda case: case.name)
def test_a_flipped_header_bit_never_harms(case: Case) -> None:
    """It is refused, or is another valid request; nothing is allocated beyond its own size."""
    for bit in range(HEADER_BYTES * 8):
        flipped = bytearray(case.data)
        flipped[bit // 8] ^= 1 << bit % 8
        message = bytes(flipped)
        decoded = binary.decode_request(message, LIMITS)
        if bit < 16:
            assert isinstance(decoded, Refusal)
            assert decoded.id is None
        elif 32 <= bit < 64:
            assert decoded.id == case.decoded.id ^ 1 << bit - 32
            assert type(decoded) is type(case.decoded)
        else:
            assert decoded.id == case.decoded.id
            is_length = 12 * 8 <= bit < 20 * 8 or 24 * 8 <= bit < 28 * 8
            if getattr(case.decoded, "vectors", case) is None:
                is_length = is_length and not 16 * 8 <= bit < 20 * 8  # no vectors, no `dim`
            assert isinstance(decoded, Refusal) or not is_length


def test_decoding_a_flipped_message_takes_no_memory_for_what_its_header_claims() -> None:
    for case in BINARY_REQUESTS:
        for bit in range(64, HEADER_BYTES * 8):
            flipped = bytearray(case.data)
            flipped[bit // 8] ^= 1 << bit % 8
            tracemalloc.start()
            try:
                binary.decode_request(bytes(flipped), LIMITS)
                peak_bytes = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak_bytes < 64 * 1024, (case.name, bit)


@pytest.mark.parametrize("case", BINARY_REPLIES, ids=lambda case: case.name)
def test_a_client_refuses_a_flipped_header_or_reads_a_message(case: Case) -> None:
    for bit in range(HEADER_BYTES * 8):
        flipped = bytearray(case.data)
        flipped[bit // 8] ^= 1 << bit % 8
        with suppress(BadFrame):
            binary_replies.decode_incoming(bytes(flipped))


@pytest.mark.parametrize("case", TEXT_REQUESTS + TEXT_REPLIES, ids=lambda case: case.name)
def test_any_byte_of_a_text_may_be_anything(case: Case) -> None:
    for place in range(len(case.data)):
        for byte in (0x00, 0x22, 0x2C, 0x39, 0x5B, 0x7D, 0xFF):
            garbled = case.data[:place] + bytes([byte]) + case.data[place + 1 :]
            if case.sent_by == "client":
                text.decode_request(garbled, LIMITS)
            else:
                with suppress(BadRequest):
                    text_replies.decode_incoming(garbled)
