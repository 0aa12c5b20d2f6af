"""A soak in which everything comes and goes: does the server hold on to what is gone?

``work.py`` is what comes and goes, ``samples.py`` what the server's process holds, ``__main__.py``
runs both and judges: memory that does not grow, descriptors and threads that stay as many.
"""
