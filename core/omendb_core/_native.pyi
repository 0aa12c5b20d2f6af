"""Types of the C extension, which is not there where nothing could compile it (``native.py``)."""

def features() -> list[str]:
    """Names of what the processor has, of that which a kernel can use."""
