"""The JavaScript client's types, held to a TypeScript program by ``tsc --strict``.

    python -m tests.torture.typed_client

TypeScript is installed into a directory of this run's own, out of npm's registry. What the program
says must be right; each line under ``@ts-expect-error`` must be wrong, else the compiler says so.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.project.pages import ROOT

from .generated_clients import run

USE: Final = """
import { connect, type Answer, type Gap, OmenError } from "./client.js";
import { type Cluster, cluster, evacuate, heal, moveOwner, watchCluster } from "./cluster.js";
import { restore, snapshot } from "./snapshots.js";

const db = await connect("ws://127.0.0.1:9/v1");
db.addEventListener("error", ({ detail }) => console.log(detail.code satisfies string));
db.addEventListener("identity", (event: Event) => console.log(event.type, db.identity?.tenant));
db.removeEventListener("error", (event: CustomEvent<OmenError>) => console.log(event.detail.retry));
// @ts-expect-error: what is wrong is an OmenError
db.addEventListener("error", (event: CustomEvent<number>) => console.log(event.detail + 1));
// @ts-expect-error: a state is said by the client, not by its event
db.addEventListener("state", (event) => console.log(event.detail));

const live = db.live("items", [1, 0], { k: 3 });
live.addEventListener("data", ({ detail }) => {
  const answer: Answer = detail;
  console.log(answer.version);
});
live.addEventListener("state", ({ detail }) => console.log(detail === "lost"));
// @ts-expect-error: there is no such state
live.addEventListener("state", ({ detail }) => console.log(detail === "away"));
// @ts-expect-error: an answer is no gap
live.addEventListener("data", ({ detail }: CustomEvent<Gap>) => console.log(detail.fromSeq));

const feed = db.feed("items");
feed.addEventListener("gap", ({ detail }) => console.log(detail.fromSeq, detail.reason));
feed.addEventListener("data", ({ detail }) => console.log(detail.rows.length), { once: true });
// @ts-expect-error: a gap has no rows
feed.addEventListener("gap", ({ detail }) => console.log(detail.rows));
const copy = await snapshot(db, "items", { timeoutMs: 1000 });
for await (const piece of copy) console.log(piece.byteLength, copy.description.version);
const to = { durability: "memory", onBytes: (bytes: number) => console.log(bytes) } as const;
const made = await restore(db, "again", copy.stream(), to);
console.log(made.rows, await restore(db, "again", new Blob([])));
// @ts-expect-error: a text is no bytes
await restore(db, "again", "text");

const there: Cluster = await cluster(db, { timeoutMs: 1000 });
for (const { owner, replicas, healing } of there.places) {
  console.log(owner?.length, replicas[0]?.state, healing === "due");
}
for await (const { nodes, nats, waiting } of watchCluster(db, { every: 100 })) {
  console.log(nodes[0]?.address?.length, nats?.[0]?.connected, waiting + 1);
}
const watch = watchCluster(db);
watch.addEventListener("data", ({ detail }) => console.log(detail.fresh satisfies boolean));
console.log((await moveOwner(db, "items", null))?.length);
console.log((await evacuate(db, "two", { state: "up" })) + 1);
console.log((await heal(db, "items")) + 1);
// @ts-expect-error: a collection waits, is due or lost
console.log(there.places[0]?.healing === "done");
// @ts-expect-error: it is about all of the cluster
watchCluster(db, "items");
// @ts-expect-error: a node is named
await evacuate(db);

// What has another name is an event as any other.
feed.addEventListener("mine", (event) => console.log(event.type));
"""
_COMPILER: Final = json.dumps(
    {
        "compilerOptions": {
            "strict": True,
            "target": "es2022",
            "lib": ["es2022", "dom"],
            "module": "nodenext",
            "types": [],
            "noEmit": True,
        },
        "files": ["use.ts"],
    }
)


def main() -> None:
    """Compile the program; and once more, with one line that must be refused."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for name in ("client.d.ts", "snapshots.d.ts", "cluster.d.ts"):
            shutil.copy(ROOT / "omendb_ws" / "web" / name, at)
        (at / "package.json").write_text('{"type": "module"}')
        (at / "tsconfig.json").write_text(_COMPILER)
        run("npm", "install", "--no-audit", "--no-fund", "typescript@5", at=at)
        (at / "use.ts").write_text(USE)
        run("npx", "tsc", at=at)
        (at / "use.ts").write_text(USE.replace('detail === "lost"', 'detail === "gone"'))
        said = run("npx", "tsc", at=at, must_fail=True)
        if "no overlap" not in said:
            raise SystemExit(f"a wrong state was let through: {said}")
    print("the client's types are as they are used")


if __name__ == "__main__":
    main()
