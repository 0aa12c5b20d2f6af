"""Files of vectors: read into chunks of rows, and written from them. No sockets, no collections.

chunks.py
    the shapes that all formats share, and ``FileError``.
arrays.py
    ``.npy``, ``.fvecs``, ``.bvecs``: rows of a fixed size.
file_rows.py
    rows of one size in a file, read by copy where they lie.
npy.py
    the header of ``.npy``, read without running anything that stands in it, and its writer.
jsonl.py
    one JSON object a line.
arrow.py
    Parquet and Arrow IPC (the optional extra ``arrow``).
vecs.py
    the writers of ``.fvecs`` and ``.bvecs``.
formats.py
    which format a name means; opening any of them.
output.py
    a file that is there whole or not at all.

A row that cannot be used is no error here: it stands in its chunk's ``bad``, with its number and
why, and whoever reads decides. A file that cannot be read on raises FileError.
"""
