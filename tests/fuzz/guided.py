"""One target under atheris: ``python -m tests.fuzz.guided NAME SECONDS``.

What it has covered is kept in ``build/fuzz/NAME.corpus`` and goes on from there. The extra ``fuzz``
installs atheris; nothing else imports it.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["omendb_core", "omendb_ws"]):
    from .registry import TARGETS

from .driver import FOUND, keep

#: How often our own changes are taken, which know the format, instead of atheris's.
_OWN_SHARE = 0.5


def main(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process, with 0 if nothing was found."""
    target = TARGETS[name]
    corpus = FOUND / f"{name}.corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds()
    for seed, data in seeds.items():
        (corpus / f"seed-{seed}").write_bytes(data)
    others = list(seeds.values())

    def execute(data: bytes) -> None:
        try:
            target.run(data)
        except BaseException:
            print(f"found: {keep(name, data)}", file=sys.stderr)
            raise

    def mutate(data: bytes, most_bytes: int, seed: int) -> Any:
        chance = random.Random(seed)
        if chance.random() >= _OWN_SHARE:
            return atheris.Mutate(data, most_bytes)
        return target.mutate(data, others, target.words, chance)[:most_bytes]

    arguments = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-max_len={target.most_bytes}",
        f"-artifact_prefix={FOUND / name}-", "-timeout=120", "-rss_limit_mb=4096",
        "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    atheris.Setup(arguments, execute, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
