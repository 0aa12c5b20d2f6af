/** A digit of each kind as strokes in a square of side 1: `samples[digit]` is a list of strokes. */

/** Points on an ellipse, from one angle to another in degrees (0: right, 90: down). */
function arc(x, y, width, height, from, to) {
  const steps = Math.ceil(Math.abs(to - from) / 12);
  return Array.from({ length: steps + 1 }, (_, step) => {
    const angle = ((from + ((to - from) * step) / steps) * Math.PI) / 180;
    return [x + width * Math.cos(angle), y + height * Math.sin(angle)];
  });
}

/** Points on straight lines through those given. */
function line(...corners) {
  return corners.flatMap(([x, y], at) => {
    if (at === 0) return [[x, y]];
    const [fromX, fromY] = corners[at - 1];
    return [0.25, 0.5, 0.75, 1].map((part) => [fromX + (x - fromX) * part, fromY + (y - fromY) * part]);
  });
}

export const samples = [
  [arc(0.5, 0.5, 0.22, 0.35, -90, -450)],
  [line([0.38, 0.3], [0.54, 0.15], [0.54, 0.85])],
  [[...arc(0.5, 0.33, 0.2, 0.18, -170, 40), ...line([0.62, 0.48], [0.3, 0.85], [0.72, 0.85])]],
  [[...arc(0.47, 0.32, 0.2, 0.17, -160, 90), ...arc(0.47, 0.67, 0.23, 0.18, -90, 160)]],
  [line([0.5, 0.15], [0.28, 0.6], [0.74, 0.6]), line([0.6, 0.42], [0.55, 0.85])],
  [line([0.68, 0.15], [0.36, 0.15], [0.34, 0.46]), arc(0.48, 0.65, 0.2, 0.2, -140, 140)],
  [[...line([0.58, 0.15], [0.4, 0.4]), ...arc(0.5, 0.67, 0.18, 0.18, 200, -160)]],
  [line([0.3, 0.17], [0.7, 0.17], [0.46, 0.85]), line([0.38, 0.5], [0.7, 0.5])],
  [[...arc(0.5, 0.33, 0.16, 0.18, 90, -270), ...arc(0.5, 0.68, 0.18, 0.17, -90, 270)]],
  [[...arc(0.5, 0.34, 0.18, 0.19, 20, -340), ...line([0.67, 0.4], [0.66, 0.7]), ...arc(0.48, 0.68, 0.18, 0.17, 0, 140)]],
];
