/** What you like, as a vector: a mean of what you clicked in which older clicks count for less. */

const DECAY = 0.6;

function unit(vector) {
  const length = Math.hypot(...vector);
  return vector.map((one) => one / length);
}

export class Interest {
  constructor(dim) {
    this.dim = dim;
    this.forget();
  }

  /** Begin anywhere: a random direction is as near to one section as to another. `clicked` are the
   * names of what was clicked, by id, the newest at the end. */
  forget() {
    this.clicked = new Map();
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
}
