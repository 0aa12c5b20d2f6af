"""What the protocol says, in plain Python: the judge of the engine, of search and live alike.

Written from PROTOCOL.md alone: no numpy arithmetic, nothing of the engine, loops over floats.
``window`` is a collection, ``numbers`` its float32 and the exact functions, ``expressions`` what
``rank`` computes, ``shaping`` the answer to a search in three steps: vector, order, selection.
"""

from .window import Oracle, Row

__all__ = ["Oracle", "Row"]
