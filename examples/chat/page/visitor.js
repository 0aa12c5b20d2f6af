/** Who one is to the page's own backend: a name, and the pass that tokens are given for. */

async function post(path, body) {
  const reply = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const told = await reply.json();
  if (!reply.ok) throw new Error(told);
  return told;
}

export class Visitor {
  /** The pass stays in the memory of this page. */
  #pass;

  constructor(name, pass) {
    this.name = name;
    this.#pass = pass;
  }

  static async enter(name) {
    const { pass } = await post("/visitors", { name });
    return new Visitor(name, pass);
  }

  /** A fresh token: what the client asks for when it connects, and before the one that it has ends. */
  getToken = async () => (await post("/token", { pass: this.#pass })).token;
}
