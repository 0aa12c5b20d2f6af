"""What one heavy connection does to another's searches: the longest that they wait.

    python -m load_tests.neighbours [NAME …] [--seconds 4] [--set neighbour.rows=100]

A scenario is a file of ``load_tests/scenarios/neighbours/``: a window of the neighbour's, and what
it asks for again and again. Each has a server of its own, once with both connections of one tenant,
and once with a tenant each. A process is the neighbour; this one searches a small window of its own
by a vector at a time, every few milliseconds, and what is printed is how long that took.

The reader is not the simulation's: that has one window and one token, and judges every answer of
requests that come at a rate. Here there are two of both, and the heavy side does what nobody
measures, of kinds that a load has none of (JSON of a million lists, a flood of pings).
"""
