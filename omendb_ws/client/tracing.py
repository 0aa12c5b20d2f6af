"""Which trace the caller's own program is in, where it traces by OpenTelemetry.

Who has begun a span has loaded OpenTelemetry; nobody else's requests look any further.
"""

from __future__ import annotations

import sys


def current_traceparent() -> str | None:
    """``traceparent`` of the span that is current; None without one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
