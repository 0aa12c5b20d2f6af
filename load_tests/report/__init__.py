"""A result of the load simulation as one HTML page and as PNGs.

    python -m load_tests.report RESULT.json [-o FOLDER]

``figures`` says what is plotted, as data; ``svg`` draws it into the ``page``, ``png`` into files
(matplotlib, in the extra ``load``). The page is one file: no script, nothing fetched.
"""
