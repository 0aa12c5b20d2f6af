"""The engine of OmenDB-WS: an exact, sliding window over a stream of vectors.

Numpy, numexpr and an optional native kernel; no sockets, no event loop, no clock, no files,
no logging. Time enters as an argument, everything else is a function of the changes applied.
"""
