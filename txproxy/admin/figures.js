// What the dashboard works out of reports: differences between counters, percentiles, what is kept to be drawn.
// Nothing in this file touches the document.
"use strict";

const CLASSES = ["2xx", "3xx", "4xx", "5xx", "other"];
const KEPT_S = 300;
/** Percentiles are those of this long: of one second alone they would jump about where few requests come. */
const WINDOW_S = 10;
/** Upper ends of buckets of latency, as txproxy/observe/histogram.py has them; what took longer is in one more. */
const BOUNDS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60];
/** Two reports further apart than this have a gap between them: the tab was hidden, or the proxy away. */
const GAP_S = 8;

/** Return [[last label, value]] of all numbers of a name; such a number is called "name|label|label". */
function numbersOf(numbers, name) {
  return Object.entries(numbers)
    .filter(([key]) => key.startsWith(name + "|"))
    .map(([key, value]) => [key.slice(key.lastIndexOf("|") + 1), value]);
}

/** Return how many requests have ended, by class of status. */
function requestsByClass(numbers) {
  const counts = Object.fromEntries(CLASSES.map(name => [name, 0]));
  for (const [status, value] of numbersOf(numbers, "route|status")) {
    const name = status.length === 3 ? status[0] + "xx" : "other";
    counts[name in counts ? name : "other"] += value;
  }
  return counts;
}

/** Return how long requests took, over all routes: how many are in each bucket. */
function latencyOf(numbers) {
  const buckets = new Array(BOUNDS_S.length + 1).fill(0);
  for (const [index, value] of numbersOf(numbers, "route|seconds")) if (index in buckets) buckets[index] += value;
  return buckets;
}

/**
 * Return the value in seconds below which a part of a histogram lies; null if it is empty.
 * Within a bucket values are taken to be spread evenly. Beyond the last bound nothing is known but that bound.
 */
function percentile(buckets, part) {
  let left = part * buckets.reduce((sum, count) => sum + count, 0);
  if (!(left > 0)) return null;
  for (let index = 0; index < BOUNDS_S.length; index++) {
    const lower = index ? BOUNDS_S[index - 1] : 0;
    if (buckets[index] >= left) return lower + (BOUNDS_S[index] - lower) * (left / buckets[index]);
    left -= buckets[index];
  }
  return BOUNDS_S.at(-1);
}

/** The last minutes: a point for each report. */
class History {
  constructor() {
    this.points = [];
    this.origin = null;
  }

  /** Take a report; return the point that was made of it. */
  add(report) {
    // A proxy that was started anew counts from 0.
    if (this.origin !== report.started_at) this.points = [];
    this.origin = report.started_at;
    const point = {
      at: report.now,
      classes: requestsByClass(report.numbers),
      latency: latencyOf(report.numbers),
      rates: null,
      percentiles: null,
    };
    const last = this.points.at(-1);
    if (last && last.at >= point.at) return last;
    if (last && point.at - last.at <= GAP_S) {
      point.rates = this.ratesBetween(last, point);
      point.percentiles = this.percentilesBetween(this.before(point.at - WINDOW_S), point);
    }
    this.points.push(point);
    while (this.points[0].at < point.at - KEPT_S - WINDOW_S) this.points.shift();
    return point;
  }

  /** Return the youngest point that is as old as that, and no gap between it and now; or the oldest after the gap. */
  before(at) {
    let found = this.points.at(-1);
    for (let index = this.points.length - 1; index >= 0; index--) {
      const point = this.points[index];
      if (found.at - point.at > GAP_S) break;
      found = point;
      if (point.at <= at) break;
    }
    return found;
  }

  /** Return requests per second by class over the last seconds; null if that is not known. */
  ratesOver(seconds) {
    const last = this.points.at(-1);
    if (!last || !last.rates) return null;
    return this.ratesBetween(this.before(last.at - seconds), last);
  }

  ratesBetween(before, after) {
    const rates = {};
    for (const name of CLASSES) {
      rates[name] = (after.classes[name] - before.classes[name]) / (after.at - before.at);
      if (!(rates[name] >= 0)) return null;
    }
    return rates;
  }

  /** Return p50, p90 and p99 of what came between two points; null if a count fell: they cannot be compared then. */
  percentilesBetween(before, after) {
    const buckets = after.latency.map((count, index) => count - before.latency[index]);
    return buckets.some(count => count < 0) ? null : [0.5, 0.9, 0.99].map(part => percentile(buckets, part));
  }
}

const total = rates => CLASSES.reduce((sum, name) => sum + rates[name], 0);

// Words for numbers. Each is short enough for a phone.

function shortNumber(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 999_950) return (value / 1e6).toFixed(1) + " M";
  if (size >= 9_999.5) return (value / 1e3).toFixed(1) + " k";
  if (size >= 99.95 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(1);
}

function bytesInWords(value) {
  if (typeof value !== "number") return "–";
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return `${value >= 99.95 || unit === "B" ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

/** Return seconds in the unit that suits them, with two or three digits: latencies. */
function secondsInWords(value) {
  if (value === null || value === undefined) return "–";
  const [size, unit] = value < 0.000995 ? [value * 1e6, "µs"] : value < 0.995 ? [value * 1e3, "ms"] : [value, "s"];
  return `${Number(size.toFixed(size < 9.95 ? 1 : 0))} ${unit}`;
}

/** Return seconds in whole units: uptimes. */
function durationInWords(value) {
  const seconds = Math.max(0, Math.floor(value));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function percentInWords(part) {
  if (part === null || !Number.isFinite(part)) return "–";
  const percent = 100 * part;
  if (percent === 0 || percent === 100) return `${percent} %`;
  // 99.97 % is not 100 %, nor is 0.01 % none.
  return `${percent.toFixed(percent < 1 || percent > 99 ? 2 : 1)} %`;
}

/** Return an axis from 0 that holds a value: its ticks, and the place of a value on it, from 0 to 1. */
function linearAxis(highest) {
  const power = 10 ** Math.floor(Math.log10(highest));
  const top = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map(step => step * power).find(each => each >= highest * 0.9999);
  return { ticks: [top / 2, top], place: value => value / top };
}

/** Return the same of an axis of powers of ten: a median of 2 ms and a p99 of 1 s are both to be seen. */
function logAxis(lowest, highest) {
  const low = Math.floor(Math.log10(lowest) + 1e-9),
    high = Math.max(low + 1, Math.ceil(Math.log10(highest) - 1e-9));
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
  return { ticks, place: value => (Math.log10(value) - low) / (high - low) };
}
