// What stands below the backends: cache, certificates, workers, configuration, errors.
"use strict";

// ---- Cache -------------------------------------------------------------------------------------------------------

const CACHE_WORDS = ["hits", "stale", "revalidated", "expired", "misses", "bypassed"];

function showCache(cache) {
  byId("cache").hidden = !cache;
  if (!cache) return;
  const found = (cache.hits || 0) + (cache.stale || 0) + (cache.revalidated || 0);
  const asked = found + (cache.expired || 0) + (cache.misses || 0);
  say(byId("hit-ratio"), asked ? percentInWords(found / asked) : "–");
  say(byId("hit-ratio-words"), `of ${shortNumber(asked)} since the start`);
  say(
    byId("cache-size"),
    `${count(cache.objects || 0, "reply", "replies")}, ${bytesInWords(cache.held_bytes || 0)}` +
      (cache.max_bytes ? ` of ${bytesInWords(cache.max_bytes)}` : ""),
  );
  legend(
    byId("cache-mix"),
    CACHE_WORDS.map(name => [name, shortNumber(cache[name] || 0)]),
  );
}

const PURGES = { url: "http://example.com/path", prefix: "http://example.com/images/", tag: "product-17", all: "" };

function preparePurge() {
  const kind = byId("purge-kind"),
    value = byId("purge-value");
  kind.addEventListener("change", () => {
    value.placeholder = PURGES[kind.value];
    value.hidden = kind.value === "all";
  });
  byId("purge").addEventListener("submit", event => {
    event.preventDefault();
    const what = value.value.trim(),
      all = kind.value === "all";
    if (!all && !what) return void value.focus();
    const words = all ? "everything" : `${kind.selectedOptions[0].textContent}: ${what}`;
    confirmed("Purge the cache?", `What is removed: ${words}. Backends are asked for it again.`, "Purge", async () => {
      const { purged } = await ask("POST", "/cache/purge", all ? { all: true } : { [kind.value]: what });
      say(byId("purge-result"), `${count(purged, "reply", "replies")} removed (${words}).`);
    });
  });
}

// ---- Certificates, workers, configuration ------------------------------------------------------------------------

function daysInWords(days_left) {
  if (days_left < 0) return ["bad", "expired"];
  const days = Math.floor(days_left);
  const words = days === 0 ? "ends today" : `${count(days, "day")} left`;
  return [days < 7 ? "bad" : days < 30 ? "warning" : "good", words];
}

function showCertificates(certificates) {
  byId("certificates").hidden = !certificates.length;
  const sorted = certificates.toSorted((one, other) => one.days_left - other.days_left);
  sync(
    byId("certificate-list"),
    sorted,
    each => `${each.section} ${each.file}`,
    () =>
      make(
        "li",
        {},
        make("span", { class: "grow" }, make("span", { class: "name" }), make("span", { class: "quiet" })),
        make("span"),
      ),
    (row, each) => {
      const [names, place] = row.firstChild.children;
      say(names, each.names.join(", "));
      say(place, `${each.section} · until ${day(each.expires_at)}`);
      badge(row.lastChild, ...daysInWords(each.days_left));
    },
  );
}

function showWorkers(workers) {
  say(byId("worker-count"), count(workers.length, "process", "processes"));
  sync(
    byId("workers"),
    workers,
    worker => String(worker.number),
    worker => {
      const row = make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, `${worker.number}`));
      for (let column = 0; column < 4; column++) row.append(make("td", { role: "cell", class: "number" }));
      return row;
    },
    (row, worker) => {
      const [, cpu, memory, lag, connections] = row.children;
      // Of a process: another one under the same number begins anew.
      const last = row.last?.pid === worker.pid ? row.last : null;
      const spent_s = last ? latest.now - last.at : 0;
      if (!last || spent_s >= 1) {
        say(cpu, last ? `${Math.round((100 * (worker.cpu_s - last.cpu_s)) / spent_s)} %` : "–");
        row.last = { pid: worker.pid, cpu_s: worker.cpu_s, at: latest.now };
      }
      const up = durationInWords(latest.now - worker.started_at);
      row.title = `process ${worker.pid}, up ${up}, ${count(worker.descriptors, "descriptor")}`;
      say(memory, bytesInWords(worker.rss_bytes));
      say(lag, secondsInWords(worker.loop_lag_s));
      say(connections, shortNumber(worker.connections));
    },
  );
}

