// A program of 0.1: node client.mjs CLIENT_JS URL. It says as one JSON object what it saw.
import { pathToFileURL } from "node:url";

const { connect } = await import(pathToFileURL(process.argv[2]));
const db = await connect(process.argv[3]);
await db.create("scripts", { dim: 2, capacity: 4 });
await db.add("scripts", [[1, 0], [0, 1]], { ids: [1, 2], metadata: [{ n: 1 }, { n: 2 }] });
const seen = {};
const answer = await db.search("scripts", [0, 1], { k: 1, include: ["metadata"] });
seen.search = [...answer].map(({ id, metadata }) => [Number(id), metadata]);
seen.count = await db.count("scripts");
try {
  await db.search("absent", [0, 1]);
} catch (error) {
  seen.error = error.code;
}
await db.close();
process.stdout.write(JSON.stringify(seen));
process.exit();
