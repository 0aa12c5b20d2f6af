"""Exact top-k scans over a ring: kernels find candidates, ``score`` decides."""
