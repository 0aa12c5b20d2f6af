"""Makes the pages of ``docs/reference/`` from the code, and the links of the site.

Knows the tables of the code and nothing that runs. Not part of the package, nor of the site.
"""
