/** Whole collections into a file, and out of one, for tokens that may. */

import { restore, snapshot } from "../snapshots.js";
import { bytes } from "./numbers.js";
import { isFiltered, may } from "./rights.js";

const mayRestore = (identity) =>
  !identity || identity.grants.some(({ rights, filter, stamp }) =>
    rights.includes("admin") && rights.includes("write") && filter === undefined && stamp === undefined);

/** Fills `section`; one thing at a time is under way. `changed()` is called when a collection is there. */
export class Copies {
  constructor(section, changed) {
    Object.assign(this, { section, changed, db: null, name: null, stopping: null });
    [this.form, this.bar, this.about, this.problem] =
      ["form", "progress", ".about", ".problem"].map((name) => section.querySelector(name));
    ({ save: this.save, file: this.file, as: this.as, make: this.make, stop: this.stop } = this.form.elements);
    this.making = section.querySelectorAll(".making");
    this.save.addEventListener("click", () => this.run((signal) => this.#save(signal)));
    this.file.addEventListener("change", () => this.#propose());
    this.stop.addEventListener("click", () => this.stopping?.abort());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run((signal) => this.#restore(signal));
    });
  }

  use(db) {
    this.db = db;
    this.show();
  }

  pick(name) {
    this.name = name;
    this.show();
  }

  show() {
    const { db, name } = this;
    const identity = db?.identity ?? null;
    const has = (right) => may(identity, right, name);
    const maySave = name !== null && has("admin") && has("read") && !isFiltered(identity, name);
    this.save.hidden = !maySave;
    this.save.textContent = `Save a snapshot of ${name}`;
    for (const one of this.making) one.hidden = !mayRestore(identity);
    this.make.hidden = !this.file.files.length || !mayRestore(identity);
    this.section.hidden = !db || (!maySave && !mayRestore(identity));
    const isBusy = this.stopping !== null;
    this.save.disabled = this.make.disabled = isBusy;
    this.bar.hidden = this.stop.hidden = !isBusy;
  }

  async run(work) {
    if (this.stopping) return;
    this.stopping = new AbortController();
    this.about.textContent = this.problem.textContent = "";
    this.bar.removeAttribute("value");
    this.show();
    try {
      this.about.textContent = await work(this.stopping.signal);
    } catch (error) {
      const isStopped = this.stopping.signal.aborted;
      this.about.textContent = isStopped ? "Stopped; nothing came of it." : "";
      this.problem.textContent = isStopped ? "" : error.message;
    } finally {
      this.stopping = null;
      this.show();
    }
  }

  async #save(signal) {
    const copy = await snapshot(this.db, this.name, { signal });
    const { collection, version, rows } = copy.description;
    const pieces = [];
    for await (const piece of copy) {
      signal.throwIfAborted();
      pieces.push(piece);
      this.about.textContent = `${collection}: ${bytes(copy.bytes)} so far`;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(pieces, { type: "application/octet-stream" }));
    link.download = `${collection}-${version}.snapshot`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    return `${collection} at version ${version}: ${rows} rows, ${bytes(copy.bytes)}, in ${link.download}`;
  }

  async #restore(signal) {
    const [file] = this.file.files;
    if (!file) throw new Error("Choose a file that holds a snapshot.");
    const onBytes = (done) => {
      this.bar.value = done / file.size;
      this.about.textContent = `${this.as.value}: ${bytes(done)} of ${bytes(file.size)}`;
    };
    const made = await restore(this.db, this.as.value, file, { signal, onBytes });
    this.changed();
    return `${made.collection}: restored, ${made.rows} rows at version ${made.version}`;
  }

  /** A file is called NAME-VERSION.snapshot as a rule. */
  #propose() {
    const called = this.file.files[0]?.name.match(/^(.+?)(-\d+)?\.snapshot$/);
    if (called && !this.as.value) this.as.value = called[1];
    this.show();
  }
}
