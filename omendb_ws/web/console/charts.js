/** Charts of the server's statistics over the last minutes: one figure for each row of CHARTS. */

import { bytes, ms, short } from "./numbers.js";

const KEPT = 300;
const HEIGHT = 130;
const LEAST_SECONDS = 10;

/** title; how numbers are written; series as [label, colour, value of a push of `stats`]. */
const CHARTS = [
  ["changes a second", short, [
    ["adds", "--one", (stats) => stats.adds_per_s],
    ["evictions", "--three", (_, others) => others.evictions],
  ]],
  ["answers a second", short, [
    ["searches", "--one", (stats) => stats.searches_per_s],
    ["pushes", "--two", (stats) => stats.pushes_per_s],
  ]],
  ["search", ms, [
    ["p50", "--one", (stats) => stats.search_ms?.p50],
    ["p99", "--three", (stats) => stats.search_ms?.p99],
  ]],
  ["add, to its acknowledgement", ms, [
    ["p50", "--one", (stats) => stats.add_ms?.p50],
    ["p99", "--three", (stats) => stats.add_ms?.p99],
  ]],
  ["push, from the change", ms, [
    ["p50", "--one", (stats) => stats.push_ms?.p50],
    ["p99", "--three", (stats) => stats.push_ms?.p99],
  ]],
  ["readers", short, [
    ["connections", "--one", (stats) => stats.connections],
    ["subscriptions", "--two", (stats) => stats.subscriptions],
  ]],
  ["slow readers, a second", short, [
    ["merged pushes", "--three", (stats) => stats.merged_per_s],
    ["gaps", "--four", (stats) => stats.gaps_per_s],
  ]],
  ["memory", bytes, [["resident", "--one", (stats) => stats.rss_bytes]]],
  ["loop lag", ms, [
    ["lag", "--four", (stats) => stats.loop_lag_ms],
    ["wait of requests", "--two", (stats) => stats.queue_wait_ms],
  ]],
];

/** Steps of an axis of bytes: round as they are written. */
const BYTES = Array.from({ length: 50 }, (_, power) => 2 ** power);

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  constructor(parent, title, write, series) {
    this.write = write;
    this.series = series;
    this.data = [[], ...series.map(() => [])];
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    this.legend = series.map(([label, style]) => {
      const entry = document.createElement("i");
      entry.style.setProperty("--series", `var(${style})`);
      const value = document.createElement("b");
      entry.append(`${label} `, value);
      return [entry, value];
    });
    caption.append(name, ...this.legend.map(([entry]) => entry));
    this.box = document.createElement("div");
    this.box.className = "plot";
    this.figure.append(caption, this.box);
    parent.append(this.figure);
    this.build();
    // Its place is known once the others are there, and changes with theirs.
    new ResizeObserver(() => {
      const width = this.box.clientWidth;
      if (width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    }).observe(this.box);
  }

  build() {
    this.plot?.destroy();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    this.plot = new uPlot({
      width: Math.max(160, this.box.clientWidth), height: HEIGHT,
      legend: { show: false }, cursor: { show: false }, padding: [8, 4, 0, 0],
      scales: {
        x: { range: () => this.span() },
        y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.1] },
      },
      axes: [
        { ...axis, size: 24, space: 80, font: "11px system-ui",
          values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString()) },
        { ...axis, size: 62, space: 30, font: "11px system-ui",
          ...(this.write === bytes && { incrs: BYTES }),
          values: (_, ticks) => ticks.map((tick) => this.write(tick)) },
      ],
      series: [{}, ...this.series.map(([label, style]) => ({ label, stroke: colour(style), width: 1.5 }))],
    }, this.data, this.box);
  }

  /** Of the time line; left to itself a single point would have a day. */
  span() {
    const [times] = this.data;
    return times.length ? [Math.min(times[0], times.at(-1) - LEAST_SECONDS), times.at(-1)] : [null, null];
  }

  clear() {
    for (const one of this.data) one.length = 0;
    this.plot.setData(this.data);
  }

  push(at, stats, others) {
    const values = this.series.map(([, , read]) => read(stats, others) ?? null);
    // What a tenant is not told of is not shown.
    this.figure.hidden = !others.isWhole && values.every((value) => value === null);
    [at, ...values].forEach((value, place) => {
      this.data[place].push(value);
      if (this.data[place].length > KEPT) this.data[place].shift();
    });
    values.forEach((value, place) => {
      this.legend[place][1].textContent = value === null ? "–" : this.write(value);
    });
    this.plot.setData(this.data);
  }
}

/** Charts in `parent`; `push` each push of the server's statistics. */
export function charts(parent) {
  const all = CHARTS.map(([title, write, series]) => new Chart(parent, title, write, series));
  const again = () => all.forEach((chart) => chart.build());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  return {
    push: (stats, others) => all.forEach((chart) => chart.push(stats.at, stats, others)),
    clear: () => all.forEach((chart) => chart.clear()),
  };
}
