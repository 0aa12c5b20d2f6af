"""Who a connection acts as: a name for logs, a tenant, and its grants. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ..wire.rights import RIGHTS
from .grants import Grant, Scope, scope

#: The tenant of an open server's clients.
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class Principal:
    """``name`` for logs, ``tenant`` whose collections it sees, and what it may do with them.

    ``expires_at``: the Unix time, in seconds, after which it is nobody; None: never. ``source``:
    the key of its file or of its token (``kid``), by which it is known again after a reload.
    ``is_operator``: it may see the whole server.
    """

    name: str
    tenant: str
    grants: tuple[Grant, ...] = ()
    expires_at: float | None = None
    source: str = field(default="", compare=False, repr=False)
    is_operator: bool = False

    @classmethod
    def simple(
        cls, name: str, tenant: str, rights: Iterable[str], *, is_operator: bool = False
    ) -> Principal:
        """One with the same rights on every collection of its tenant."""
        return cls(name, tenant, (Grant(frozenset(rights)),), source=name, is_operator=is_operator)

    @property
    def rights(self) -> frozenset[str]:
        """The union of its rights, on whatever collection."""
        return frozenset(right for grant in self.grants for right in grant.rights)

    def may(self, right: str) -> bool:
        """Whether any grant holds ``right`` (one of ``RIGHTS``)."""
        return any(right in grant.rights for grant in self.grants)

    def may_everywhere(self, right: str) -> bool:
        """Whether ``right`` is held on every collection of the tenant, whole."""
        return any(
            right in grant.rights and grant.is_for_all and grant.filter is None
            for grant in self.grants
        )

    @property
    def sees_all_names(self) -> bool:
        """Whether it is told of every collection of the tenant."""
        return any(grant.is_for_all for grant in self.grants)

    @property
    def sees_all_rows(self) -> bool:
        """Whether something is granted to it on every row of the tenant."""
        return any(grant.is_for_all and grant.filter is None for grant in self.grants)

    @property
    def sees_numbers(self) -> bool:
        """Whether it may see the server's numbers: all of them, or its tenant's part."""
        return self.is_operator or self.may_everywhere("admin")

    def scope(self, right: str | None, collection: str) -> Scope | None:
        """What ``right``, None: any, reaches of a collection; None: it is forbidden."""
        return scope(self.grants, right, collection)

    def sees(self, collection: str) -> bool:
        """Whether any grant matches a collection: ``list`` shows those."""
        return any(grant.matches(collection) for grant in self.grants)


#: Everybody, on a server without authentication.
OPEN: Final = Principal.simple("open", DEFAULT_TENANT, RIGHTS, is_operator=True)
