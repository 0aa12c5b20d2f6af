"""The memory that rows bring: refused beyond a quota or a budget, set aside once admitted.

``share`` is the window's part of a budget. It holds what the window takes now and what is on its
way (``Pending``), so that a change which was admitted always has room when it is applied.
"""

from __future__ import annotations

from collections.abc import Callable

from ..model.budget import Share
from ..model.change import NotCaughtUp
from ..model.errors import Quota
from ..model.packed import PackedPayloads
from ..model.types import WindowLimits
from ..state import WindowState
from .admitted import Admitted
from .pending import NOTHING, Coming, Pending


class Quotas:
    """What is refused for want of memory, and what is set aside for what was not."""

    def __init__(
        self,
        state: WindowState,
        limits: WindowLimits,
        admitted: Admitted,
        pending: Pending,
        share: Share,
    ) -> None:
        self._state = state
        self._limits = limits
        self._admitted = admitted
        self._pending = pending
        self._share = share

    @property
    def taken_bytes(self) -> int:
        """Bytes that rows and producers take now, and what is reserved for rows."""
        return self._state.taken_bytes + self._admitted.producers.nbytes

    def coming(self, payloads: PackedPayloads | None, text_bytes: int) -> Coming:
        """What payloads, and texts of so many bytes, bring with them."""
        if payloads is None:
            return Coming(text_bytes, text_bytes) if text_bytes else NOTHING
        growth = self._state.payloads.growth(len(payloads.data), len(payloads))
        return Coming(len(payloads.data) + text_bytes, growth + text_bytes)

    def refuse_beyond_quotas(self, coming: Coming, going: Callable[[], int]) -> None:
        """Quota if what comes does not fit once payloads of ``going`` bytes have left; NotCaughtUp.

        Its memory is set aside then. Where nothing comes there is nothing to ask.
        """
        self._refuse_beyond_payload_quota(coming.payload, going)
        self._take(coming, going)

    def _refuse_beyond_payload_quota(self, coming: int, going: Callable[[], int]) -> None:
        most, held = self._limits.max_payload_bytes, self._state.payload_bytes
        if held + self._pending.coming.payload + coming <= most:
            return
        if self._state.version != self._admitted.version:
            raise NotCaughtUp
        growth = coming - going()
        if growth > 0 and held + growth > most:
            raise Quota(
                f"metadata and ids: {held} bytes held and {growth} more are over "
                f"max_payload_bytes ({most})"
            )

    def _take(self, coming: Coming, going: Callable[[], int]) -> None:
        what = "metadata, ids and texts of these rows take"
        wanted_bytes = self._pending.coming.taken + coming.taken
        try:
            self._share.resize(self.taken_bytes + wanted_bytes, what=what)
        except Quota:
            if self._state.version != self._admitted.version:
                raise NotCaughtUp from None
            self._state.payloads.compact()
            # A stream goes on where as much leaves as comes.
            gone = going()
            growth = coming.taken - gone if coming.payload > gone else 0
            self._share.resize(self.taken_bytes + growth, what=what)

    def account(self) -> None:
        """Bring ``share`` to what is held now, and is on its way."""
        self._share.settle(self.taken_bytes + self._pending.coming.taken)

    def refuse_beyond_budget(self) -> None:
        """Quota if more is taken than the whole budget has, and nothing here can be let go of.

        For a replay, whose changes were admitted by another process: a part of the budget that has
        become smaller since takes nobody's rows away.
        """
        budget = self._share.budget.whole
        if budget.is_exceeded:
            self._state.payloads.compact()
            self.account()
            budget.refuse_excess("metadata, ids and texts of this window take")
