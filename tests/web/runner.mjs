// Runs what comes in on stdin, a JSON line {"code"} each, and answers each by a JSON line.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

Object.assign(globalThis, await import(pathToFileURL(process.argv[2])));
const AsyncFunction = (async () => {}).constructor;

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { value: await new AsyncFunction(JSON.parse(line).code)() };
  } catch (error) {
    answer = { error: `${error?.stack ?? error}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit();
