"""Scores, defined to the bit, and the threads of BLAS."""
