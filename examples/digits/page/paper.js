/**
 * What is drawn on: strokes in, an image as the data has it out. The digits that stream by were
 * scaled to fill 32 x 32 pixels and counted in blocks of 4 x 4; so is the drawing, as lines, so that
 * its pen is as thick as theirs however large it was drawn.
 */

export const SIDE = 8;
const BLOCK = 4;
const FINE = SIDE * BLOCK;
const FULL_INK = 16;
/** Thickness of a line, of `FINE`: about that of the data's. */
const PEN = 5;
/** Widest that a drawing may become, of `FINE`; narrower ones stand in the middle. */
const WIDEST = 26;

/** Strokes (lists of `[x, y]`) as 64 numbers, 0 … 16, row by row; null without a stroke. */
export function toVector(strokes, context) {
  const points = strokes.flat();
  if (!points.length) return null;
  const [left, top] = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
  const [right, bottom] = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
  const scale = Math.min((FINE - PEN) / (bottom - top || 1), (WIDEST - PEN) / (right - left || 1));
  const place = ([x, y]) => [
    FINE / 2 + (x - (left + right) / 2) * scale,
    FINE / 2 + (y - (top + bottom) / 2) * scale,
  ];
  context.clearRect(0, 0, FINE, FINE);
  draw(context, strokes.map((stroke) => stroke.map(place)), PEN);
  return counted(context.getImageData(0, 0, FINE, FINE).data);
}

/** Ink in each block, from the alpha of RGBA pixels. */
function counted(pixels) {
  const vector = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < FINE; y++) {
    for (let x = 0; x < FINE; x++) {
      const block = Math.floor(y / BLOCK) * SIDE + Math.floor(x / BLOCK);
      vector[block] += (pixels[4 * (y * FINE + x) + 3] / 255 / BLOCK ** 2) * FULL_INK;
    }
  }
  return vector;
}

function draw(context, strokes, pen) {
  Object.assign(context, { lineWidth: pen, lineCap: "round", lineJoin: "round" });
  for (const [first, ...others] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    // A line of no length is not drawn: a dot needs a little.
    context.lineTo(first[0] + 0.01, first[1]);
    for (const point of others) context.lineTo(...point);
    context.stroke();
  }
}

/** The canvas. `changed(vector)` is called for each piece of a stroke, with null when cleared. */
export class Paper {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    const fine = Object.assign(document.createElement("canvas"), { width: FINE, height: FINE });
    this.fine = fine.getContext("2d", { willReadFrequently: true });
    this.changed = changed;
    this.strokes = [];
    this.pointer = null;
    this.replayed = 0;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.up(event));
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
  }

  down(event) {
    if (this.pointer !== null || event.button) return;
    this.replayed += 1;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([]);
    this.extend([event]);
  }

  moved(event) {
    if (event.pointerId !== this.pointer) return;
    const pieces = event.getCoalescedEvents();
    this.extend(pieces.length ? pieces : [event]);
  }

  up(event) {
    if (event.pointerId === this.pointer) this.pointer = null;
  }

  extend(events) {
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / width;
    this.strokes.at(-1).push(...events.map((one) => [(one.clientX - left) * scale, (one.clientY - top) * scale]));
    this.update();
  }

  clear() {
    this.replayed += 1;
    this.pointer = null;
    this.strokes = [];
    this.update();
  }

  /** Draw strokes (of a square of side 1) as a hand would, in `ms`. */
  async replay(strokes, ms) {
    this.clear();
    const turn = this.replayed;
    const { width } = this.canvas;
    const points = strokes.flatMap((stroke) => stroke.map(([x, y], at) => [x * width, y * width, at === 0]));
    const began = performance.now();
    for (let done = 0; done < points.length; ) {
      const now = await new Promise(requestAnimationFrame);
      if (turn !== this.replayed) return;
      const due = Math.min(points.length, Math.ceil(((now - began) / ms) * points.length));
      if (due <= done) continue;
      for (const [x, y, isFirst] of points.slice(done, due)) {
        if (isFirst) this.strokes.push([]);
        this.strokes.at(-1).push([x, y]);
      }
      done = due;
      this.update();
    }
  }

  update() {
    this.show();
    this.changed(toVector(this.strokes, this.fine));
  }

  show() {
    const { canvas, context } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = getComputedStyle(canvas).color;
    draw(context, this.strokes, canvas.width / 14);
  }
}
