/** What you like: a vector, the mean of what you clicked, in which older clicks count for less; and
 * examples of what you want more and less of, which count until you take them back. */

const DECAY = 0.6;
/** A query takes 64 examples of each sort at most. */
const EXAMPLES = 60;

function unit(vector) {
  const length = Math.hypot(...vector);
  return vector.map((one) => one / length);
}

export class Interest {
  constructor(dim) {
    this.dim = dim;
    this.forget();
  }

  /** Begin anywhere: a random direction is as near to one section as to another. `clicked`, `more` and
   * `less` are names by id, the newest at the end. */
  forget() {
    this.clicked = new Map();
    this.more = new Map();
    this.less = new Map();
    this.vector = unit(Float32Array.from({ length: this.dim }, () => Math.random() - 0.5));
  }

  /** A row (`{id, vector, metadata}`) was clicked. The first click replaces the random direction. */
  click({ id, vector, metadata }) {
    const kept = this.clicked.size ? DECAY : 0;
    const clicked = unit(Float32Array.from(vector));
    this.vector = unit(clicked.map((one, place) => one + kept * this.vector[place]));
    // Again at the end, as the newest.
    this.clicked.delete(id);
    this.clicked.set(id, metadata.name);
  }

  /** `look` at a row, or want `more` of its kind (that is a look that stays), or `less`. */
  judge(row, verdict) {
    if (verdict !== "less") this.click(row);
    if (verdict !== "look") this[verdict].set(row.id, row.metadata.name);
  }

  takeBack(id) {
    this.more.delete(id);
    this.less.delete(id);
  }

  /** What a query is to be near to: the interest, and with it what there is more of, and away from what
   * there is less of. Rows with the ids of examples are left out of its answer. */
  target() {
    if (!this.more.size && !this.less.size) return { vector: this.vector };
    const newest = (names) => [...names.keys()].slice(-EXAMPLES);
    return { vector: null, positive: [this.vector, ...newest(this.more)], negative: newest(this.less) };
  }

  /** Ids of what is not recommended again. */
  seen() {
    return [...new Set([...this.clicked.keys(), ...this.less.keys()])];
  }
}
