// The dashboard: asks for /status each second and shows it. The last script of the page: it starts it all.
"use strict";

// ---- Asking again and again --------------------------------------------------------------------------------------

const EVERY_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

const poller = {
  timer: 0,
  failures: 0,
  /** Requests under way; an answer that another has overtaken is of no use. */
  asking: 0,

  async now() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const mine = ++this.asking;
    try {
      const report = await ask("GET", "/status");
      if (mine !== this.asking) return;
      this.failures = 0;
      show(report);
      this.again(EVERY_MS);
    } catch (error) {
      if (mine !== this.asking) return;
      if (error instanceof Refused && error.status === 401) return void logIn();
      if (!(error instanceof Refused || error instanceof Unreachable)) {
        // A mistake of this page is for its console; it must not look as if the proxy were away.
        this.again(LONGEST_WAIT_MS);
        throw error;
      }
      const wait_ms = Math.min(LONGEST_WAIT_MS, EVERY_MS * 2 ** this.failures++);
      showDisconnected(
        `${error.message} What is shown is of ${latest ? clock(latest.now) : "nothing yet"}; ` +
          "it is tried again and again.",
      );
      this.again(wait_ms);
    }
  },

  again(wait_ms) {
    this.timer = setTimeout(() => this.now(), wait_ms);
  },

  start() {
    // Nobody sees a hidden tab, so nobody pays for it.
    document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(this.timer) : this.now()));
    byId("retry").addEventListener("click", () => this.now());
    this.now();
  },
};

// ---- What is shown -----------------------------------------------------------------------------------------------

const seen = new History();
let latest = null;
const fromZero = values => linearAxis(Math.max(1, ...values));
const inParts = () => linearAxis(1);
const byTens = values =>
  values.length ? logAxis(Math.max(1e-4, Math.min(...values)), Math.max(...values)) : logAxis(0.001, 1);
/** Failures at the bottom: how high they reach is easiest seen there. */
const UPWARDS = CLASSES.toReversed();
const charts = {
  rate: new Chart(byId("rate-chart"), ["rate"], "area", fromZero, shortNumber),
  latency: new Chart(byId("latency-chart"), ["p50", "p90", "p99"], "line", byTens, secondsInWords),
  mix: new Chart(byId("mix-chart"), UPWARDS, "area", inParts, part => `${100 * part} %`),
};

function show(report) {
  const point = seen.add(report);
  latest = report;
  byId("main").classList.remove("stale");
  byId("banner").hidden = report.state !== "stopping";
  byId("retry").hidden = true;
  if (report.state === "stopping")
    say(byId("banner-text"), "The proxy is stopping: it accepts nothing new and finishes what is under way.");
  showTop(report);
  showTiles(report);
  showCharts(point);
  showClusters(report.clusters);
  showCache(report.cache);
  showCertificates(report.certificates || []);
  showWorkers(report.workers || []);
  showConfig(report);
  showErrors(report.errors || []);
  tellNews(report.clusters);
}

function showDisconnected(text) {
  badge(byId("state"), "bad", "disconnected");
  // Old figures must not pass for new ones.
  byId("main").classList.add("stale");
  byId("banner").hidden = byId("retry").hidden = false;
  say(byId("banner-text"), text);
  document.title = "✕ txproxy: disconnected";
}

function showTop(report) {
  say(byId("version"), report.version);
  if (report.state === "ready") badge(byId("state"), "good", "ready");
  else badge(byId("state"), "warning", report.state);
  say(byId("uptime"), `up ${durationInWords(report.now - report.started_at)}`);
  say(byId("hash"), `config ${report.config.hash}`);
  const out = backendsOf(report.clusters).filter(({ backend }) => kindOf(backend.state) === "bad").length;
  document.title = out ? `(${out} down) txproxy` : "txproxy";
}

function showTiles(report) {
  const backends = backendsOf(report.clusters).map(({ backend }) => backend);
  const sum = (rows, name) => rows.reduce((all, row) => all + (row[name] || 0), 0);
  const workers = report.workers || [];
  const tiles = [
    ["Under way", shortNumber(sum(backends, "active"))],
    ["Waiting", shortNumber(sum(backends, "queued"))],
    ["Clients", shortNumber(sum(report.listeners || [], "connections"))],
    ["To backends", shortNumber(sum(backends, "connections"))],
    ["Serving", `${backends.filter(({ state }) => kindOf(state) === "good").length} of ${backends.length}`],
    ["Memory", bytesInWords(sum(workers, "rss_bytes"))],
  ];
  sync(
    byId("tiles"),
    tiles,
    ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (tile, [, value]) => say(tile.lastChild, value),
  );
}

function showCharts(point) {
  const shown = seen.points.filter(({ at }) => at >= point.at - KEPT_S);
  const draw = (chart, title, stats, valuesOf) =>
    chart.draw(
      shown.map(each => ({ at: each.at, values: valuesOf(each) })),
      `${title}: ${stats.map(each => each.join(" ")).join(", ")}`,
    );

  const rates = seen.ratesOver(5),
    rate = rates && total(rates);
  const all = shown.filter(({ rates }) => rates).map(({ rates }) => total(rates));
  const mean = all.length ? all.reduce((one, other) => one + other, 0) / all.length : null;
  const speeds = [
    ["now", shortNumber(rate)],
    ["mean", shortNumber(mean)],
    ["peak", shortNumber(all.length ? Math.max(...all) : null)],
  ];
  legend(byId("rate"), speeds);
  draw(charts.rate, "Requests per second", speeds, ({ rates }) => rates && [total(rates)]);

  const times = ["p50", "p90", "p99"].map((name, index) => [name, secondsInWords(point.percentiles?.[index])]);
  legend(byId("latency"), times);
  draw(charts.latency, "Latency", times, ({ percentiles }) => percentiles);

  const shares = CLASSES.filter(name => name !== "other" || point.classes.other).map(name => [
    name,
    percentInWords(rate ? rates[name] / rate : null),
  ]);
  legend(byId("mix"), shares);
  draw(charts.mix, "Replies by status", shares, ({ rates }) =>
    rates && total(rates) > 0 ? UPWARDS.map(name => rates[name] / total(rates)) : null,
  );

  const shown_s = Math.min(KEPT_S, Math.max(SHORTEST_S, point.at - shown[0].at));
  for (const place of document.querySelectorAll(".period")) say(place, `last ${durationInWords(shown_s)}`);
}

/** Show [[name, value]]; those that are series of a chart have its mark. */
function legend(list, rows) {
  sync(
    list,
    rows,
    ([name]) => name,
    ([name]) =>
      make(
        "li",
        {},
        make("span", {}, make("i", { class: `key is-${name}`, "aria-hidden": "true" }), name),
        " ",
        make("b"),
      ),
    (row, [, value]) => say(row.lastChild, value),
  );
}

// ---- Theme -------------------------------------------------------------------------------------------------------

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(byId("theme"), `Theme: ${theme}`);
}

function prepareTheme() {
  let theme = storage.get("localStorage", "txproxy-theme");
  if (!THEMES.includes(theme)) theme = "system";
  setTheme(theme);
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    storage.set("localStorage", "txproxy-theme", theme);
    setTheme(theme);
  });
}

prepareTheme();
preparePurge();
byId("reload").addEventListener("click", reload);
poller.start();
