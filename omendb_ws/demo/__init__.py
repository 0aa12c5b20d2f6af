"""The demo: real handwritten digits through a real server, shown as they pass.

``digits`` is the data, ``workload`` what streams and asks, ``figures`` what is known of it at a
moment, ``pictures`` and ``view`` how that looks, ``run`` puts them together. Only a client of the
server as any other: nothing here reaches past ``omendb_ws.connect``, but for starting the server.
"""
