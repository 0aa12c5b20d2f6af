"""The load simulation: scenarios in, one result out, nothing flattering in between.

    python -m load_tests.simulation run search
    python -m load_tests.simulation sweep search --rates 500,1000,2000
    python -m load_tests.simulation list

``scenario`` says what is done, ``coordinator`` runs it in ``worker`` processes, ``results`` is what
comes out and what every report reads.
"""