function showConfig({ config, listeners }) {
  sync(
    byId("listeners"),
    listeners || [],
    each => each.name,
    each =>
      make(
        "li",
        {},
        make("span", { class: "grow" }, make("span", { class: "name" }, each.name), make("span", { class: "quiet" })),
        make("span"),
      ),
    (row, each) => {
      say(row.firstChild.lastChild, each.url);
      say(row.lastChild, count(each.connections, "connection"));
    },
  );
  const last = config.last_reload;
  const rows = [
    ["File", config.path || "none: flags"],
    ["Hash", config.hash],
    ["Loaded", `${day(config.loaded_at)} ${clock(config.loaded_at)}`],
  ];
  if (last)
    rows.push([
      "Last reload",
      `${clock(last.at)}: ${last.ok ? last.summary || "done" : `refused, ${count(last.errors.length, "error")}`}`,
    ]);
  sync(
    byId("config"),
    rows,
    ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (row, [, value]) => say(row.lastChild, value),
  );
}

async function reload() {
  const box = byId("reload-result"),
    button = byId("reload");
  const tell = (kind, words, lines = []) => {
    const state = make("strong");
    badge(state, kind, words);
    const gone = make(
      "button",
      { type: "button", class: "plain", "aria-label": "Dismiss the result of the reload" },
      "Dismiss",
    );
    gone.addEventListener("click", () => {
      box.hidden = true;
      button.focus();
    });
    const errors = lines.length
      ? [make("pre", { tabindex: "0", "aria-label": "Errors of the configuration" }, lines.join("\n"))]
      : [];
    box.replaceChildren(make("div", { class: "head" }, state, gone), ...errors);
    box.hidden = false;
  };
  confirmed(
    "Reload the configuration?",
    "The file is read anew. If anything in it is wrong, nothing changes.",
    "Reload",
    async () => {
      try {
        const result = await ask("POST", "/reload");
        if (result.ok === false) return tell("bad", "Refused: nothing has changed", result.errors);
        tell("good", `Reloaded: ${result.summary || "done"}`);
      } catch (error) {
        // Errors of the file are a result like any other; only what kept us from it stays in the dialog.
        if (!error.reply?.errors?.length) throw error;
        tell("bad", "Refused: nothing has changed", error.reply.errors);
      }
    },
  );
}

// ---- Errors ------------------------------------------------------------------------------------------------------

/** Errors may be of yesterday. */
const moment = at => (latest.now - at < 43_200 ? clock(at) : `${day(at)} ${clock(at)}`);

function showErrors(errors) {
  byId("no-errors").hidden = errors.length > 0;
  byId("error-table").hidden = byId("reasons").hidden = !errors.length;
  const sorted = errors.toSorted((one, other) => other.at - one.at).slice(0, 50);
  const reasons = new Map();
  for (const { end } of sorted) reasons.set(end, (reasons.get(end) || 0) + 1);
  sync(
    byId("reasons"),
    [...reasons].sort((one, other) => other[1] - one[1]),
    ([end]) => end,
    ([end]) => make("li", {}, make("code", {}, end), " ", make("b")),
    (row, [, times]) => say(row.lastChild, `× ${times}`),
  );
  // What has ended does not change, so a row is written once.
  sync(
    byId("errors"),
    sorted,
    // When it was is worked out anew for each report, so that its last digits change.
    error => `${error.id} ${Math.round(error.at)}`,
    error => {
      const cell = (label, ...children) => make("td", { role: "cell", "data-label": label }, ...children);
      const status = make("span");
      badge(
        status,
        error.status >= 500 || !error.status ? "bad" : "warning",
        error.status ? String(error.status) : "cut",
      );
      const target = make("span", { class: "target" }, `${error.method || "–"} ${error.target || ""}`);
      return make(
        "tr",
        { role: "row", title: error.id ? `request ${error.id}` : null },
        cell("Time", make("time", { datetime: new Date(error.at * 1000).toISOString() }, moment(error.at))),
        cell("Status", status),
        cell("Reason", make("code", {}, error.end)),
        cell("Request", target),
        cell("Route", error.route || "–"),
        cell("Backend", error.backend?.replaceAll(",", ", ") || "–"),
      );
    },
    () => {},
  );
}
