"""Load from Locust, to copy: one user is one connection that searches, and adds now and then.

    pip install locust
    locust -f load_tests/locustfile.py --headless -u 20 -r 5 -t 30s -H ws://127.0.0.1:8765/v1

Needs a running server (``omendb-ws serve``). Mind what Locust measures: each user waits for an
answer before it asks again, and the time that it waited too long is in no figure. For latencies
from the intended time of sending, see ``load_tests/simulation``.
"""

import json
import random
import time
from typing import Any

from locust import User, constant_throughput, task
from websockets.sync.client import connect

DIM, CAPACITY, ROWS_AN_ADD = 64, 10_000, 50
COLLECTION = "locust"


def vector() -> list[float]:
    return [round(random.gauss(0, 1), 4) for _ in range(DIM)]


class WindowUser(User):  # type: ignore[misc]
    """Nine searches to one add, ten a second."""

    wait_time = constant_throughput(10)

    def on_start(self) -> None:
        self.last_id = 0
        self.socket = connect(self.host, compression=None, max_size=None)
        json.loads(self.socket.recv())  # the server speaks first
        self.ask(
            "create", collection=COLLECTION, dim=DIM, capacity=CAPACITY, ids="auto", if_exists="ok"
        )
        self.add()

    def on_stop(self) -> None:
        self.socket.close()

    @task(9)
    def search(self) -> None:
        self.ask("search", collection=COLLECTION, vector=vector(), k=10)

    @task(1)
    def add(self) -> None:
        rows = [{"vector": vector()} for _ in range(ROWS_AN_ADD)]
        self.ask("add", collection=COLLECTION, rows=rows)

    def ask(self, op: str, **fields: Any) -> None:
        """Send one request, wait for its answer, and tell Locust of both."""
        self.last_id += 1
        request = json.dumps({"id": self.last_id, "op": op, **fields})
        began = time.perf_counter()
        length, failure = 0, None
        try:
            self.socket.send(request)
            reply = self.socket.recv()
            length = len(reply)
            error = json.loads(reply).get("error")
            if error:
                failure = RuntimeError(f"{error['code']}: {error['message']}")
        except Exception as lost:
            failure = lost
        self.environment.events.request.fire(
            request_type="omendb", name=op, response_time=(time.perf_counter() - began) * 1e3,
            response_length=length, exception=failure, context={},
        )  # fmt: skip
