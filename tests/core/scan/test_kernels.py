import ctypes
import importlib
from collections.abc import Callable, Iterator

import pytest
from omendb_core import native
from omendb_core.scan import choice as scan
from omendb_core.scoring import blas


def test_the_kernel_can_be_chosen_by_name_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMENDB_KERNEL", raising=False)
    assert scan.choose().name == scan.names()[0]
    for name in scan.names():
        monkeypatch.delenv("OMENDB_KERNEL", raising=False)
        assert scan.choose(name).name == name
        monkeypatch.setenv("OMENDB_KERNEL", name)
        assert scan.choose().name == name


def test_without_the_extension_there_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMENDB_KERNEL", raising=False)
    monkeypatch.setattr(native, "is_there", False)
    assert scan.names() == ["reference"]
    assert scan.choose().name == "reference"
    with pytest.raises(ValueError, match=r"'portable'.*there is: reference$"):
        scan.choose("portable")


def test_an_unknown_kernel_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"'avx9'.*reference"):
        scan.choose("avx9")
    monkeypatch.setenv("OMENDB_KERNEL", "abacus")
    with pytest.raises(ValueError, match=r"'abacus'.*reference"):
        scan.choose()


@pytest.fixture
def openblas_threads() -> Iterator[Callable[[], int]]:
    extension = importlib.import_module("numpy._core._multiarray_umath")
    library = ctypes.CDLL(extension.__file__)
    getter = getattr(library, "scipy_openblas_get_num_threads64_", None)
    if getter is None:
        pytest.skip("numpy is not linked to its own OpenBLAS")
    before = getter()
    yield getter
    blas.use_threads(before)


def test_blas_is_held_to_the_threads_it_is_given(openblas_threads: Callable[[], int]) -> None:
    assert blas.use_threads(2)
    assert openblas_threads() == 2
    assert blas.use_threads(1)
    assert openblas_threads() == 1
