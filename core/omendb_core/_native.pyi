"""Types of the C extension, which is not there where nothing could compile it (``native.py``)."""

from .types import F32, F64, I64

def features() -> list[str]:
    """Names of what the processor has, of that which a kernel can use."""

def lanes() -> list[str]:
    """Variants of the arithmetic of scores that this machine has, best first."""

def score_pairs(lanes: str, is_l2: bool, rows: F32, queries: F32, scores: F32) -> None: ...
def score_chosen(
    lanes: str, is_l2: bool, rows: F32, slots: I64, queries: F32, askers: I64, scores: F32
) -> None: ...
def norms(lanes: str, rows: F32, lengths: F64) -> None: ...
def first_too_long(lanes: str, rows: F32, most: float) -> int: ...
def normalise(lanes: str, rows: F32, least: float, most: float, out: F32) -> int: ...
