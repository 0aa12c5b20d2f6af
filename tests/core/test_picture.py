"""The plane of a map: principal, turned to fit the one before, whatever the magnitudes."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.types import F32, F64
from omendb_core.picture import captured, fitted, place, principal


def stretched(seed: int, rows: int = 400, dim: int = 24) -> F32:
    """Rows that vary most along two hidden directions, then along others by steps."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((dim, dim)))[0]
    spread = np.concatenate(([9.0, 6.0], np.linspace(2.0, 0.5, dim - 2)))
    rows_ = generator.standard_normal((rows, dim)) * spread @ turn + 50
    return rows_.astype(np.float32)


def exact_axes(sample: F32) -> F64:
    centred = sample - sample.mean(axis=0, dtype=np.float64)
    return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][:2])


def distances(places: F64) -> F64:
    return np.asarray(np.linalg.norm(places[:, None] - places[None], axis=2))


@pytest.mark.parametrize("seed", range(5))
def test_the_axes_are_those_of_a_singular_value_decomposition(seed: int) -> None:
    sample = stretched(seed)
    plane = principal(sample)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-9)
    overlap = np.abs(plane.axes @ exact_axes(sample).T)
    np.testing.assert_allclose(overlap, np.eye(2), atol=1e-4)


def test_the_same_sample_gives_the_same_plane() -> None:
    first, second = principal(stretched(1)), principal(stretched(1))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 1), (2, 2), (3, 500), (500, 3)])
def test_small_and_thin_samples_have_a_plane(shape: tuple[int, int]) -> None:
    sample = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    places = place(principal(sample), sample)
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()


def test_equal_rows_lie_in_one_place() -> None:
    sample = np.full((10, 5), 3.0, np.float32)
    assert (place(principal(sample), sample) == 0).all()


@pytest.mark.parametrize("scale", [2.0**61, 2.0**-120])
def test_no_magnitude_overflows_or_loses_the_shape(scale: float) -> None:
    sample = stretched(2) / np.float32(100)
    places = place(principal(sample), sample)
    scaled = (sample.astype(np.float64) * scale).astype(np.float32)
    again = place(principal(scaled), scaled) / scale
    np.testing.assert_allclose(distances(again), distances(places), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_fitted_plane_shows_the_same_shape_where_it_was_before(seed: int) -> None:
    before = principal(stretched(seed))
    sample = stretched(seed + 100)
    plane = principal(sample)
    turned = fitted(plane, before, sample)
    new, plain = place(turned, sample), place(plane, sample)
    np.testing.assert_allclose(distances(new), distances(plain), atol=1e-6)
    old = place(before, sample)
    np.testing.assert_allclose(new.mean(axis=0), old.mean(axis=0), atol=1e-6)
    moved = np.square(new - old).sum()
    generator = np.random.default_rng(seed)
    for angle in generator.uniform(0, 2 * np.pi, 20):
        for mirror in (1, -1):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            other = (plain - plain.mean(axis=0)) @ (turn * [1, mirror]) + old.mean(axis=0)
            assert moved <= np.square(other - old).sum() + 1e-6


def test_rows_that_did_not_change_do_not_move() -> None:
    sample = stretched(4)
    before = principal(sample)
    np.testing.assert_allclose(
        place(fitted(principal(sample), before, sample), sample), place(before, sample), atol=1e-7
    )


def test_the_principal_plane_captures_more_than_any_other() -> None:
    sample = stretched(5)
    plane = principal(sample)
    best = captured(plane, sample)
    for seed in range(20):
        axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((24, 2)))[0].T
        assert captured(plane._replace(axes=axes), sample) < best
