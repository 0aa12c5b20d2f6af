/** The side panel: what happened in the last second, and how long moves took. */

const SECOND_MS = 1000;
const REMEMBERED = 100;

/** How often something happened in the last second. */
class Rate {
  constructor() {
    this.times = [];
  }
  happened() {
    this.times.push(performance.now());
  }
  get perSecond() {
    const since = performance.now() - SECOND_MS;
    this.times = this.times.filter((time) => time >= since);
    return this.times.length;
  }
}

export class Figures {
  constructor(section) {
    this.section = section;
    this.pushes = new Rate();
    this.moves = new Rate();
    this.roundTrips = [];
    this.last = null;
    setInterval(() => this.show(), SECOND_MS / 4);
  }

  pushed() {
    this.pushes.happened();
  }

  moved(ms) {
    this.moves.happened();
    this.roundTrips.push(ms);
    if (this.roundTrips.length > REMEMBERED) this.roundTrips.shift();
  }

  /** What the server says of the window. */
  window({ rows, last_seq: lastSeq, at }) {
    this.set("rows", rows.toLocaleString());
    if (this.last && at > this.last.at) {
      const rate = (lastSeq - this.last.lastSeq) / (at - this.last.at); // `at` is in seconds
      this.set("adds", `${Math.round(rate)}/s`);
    }
    this.last = { lastSeq, at };
  }

  show() {
    const sorted = [...this.roundTrips].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)];
    this.set("moves", `${this.moves.perSecond}/s`);
    this.set("pushes", `${this.pushes.perSecond}/s`);
    this.set("round-trip", median === undefined ? "–" : `${median.toFixed(1)} ms`);
  }

  set(name, text) {
    this.section.querySelector(`#${name}`).textContent = text;
  }
}
