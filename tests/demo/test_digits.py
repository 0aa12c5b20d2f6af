from __future__ import annotations

import numpy as np

from omendb_ws.demo.digits import FULL_INK, SIDE, Digits, load, split


def test_the_digits_are_the_1797_of_the_data_set() -> None:
    digits = load()
    assert digits.vectors.shape == (1797, SIDE * SIDE)
    assert digits.vectors.dtype == np.float32
    assert digits.labels.dtype == np.int64
    # As the repository's page counts its test part.
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.vectors.min() == 0
    assert digits.vectors.max() == FULL_INK
    assert np.array_equal(digits.vectors, np.rint(digits.vectors))


def test_the_first_digit_is_the_zero_of_the_data_set() -> None:
    digits = load()
    assert digits.labels[0] == 0
    assert digits.vectors[0, :16].tolist() == [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]


def test_what_is_held_out_is_never_streamed() -> None:
    numbered = Digits(np.arange(1797, dtype=np.float32)[:, None], np.arange(1797))
    streamed, asked = split(numbered, 197)
    assert (len(streamed.labels), len(asked.labels)) == (1600, 197)
    assert sorted([*streamed.labels, *asked.labels]) == list(range(1797))
    assert np.array_equal(streamed.vectors[:, 0], streamed.labels)
    assert np.array_equal(asked.vectors[:, 0], asked.labels)


def test_the_same_seed_parts_them_alike() -> None:
    first, second, other = split(load(), 197), split(load(), 197), split(load(), 197, seed=1)
    assert np.array_equal(first[1].vectors, second[1].vectors)
    assert not np.array_equal(first[1].vectors, other[1].vectors)


def test_an_exact_search_of_the_streamed_finds_the_right_label() -> None:
    """What the demo promises, without a server: more than 0.9 of ten neighbours."""
    streamed, asked = split(load(), 197)
    window = streamed.vectors[:1000] / np.linalg.norm(streamed.vectors[:1000], axis=1)[:, None]
    nearest = np.argsort(-(asked.vectors @ window.T), axis=1)[:, :10]
    assert (streamed.labels[nearest] == asked.labels[:, None]).mean() > 0.93
