"""The C extension against numpy on hard data, and what it says to arrays that it cannot take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F32, Metric
from omendb_core.rows.memory import aligned_zeros
from omendb_core.scoring import score

from tests.core import hard_data
from tests.core.variants import NUMPY, VARIANTS, computing_with

pytestmark = pytest.mark.skipif(not native.is_there, reason="there is no C extension here")

LANES = VARIANTS[1:]


def in_numpy(function: Callable[..., F32], *arguments: Any) -> list[int]:
    with computing_with(NUMPY):
        return bits(function(*arguments))


def bits(values: F32) -> list[int]:
    return values.ravel().view(np.uint32).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("metric", "name"), hard_data.CASES)
@pytest.mark.parametrize("lanes", LANES)
def test_hard_data_is_prepared_and_scored_as_numpy_does_to_the_bit(
    lanes: str, metric: Metric, name: str
) -> None:
    for dim in (1, 8, 31, 128):
        rng = np.random.default_rng(dim)
        raw = (hard_data.DATA | hard_data.TINY_DATA)[name](rng, 150, dim)
        with computing_with(lanes):
            rows = score.prepare(raw, metric)
            queries = hard_data.some_of(rows, rng, 150)
            found = score.score_pairs(metric, rows, queries)
            norms = score.norms(raw)
        assert bits(rows) == in_numpy(score.prepare, raw, metric)
        assert bits(found) == in_numpy(score.score_pairs, metric, rows, queries)
        assert norms.tolist() == exact_norms(raw)


def exact_norms(rows: F32) -> list[float]:
    return np.sqrt(score.lane_sum(rows.astype(np.float64) ** 2)).tolist()  # type: ignore[no-any-return]


ROWS = np.ones((4, 8), np.float32)
OUT = np.zeros(4, np.float32)
WHICH = np.zeros(4, np.int64)


def frozen(array: F32) -> F32:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("score_pairs", (ROWS, ROWS[:3], OUT), "queries"),
        ("score_pairs", (ROWS, np.ones((4, 7), np.float32), OUT), "queries"),
        ("score_pairs", (ROWS, ROWS.astype(np.float64), OUT), "queries"),
        ("score_pairs", (ROWS[:, ::2], ROWS[:, ::2], OUT), "rows"),
        ("score_pairs", (ROWS[::-1], ROWS, OUT), "rows"),
        ("score_pairs", (ROWS[0], ROWS, OUT), "rows"),
        ("score_pairs", (ROWS, ROWS, OUT[:3]), "scores"),
        ("score_pairs", (ROWS, ROWS, OUT.astype(np.float64)), "scores"),
        ("score_pairs", (ROWS, ROWS, frozen(OUT)), "read-only"),
        ("score_pairs", (ROWS, ROWS, None), "NoneType"),
        ("score_chosen", (ROWS, WHICH + 4, ROWS, WHICH, OUT), "which_rows"),
        ("score_chosen", (ROWS, WHICH - 1, ROWS, WHICH, OUT), "which_rows"),
        ("score_chosen", (ROWS, WHICH, ROWS, WHICH + 4, OUT), "which_queries"),
        ("score_chosen", (ROWS, WHICH, ROWS, WHICH[:2], OUT), "which_queries"),
        ("score_chosen", (ROWS, WHICH.view(np.uint64), ROWS, WHICH, OUT), "which_rows"),
        ("score_chosen", (ROWS, WHICH, ROWS[:, :4], WHICH, OUT), "queries"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(
    name: str, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises((TypeError, ValueError, IndexError, BufferError), match=message):
        getattr(native.compiled, name)("portable", False, *arguments)


APART = (ROWS, WHICH, None, 0.0, WHICH.copy(), 0, 0, WHICH.copy())
COMPARED = np.zeros(4, np.int64)
MARGINAL = (ROWS, WHICH, np.ones(4), np.ones(4), COMPARED, 0.5, 0, 4, WHICH.copy())


@pytest.mark.parametrize(
    ("name", "arguments", "place", "wrong", "message"),
    [
        ("take_apart", APART, 0, ROWS[::2], "vectors"),
        ("take_apart", APART, 1, WHICH + 4, "slots"),
        ("take_apart", APART, 1, WHICH - 1, "slots"),
        ("take_apart", APART, 2, (WHICH[:3], WHICH.copy(), 1), "groups"),
        ("take_apart", APART, 2, (WHICH + 2, WHICH[:2].copy(), 1), "groups"),
        ("take_apart", APART, 4, WHICH[:3].astype(np.float64), "taken"),
        ("take_apart", APART, 5, 5, "held"),
        ("take_apart", APART, 5, -1, "held"),
        ("take_apart", APART, 6, 1, "known"),
        ("take_apart", APART, 7, WHICH[:3].copy(), "places"),
        ("take_apart", (*APART[:4], WHICH + 4, 4, 4, WHICH.copy()), 0, ROWS, "taken"),
        ("take_marginal", MARGINAL, 1, WHICH + 4, "slots"),
        ("take_marginal", MARGINAL, 2, np.ones(3), "relevance"),
        ("take_marginal", MARGINAL, 3, np.ones(3), "redundancy"),
        ("take_marginal", MARGINAL, 4, COMPARED[:3], "compared"),
        ("take_marginal", MARGINAL, 4, COMPARED - 1, "compared"),
        ("take_marginal", MARGINAL, 4, COMPARED + 1, "compared"),
        ("take_marginal", MARGINAL, 6, -1, "start"),
        ("take_marginal", MARGINAL, 7, 5, "stop"),
        ("take_marginal", MARGINAL, 8, WHICH[:3].copy(), "places"),
        ("take_marginal", (*MARGINAL[:6], 4, 4, WHICH + 4), 0, ROWS, "places"),
    ],
)
def test_selections_of_rows_that_are_not_there_are_refused(
    name: str, arguments: tuple[Any, ...], place: int, wrong: Any, message: str
) -> None:
    given = [*arguments[:place], wrong, *arguments[place + 1 :]]
    with pytest.raises((TypeError, ValueError, IndexError, BufferError), match=message):
        getattr(native.compiled, name)("portable", False, *given)


BITS = (np.zeros(2, np.uint64), np.array([3, 127]), np.ones(2, np.uint8))


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (0, np.zeros(1, np.uint64), "slots"),
        (0, np.zeros(2, np.int64), "words"),
        (1, np.array([3, 128]), "slots"),
        (1, np.array([3, -1]), "slots"),
        (1, np.array([3.0, 4.0]), "slots"),
        (2, np.ones(3, np.uint8), "passed"),
        (2, np.ones(2, np.bool_), "passed"),
    ],
)
def test_bits_of_slots_that_are_not_there_are_refused(place: int, wrong: Any, message: str) -> None:
    given = [*BITS[:place], wrong, *BITS[place + 1 :]]
    with pytest.raises((TypeError, ValueError, IndexError, BufferError), match=message):
        native.compiled.set_bits(*given)
    assert not BITS[0].any()


def arrays_in(arguments: Any) -> list[Any]:
    """Every array among (nested) arguments."""
    if isinstance(arguments, np.ndarray):
        return [arguments]
    if isinstance(arguments, tuple):
        return [array for part in arguments for array in arrays_in(part)]
    return []


def calls_that_write() -> list[tuple[str, tuple[Any, ...]]]:
    """Each function that writes to arrays, with arguments that it takes."""
    rows = np.arange(1, 33, dtype=np.float32).reshape(4, 8)
    ids = np.arange(1, 5, dtype=np.uint64)
    table = (np.zeros(4, np.uint64), np.zeros(10, np.uint32), np.zeros(3, np.uint64))
    codes, factors = aligned_zeros((4, 2, 16, 4), np.uint8), aligned_zeros((4, 3, 16), np.float32)
    nibbles = aligned_zeros((1, 1, 64, 4), np.uint8), aligned_zeros((4, 4, 16), np.float32)
    centre, slots, scores = np.zeros(8, np.float32), np.zeros(4, np.int64), np.zeros(4, np.float32)
    ring = (np.zeros_like(rows), np.zeros(4, np.float32), np.zeros(1, np.uint64), slots.copy())
    k, none = np.ones(4, np.int64), np.full(4, -np.inf, np.float32)
    masks, counts = np.full(1, 15, np.uint64), np.zeros(4, np.uint32)
    zeros = np.zeros(4, np.int64)
    return [
        ("score_pairs", ("portable", False, rows, rows, scores)),
        ("score_chosen", ("portable", False, rows, slots, rows, slots.copy(), scores)),
        ("norms", ("portable", rows, np.zeros(4))),
        ("log2", ("portable", np.full(4, 3.0), np.zeros(4))),
        ("log", ("portable", np.full(4, 3.0), np.zeros(4))),
        ("exp", ("portable", np.full(4, 3.0), np.zeros(4))),
        ("pow", ("portable", np.full(4, 3.0), np.full(4, 2.0), np.zeros(4))),
        ("normalise", ("portable", rows, 0.0, 1e9, np.zeros_like(rows))),
        ("ids_enter", (table, ids, np.arange(4), slots)),
        ("ids_find", (table, ids, slots)),
        ("append", ("portable", ring, (codes, factors, nibbles, centre, 0), table, 0, 7, rows,
                    ids)),
        ("shadow_write", (codes, factors, nibbles, centre, 4, 0, 0, rows)),
        ("set_bits", (np.zeros(2, np.uint64), np.array([3, 64]), np.array([1, 0], np.uint8))),
        ("top_k", ("portable", "portable", codes, factors, None, centre, 0, rows, 4, rows, k, none,
                   masks, slots, counts, np.full(4, -1), scores, None, 1)),
        ("top_k", ("portable", "portable", codes, factors, None, centre, 0, rows, 4, rows, k, none,
                   masks, slots, counts, np.full(4, -1), scores,
                   (slots, None, 1.0, False, None, np.ones(4), np.full(4, -1.0)), 1)),
        ("take_apart", ("portable", False, rows, np.arange(4), (zeros, np.zeros(1, np.int64), 9),
                        1e9, slots, 0, 0, np.full(4, -1))),
        ("take_marginal", ("portable", False, rows, zeros, np.ones(4), np.full(4, -np.inf),
                           zeros, 0.5, 0, 1, np.full(4, -1))),
        ("decay_weights", ("portable", zeros, None, 1e6, 1.0, 5.0, np.arange(4), scores)),
        ("score_bounds", ("portable", codes, factors, centre, 4, 0, rows[:1], 0,
                          np.zeros(64, np.float32), np.zeros(64, np.float32))),
    ]  # fmt: skip


@pytest.mark.parametrize("call", range(len(calls_that_write())))
def test_an_array_that_is_written_must_be_writable(call: int) -> None:
    name, arguments = calls_that_write()[call]
    arrays = arrays_in(arguments)
    before = [array.copy() for array in arrays]
    getattr(native.compiled, name)(*arguments)
    written = [i for i, array in enumerate(arrays) if array.tobytes() != before[i].tobytes()]
    assert written
    for at in written:
        _, again = calls_that_write()[call]
        arrays = arrays_in(again)
        arrays[at].flags.writeable = False
        with pytest.raises((BufferError, ValueError), match="read-only"):
            getattr(native.compiled, name)(*again)
        assert [array.tobytes() for array in arrays] == [array.tobytes() for array in before]


KEYS = np.zeros(4, np.uint64)
PLACES = np.zeros(10, np.uint32)
SALTS = np.zeros(3, np.uint64)
TABLE = (KEYS, PLACES, SALTS)
CODES = aligned_zeros((4, 2, 16, 4), np.uint8)
FACTORS = aligned_zeros((4, 3, 16), np.float32)
RING = (np.zeros((4, 8), np.float32), np.zeros(4, np.float32), KEYS[:1], np.zeros(4, np.int64))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ids_find", ((KEYS, PLACES[:4], SALTS), KEYS, WHICH), "places"),
        ("ids_find", ((KEYS, PLACES, SALTS[:2]), KEYS, WHICH), "salts"),
        ("ids_find", (TABLE, KEYS.view(np.int64), WHICH), "ids"),
        ("ids_find", (TABLE, KEYS, WHICH[:2]), "slots"),
        ("ids_find", (TABLE[:2], KEYS, WHICH), "arguments"),
        ("ids_enter", (TABLE, KEYS, WHICH + 4, WHICH.copy()), "slots"),
        ("ids_enter", (TABLE, KEYS, WHICH - 1, WHICH.copy()), "slots"),
        ("ids_enter", (TABLE, KEYS, WHICH, WHICH[:3].copy()), "replaced"),
        ("ids_remove", (TABLE, WHICH - 1), "slots"),
        ("ids_remove", (TABLE, WHICH + 4), "slots"),
        ("first_duplicate", (KEYS, KEYS), "salts"),
        ("append", ("portable", RING, None, None, 4, 0, ROWS, None), "rows"),
        ("append", ("portable", RING, None, None, -1, 0, ROWS, None), "rows"),
        ("append", ("portable", RING, None, None, 0, 0, np.ones((5, 8), np.float32), None), "rows"),
        ("append", ("portable", RING, None, None, 0, 0, np.ones((1, 7), np.float32), None), "rows"),
        ("append", ("portable", RING, None, None, 0, 0, np.broadcast_to(ROWS[0], (2, 8)), None),
         "rows"),
        ("append", ("portable", RING, None, TABLE, 0, 0, ROWS, KEYS[:3]), "ids"),
        ("append", ("portable", RING, None, (PLACES.view(np.uint64), PLACES, SALTS), 0, 0, ROWS,
                    KEYS), "table"),
        ("append", ("portable", RING, (CODES[:2], FACTORS, None, ROWS[0], False), None, 0, 0, ROWS,
                    None), "codes"),
        ("append", ("portable", RING, (CODES, FACTORS, None, ROWS[0, :6], False), None, 0, 0, ROWS,
                    None), "centre"),
        ("append", ("portable", (*RING[:2], RING[2][:0], RING[3]), None, None, 0, 0, ROWS, None),
         "live"),
        ("append", ("portable", (RING[0], np.zeros(3, np.float32), *RING[2:]), None, None, 0, 0,
                    ROWS, None), "times"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_ring_or_a_table_is_refused_and_changes_nothing(
    name: str, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        getattr(native.compiled, name)(*arguments)
    assert not any(array.any() for array in (*TABLE, *RING, CODES, FACTORS))


NUMBERS = np.ones(4)


@pytest.mark.parametrize("name", ["log2", "log", "exp", "pow"])
@pytest.mark.parametrize(
    ("numbers", "results"),
    [
        (NUMBERS, NUMBERS[:3].copy()),
        (NUMBERS.astype(np.float32), NUMBERS.copy()),
        (np.ones(8)[::2], NUMBERS.copy()),
        (NUMBERS, np.ones(4, np.float32)),
    ],
)
def test_functions_refuse_arrays_of_another_shape_or_type(
    name: str, numbers: Any, results: Any
) -> None:
    operands = (numbers, numbers) if name == "pow" else (numbers,)
    with pytest.raises((TypeError, ValueError, BufferError)):
        getattr(native.compiled, name)("portable", *operands, results)
    with pytest.raises(ValueError, match="abacus"):
        getattr(native.compiled, name)("abacus", *operands, results)


def test_exponents_are_as_many_as_bases() -> None:
    with pytest.raises(ValueError, match="y: 3 elements, not 4"):
        native.compiled.pow("portable", NUMBERS, NUMBERS[:3], NUMBERS.copy())


def test_an_unknown_arithmetic_is_refused() -> None:
    with pytest.raises(ValueError, match="abacus"):
        native.compiled.norms("abacus", ROWS, np.zeros(4))
    with pytest.raises(ValueError, match="out"):
        native.compiled.normalise("portable", ROWS, 0, 1, OUT)
    with pytest.raises(TypeError, match="lengths"):
        native.compiled.norms("portable", ROWS, OUT)
