"""From files into collections, and back: between ``files/`` and the asyncio client.

usable.py
    which vectors a window takes, said row by row before they are sent.
target.py
    which collection: one that is there, or one that the file says how to make.
cutting.py
    chunks of a file into numbered batches: the same ones each time the file is read.
naming.py
    the producer's name that makes a load resumable.
sending.py
    batches to the server, several under way, again where need be.
loading.py
    all of a load: what was acknowledged before, then the rest.
dumping.py
    the rows of a collection at one version, to a writer.

They print nothing and know no terminal: what happens is told to an observer.
"""
