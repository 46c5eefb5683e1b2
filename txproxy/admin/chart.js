// Charts of the last minutes, as SVG: its colours are those of the style, so light and dark need no word here.
"use strict";

const CHART_WIDTH = 300,
  CHART_HEIGHT = 100;
const SHORTEST_S = 60;

/** A chart of the last minutes: areas one upon the other, or lines. */
class Chart {
  /**
   * @param parent element that it is put into
   * @param names of its series, which are also their classes in the style; areas from the bottom up
   * @param kind "area" or "line"
   * @param axisOf makes an axis of all values that are shown
   * @param words what is said of a value at the axis
   */
  constructor(parent, names, kind, axisOf, words) {
    Object.assign(this, { isStacked: kind === "area", axisOf, words });
    this.grid = make("path", { class: "grid" });
    this.paths = names.map(name => make("path", { class: `${kind} is-${name}` }));
    this.image = make(
      "svg",
      { viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      this.grid,
      ...this.paths,
    );
    // The upper edge of all areas together.
    this.edge = make("path", { class: `edge is-${names.at(-1)}` });
    if (this.isStacked) this.image.append(this.edge);
    this.ticks = make("div", { "aria-hidden": "true" });
    parent.append(this.image, this.ticks);
  }

  /** Draw [{at, values}], in which values may be null; the last is of now. */
  draw(points, summary) {
    const now = points.at(-1).at;
    const shown_s = Math.min(KEPT_S, Math.max(SHORTEST_S, now - points[0].at));
    const rows = points.map(({ at, values }) => ({
      at,
      values: values && this.isStacked ? this.stack(values) : values,
    }));
    const axis = this.axisOf(rows.flatMap(({ values }) => values || []).filter(Number.isFinite));
    const x = at => (CHART_WIDTH * (1 - (now - at) / shown_s)).toFixed(1);
    const y = value => (CHART_HEIGHT * (1 - Math.max(0, Math.min(1, axis.place(value))))).toFixed(1);
    this.paths.forEach((path, index) => {
      // A value that is missing ends a run; the next one begins another.
      const runs = [[]];
      for (const { at, values } of rows) {
        const value = values?.[index] ?? null;
        if (value === null) runs.push([]);
        else runs.at(-1).push({ across: x(at), up: y(value), low: y(this.isStacked && index ? values[index - 1] : 0) });
      }
      const drawn = runs.filter(run => run.length);
      const lines = drawn.map(run => "M" + run.map(({ across, up }) => `${across} ${up}`).join("L"));
      const backs = drawn.map(
        run =>
          "L" +
          run
            .toReversed()
            .map(({ across, low }) => `${across} ${low}`)
            .join("L") +
          "Z",
      );
      path.setAttribute("d", (this.isStacked ? lines.map((line, run) => line + backs[run]) : lines).join(""));
      this.edge.setAttribute("d", lines.join(""));
    });
    this.grid.setAttribute(
      "d",
      ["M0 " + CHART_HEIGHT, ...axis.ticks.map(tick => `M0 ${y(tick)}`)]
        .map(start => `${start}h${CHART_WIDTH}`)
        .join(""),
    );
    sync(
      this.ticks,
      axis.ticks,
      String,
      () => make("span", { class: "tick" }),
      (mark, tick) => {
        say(mark, this.words(tick));
        mark.style.top = `${100 - 100 * axis.place(tick)}%`;
      },
    );
    this.image.setAttribute("aria-label", summary);
  }

  stack(values) {
    let sum = 0;
    return values.map(value => (sum += value));
  }
}
