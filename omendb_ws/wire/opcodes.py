"""THE table of the protocol: ops, kinds of binary messages, limits, errors, rights, close codes.

Pure data, read by the codec, the server, the documentation and the tests (PROTOCOL sections 1, 2,
3, 5, 6, 7 and 9). A field, section or limit that is not in these tables does not exist: the codec
accepts and lays out exactly what stands here. Knows no bytes and no messages. Ops and their fields
are in ``op_table.py`` and ``field_types.py``, kinds in ``kinds.py``, limits in ``limits.py``; this
hands them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from omendb_core.model.errors import BY_CODE

from .field_types import JSON_TYPES as JSON_TYPES
from .field_types import MAX_TTL_SECONDS as MAX_TTL_SECONDS
from .field_types import Field as Field
from .field_types import FieldType as FieldType
from .kinds import ALIGNMENT as ALIGNMENT
from .kinds import COLUMN_DTYPES as COLUMN_DTYPES
from .kinds import FLAG_COLUMNS as FLAG_COLUMNS
from .kinds import FLAG_COMPARED as FLAG_COMPARED
from .kinds import FLAG_DUPLICATE as FLAG_DUPLICATE
from .kinds import FLAG_IDS as FLAG_IDS
from .kinds import FLAG_LAST as FLAG_LAST
from .kinds import FLAG_MATCH as FLAG_MATCH
from .kinds import FLAG_RANKS as FLAG_RANKS
from .kinds import FLAG_VECTORS as FLAG_VECTORS
from .kinds import HEADER as HEADER
from .kinds import HEADER_BYTES as HEADER_BYTES
from .kinds import HEADER_FIELDS as HEADER_FIELDS
from .kinds import KIND_NUMBERS as KIND_NUMBERS
from .kinds import KINDS as KINDS
from .kinds import LEAVE_REASONS as LEAVE_REASONS
from .kinds import MAGIC as MAGIC
from .kinds import PROTOCOL_BYTE as PROTOCOL_BYTE
from .kinds import Kind as Kind
from .kinds import Section as Section
from .limits import LIMITS as LIMITS
from .limits import MAX_COLUMNS as MAX_COLUMNS
from .limits import MAX_COUNTED as MAX_COUNTED
from .limits import MAX_EVERY_MS as MAX_EVERY_MS
from .limits import MAX_EXAMPLES as MAX_EXAMPLES
from .limits import MAX_NAME_LENGTH as MAX_NAME_LENGTH
from .limits import MAX_PRODUCER_BYTES as MAX_PRODUCER_BYTES
from .limits import MAX_STR_ID_BYTES as MAX_STR_ID_BYTES
from .limits import MAX_U32 as MAX_U32
from .limits import PUSH_BYTES as PUSH_BYTES
from .limits import Limit as Limit
from .limits import Limits as Limits
from .op_table import COMMON_FIELDS as COMMON_FIELDS
from .op_table import DESCRIPTION as DESCRIPTION
from .op_table import EXAMPLES as EXAMPLES
from .op_table import EXCLUDE as EXCLUDE
from .op_table import OPS as OPS
from .op_table import ORDERS as ORDERS
from .op_table import RIGHTS as RIGHTS
from .op_table import SELECTIONS as SELECTIONS
from .op_table import SERVER_STATS as SERVER_STATS
from .op_table import SUBSCRIPTION_KINDS as SUBSCRIPTION_KINDS
from .op_table import TRACEPARENT as TRACEPARENT
from .op_table import Op as Op
from .op_table import Right as Right
from .op_table import right_for as right_for

PROTOCOL: Final = "omendb.v1"
ERRORS: Final = BY_CODE

CLOSE_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1000: "normal",
        1002: "broken WebSocket",
        1007: "broken WebSocket: text that is not UTF-8",
        1009: "message over max_message_bytes, or in more than 4,096 fragments",
        1012: "server draining, reconnect",
        1013: "out of places or memory, reconnect later",
        4401: "not authenticated in time, wrong, or expired and not refreshed",
        4408: "the client has taken no byte for 30 s although some wait for it, or has begun a"
        " message and does not go on",
    }
)
