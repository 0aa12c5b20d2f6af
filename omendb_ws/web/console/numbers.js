/** Numbers as people read them. */

const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en");

export const short = (value) => (value == null ? "–" : SHORT.format(value));
export const whole = (value) => (value == null ? "–" : WHOLE.format(value));

export function bytes(value) {
  if (value == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value > 0 ? Math.min(4, Math.floor(Math.log2(value) / 10)) : 0;
  return `${Number((value / 1024 ** power).toPrecision(3))} ${units[power]}`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value < 120) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

export const ms = (value) => (value == null ? "–" : `${Number(value.toPrecision(2))} ms`);
