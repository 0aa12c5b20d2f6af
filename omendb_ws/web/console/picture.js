/**
 * The map of the window: points as the server places them, the query and its answer on top. By mouse a
 * point is clicked; by keyboard arrows go from one to the next in their direction, Enter picks it.
 */

const FRESH_MS = 1500;
const EDGE = 14;
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Draws in `section`. `pick(id)` is called with the row that was chosen. */
export class Picture {
  constructor(section, pick) {
    this.canvas = section.querySelector("canvas");
    this.about = section.querySelector("#map-about");
    this.where = section.querySelector("#map-at");
    this.pick = pick;
    /** The point that the keyboard is at. */
    this.at = null;
    this.vector = null;
    this.hits = [];
    this.born = new Map();
    this.map = null;
    this.canvas.addEventListener("click", (event) => this.near(event, (point) => pick(point.id)));
    this.canvas.addEventListener("mousemove", (event) =>
      this.near(event, (point) => { this.canvas.title = `id ${point.id}, seq ${point.seq}`; }));
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show the window of `collection`, or nothing. */
  watch(db, collection) {
    this.map?.close();
    this.map = null;
    this.born.clear();
    this.plane = null;
    this.goTo(null);
    this.highlight(null, []);
    this.about.textContent = collection ? "Waiting for rows." : "Pick a collection.";
    this.canvas.setAttribute("aria-label", collection ? `Map of the window of ${collection}` : "Map of the window");
    if (collection === null) return;
    const map = (this.map = db.map(collection, { every: 500 }));
    map.addEventListener("data", ({ detail }) => {
      const now = performance.now();
      this.plane = detail.plane ?? this.plane;
      for (const row of detail.rows) this.born.set(row.seq, now);
      for (const seq of this.born.keys()) if (!map.points.has(seq)) this.born.delete(seq);
      this.draw();
    });
    map.addEventListener("state", () => {
      if (map.error) this.about.textContent = map.error.message;
    });
  }

  /** The query's vector (or null) and the rows of its answer, with their vectors. */
  highlight(vector, rows) {
    this.vector = vector;
    this.hits = rows;
    this.draw();
  }

  /** Where a vector lies in the picture (PROTOCOL section 6, map). */
  locate(vector) {
    const { origin, axes, offset } = this.plane;
    const along = (axis) => axis.reduce((sum, one, place) => sum + one * (vector[place] - origin[place]), 0);
    return { x: along(axes[0]) + offset[0], y: along(axes[1]) + offset[1] };
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  /** From the points' coordinates to the canvas's, the same scale both ways. */
  fit(points, width, height) {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const { x, y } of points) {
      left = Math.min(left, x); right = Math.max(right, x);
      top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
    const scale = Math.min((width - 2 * EDGE) / (right - left || 1), (height - 2 * EDGE) / (bottom - top || 1));
    const [middleX, middleY] = [(left + right) / 2, (top + bottom) / 2];
    return ({ x, y }) => [width / 2 + (x - middleX) * scale, height / 2 - (y - middleY) * scale];
  }

  paint() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.placed = [];
    if (!this.map?.points.size) {
      if (this.plane) this.about.textContent = "The window is empty.";
      return;
    }
    const hits = this.plane ? this.hits.map((row) => ({ ...row, ...this.locate(row.vector) })) : [];
    const points = [...this.map.points.values()];
    const place = this.fit([...points, ...hits], width, height);
    const hasFresh = this.dots(context, place, points, hits);
    if (this.plane && this.vector) this.cross(context, place(this.locate(this.vector)));
    this.ring(context);
    this.about.textContent = `${points.length} rows of the window, along its principal axes; new ones`
      + " are green, the answer's orange around the query. Click one, or go there by arrow keys and"
      + " press Enter, to ask for its neighbours.";
    if (hasFresh) setTimeout(() => this.draw(), FRESH_MS / 2);
  }

  /** A dot for each point, those of hits on top; whether some are new. */
  dots(context, place, points, hits) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    const now = performance.now();
    let hasFresh = false;
    const dot = (point, radius) => {
      const at = place(point);
      this.placed.push([at, point]);
      context.beginPath();
      context.arc(...at, radius, 0, 2 * Math.PI);
      context.fill();
    };
    for (const point of points) {
      const isFresh = now - this.born.get(point.seq) < FRESH_MS;
      hasFresh ||= isFresh;
      context.fillStyle = colour(isFresh ? "--new" : "--point");
      dot(point, isFresh ? 3 : 2);
    }
    context.fillStyle = context.strokeStyle = colour("--hit");
    for (const hit of hits) dot(hit, 4);
    return hasFresh;
  }

  /** Around the point of the keyboard, as long as it is there. */
  ring(context) {
    const found = this.at && this.placed.find(([, point]) => point.seq === this.at.seq);
    if (!found) return void (this.at && this.goTo(null));
    context.lineWidth = 2;
    context.beginPath();
    context.arc(...found[0], 8, 0, 2 * Math.PI);
    context.stroke();
  }

  goTo(point) {
    this.at = point;
    this.where.textContent = point ? `id ${point.id}, seq ${point.seq}` : "";
    this.draw();
  }

  pressed(event) {
    const step = STEPS[event.key];
    if (step) this.goTo(this.next(step) ?? this.at);
    else if (event.key === "Escape") this.goTo(null);
    else if ((event.key === "Enter" || event.key === " ") && this.at) this.pick(this.at.id);
    else return;
    event.preventDefault();
  }

  /** The nearest in a direction, straight ahead rather than aside; at first the one in the middle. */
  next([right, down]) {
    const { clientWidth, clientHeight } = this.canvas;
    const from = this.at && this.placed.find(([, point]) => point.seq === this.at.seq);
    const [x, y] = from?.[0] ?? [clientWidth / 2, clientHeight / 2];
    let best = null;
    for (const [[left, top], point] of this.placed ?? []) {
      const ahead = (left - x) * right + (top - y) * down;
      const aside = Math.abs((left - x) * down + (top - y) * right);
      if (from && ahead <= 0.5) continue;
      const distance = from ? ahead + 2 * aside : Math.hypot(left - x, top - y);
      if (distance < (best?.distance ?? Infinity)) best = { distance, point };
    }
    return best?.point;
  }

  cross(context, [x, y]) {
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x - 9, y);
    context.lineTo(x + 9, y);
    context.moveTo(x, y - 9);
    context.lineTo(x, y + 9);
    context.stroke();
  }

  near(event, found) {
    const [x, y] = [event.offsetX, event.offsetY];
    let best = null;
    for (const [[left, top], point] of this.placed ?? []) {
      const distance = Math.hypot(left - x, top - y);
      if (distance < (best?.distance ?? 12)) best = { distance, point };
    }
    if (best) found(best.point);
  }
}
