"""Types of the C extension, which is not there where nothing could compile it (``native.py``)."""

from ..model.types import F32, F64, I64, U8, U32, U64

def sources() -> str:
    """The digest (``sources.py``) of what it was compiled of; empty if nobody said it."""

def lanes() -> list[str]:
    """Variants of the arithmetic of scores that this machine has, best first."""

def score_pairs(lanes: str, is_l2: bool, rows: F32, queries: F32, scores: F32) -> None: ...
def score_chosen(
    lanes: str, is_l2: bool, rows: F32, slots: I64, queries: F32, askers: I64, scores: F32
) -> None: ...
def log2(lanes: str, x: F64, results: F64) -> None: ...
def log(lanes: str, x: F64, results: F64) -> None: ...
def exp(lanes: str, x: F64, results: F64) -> None: ...
def pow(lanes: str, x: F64, y: F64, results: F64) -> None: ...
def norms(lanes: str, rows: F32, lengths: F64) -> None: ...
def first_too_long(lanes: str, rows: F32, most: float) -> int: ...
def normalise(lanes: str, rows: F32, least: float, most: float, out: F32) -> int: ...
def ids_find(table: tuple[U64, U32, U64], ids: U64, slots: I64) -> None: ...
def ids_enter(table: tuple[U64, U32, U64], ids: U64, slots: I64, replaced: I64) -> int: ...
def ids_remove(table: tuple[U64, U32, U64], slots: I64) -> None: ...
def first_duplicate(ids: U64, salts: U64) -> int: ...
def append(
    lanes: str,
    ring: tuple[F32, F32, U64, I64],
    shadow: tuple[U8, F32, tuple[U8, F32] | None, F32, int] | None,
    table: tuple[U64, U32, U64] | None,
    first: int,
    time: int,
    rows: F32,
    ids: U64 | None,
) -> tuple[bytes, bytes]: ...
def set_bits(words: U64, slots: I64, passed: U8) -> None: ...
def kernels() -> list[str]:
    """Variants of the scan that this machine can run, best first."""

def shadow_write(
    codes: U8,
    factors: F32,
    nibbles: tuple[U8, F32] | None,
    centre: F32,
    slots: int,
    metric: int,
    first: int,
    rows: F32,
) -> None: ...
def top_k(
    kernel: str,
    lanes: str,
    codes: U8,
    factors: F32,
    nibbles: tuple[U8, F32] | None,
    centre: F32,
    metric: int,
    vectors: F32,
    last_seq: int,
    queries: F32,
    k: I64,
    min_scores: F32,
    masks: U64,
    mask_of: I64,
    counts: U32,
    slots: I64,
    scores: F32,
    decay: tuple[I64 | None, F64 | None, float, bool, F64 | None, F64, F64] | None,
    threads: int,
) -> tuple[int, int]: ...
def dismiss_helpers() -> int:
    """Have the threads that help with scans end, and say how many there were."""

def decay_weights(
    lanes: str,
    integers: I64 | None,
    numbers: F64 | None,
    per_second: float,
    half_life: float,
    at: float,
    slots: I64,
    weights: F32,
) -> None: ...
def score_bounds(
    kernel: str,
    codes: U8,
    factors: F32,
    centre: F32,
    slots: int,
    metric: int,
    queries: F32,
    first: int,
    lower: F32,
    upper: F32,
) -> None: ...
def rows_reaching(
    kernel: str,
    codes: U8,
    factors: F32,
    centre: F32,
    slots: int,
    metric: int,
    queries: F32,
    first: int,
    block_rows: int,
    floors: F32,
    mask: U64,
    counts: I64,
    found: I64,
) -> None: ...
def take_apart(
    lanes: str,
    is_l2: bool,
    vectors: F32,
    slots: I64,
    groups: tuple[I64, I64, int] | None,
    limit: float,
    taken: I64,
    held: int,
    known: int,
    places: I64,
) -> int: ...
def take_marginal(
    lanes: str,
    is_l2: bool,
    vectors: F32,
    slots: I64,
    relevance: F64,
    redundancy: F64,
    compared: I64,
    weight: float,
    start: int,
    stop: int,
    places: I64,
) -> None: ...
def pairs_above(
    kernel: str,
    lanes: str,
    shadow: tuple[U8, F32, F32, int, int],
    queries: F32,
    floors: F32,
    most: I64,
    rows: F32,
) -> tuple[bytes, bytes, bytes, bytes]: ...
def lists_insert(
    keys: U64 | F64,
    is_ordered: bool,
    width: int,
    rows: I64,
    coming: U64 | F64,
    offsets: U64,
    counts: I64,
    oldest: U64,
    full: I64,
) -> int: ...
def lists_publish(
    keys: U64 | F64,
    is_ordered: bool,
    width: int,
    rows: I64,
    k: I64,
    published: U64 | F64,
    most_k: int,
    changed: U8,
) -> None: ...
