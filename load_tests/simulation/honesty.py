"""What a reader of the figures must know before he believes them: was it the server, was it right?

Pure: from operations, resources and the oracle's findings to notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .results import Operation, Resources, Truth

#: A generator process that takes more of a core than this may itself be what was measured.
_BUSY_PERCENT: Final = 85.0
#: So many late sends do not matter for a p99.
_LATE_SHARE: Final = 0.01


def is_honest(operations: Sequence[Operation], resources: Resources) -> bool:
    """Whether the generator had CPU to spare, and sent in time what it could send."""
    return not _is_busy(resources) and not any(_is_late(one) for one in operations)


def _is_busy(resources: Resources) -> bool:
    return resources.generator_cpu_percent >= _BUSY_PERCENT * resources.generator_processes


def _is_late(operation: Operation) -> bool:
    return operation.generator_late_sends > _LATE_SHARE * operation.sent


def notes(operations: list[Operation], resources: Resources) -> list[str]:
    """What a reader of the figures must know."""
    found = []
    if _is_busy(resources):
        found.append(
            f"The generator took {resources.generator_cpu_percent:.0f}% of a core in "
            f"{resources.generator_processes} process(es): it may be what was measured."
        )
    for one in operations:
        if one.is_reached is False:
            found.append(
                f"{one.name}: the offered {one.offered_per_second:,.0f}/s were NOT reached; "
                f"{one.achieved_per_second:,.0f}/s were."
            )
        if one.sent and one.late_sends > _LATE_SHARE * one.sent:
            shares = [
                f"{100 * count / one.sent:.1f}%"
                for count in (one.late_sends, one.generator_late_sends)
            ]
            blame = " The generator may be what was measured." if _is_late(one) else ""
            found.append(
                f"{one.name}: {shares[0]} were sent over {one.late_ms:g} ms late, {shares[1]} "
                f"because the generator was, the others for want of an answer.{blame}"
            )
        if one.unanswered or one.unsent:
            found.append(
                f"{one.name}: {one.unanswered} unanswered and {one.unsent} unsent at the end "
                "count with the time they had waited by then."
            )
    return found


def doubts(what: str, judged: Truth | None) -> list[str]:
    if judged is None:
        return []
    if judged.mismatches:
        return [f"{judged.mismatches} {what} were WRONG."]
    if not judged.compared:
        return [f"No {what} could be compared with the oracle."]
    return []
