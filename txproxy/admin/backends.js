// The backends of all clusters: their states, pools and orders.
"use strict";

const KINDS = {
  up: "good",
  checking: "waiting",
  trial: "waiting",
  draining: "paused",
  maintenance: "paused",
  ejected: "warning",
  down: "bad",
};
const kindOf = state => KINDS[state] || "warning";
const ORDERS = [
  ["serve", "Serve", "New requests go to it again, as far as it is up. After maintenance it is checked first."],
  ["drain", "Drain", "New requests go to other backends; those under way are completed. It is still checked."],
  [
    "maintain",
    "Maintain",
    "New requests go to other backends; those under way are completed. It is not checked any more.",
  ],
];
const orderOf = state => ({ draining: "drain", maintenance: "maintain" })[state] || "serve";
const backendsOf = clusters =>
  Object.entries(clusters).flatMap(([cluster, { backends }]) => backends.map(backend => ({ cluster, backend })));
const COLUMNS = [
  ["Backend", ""],
  ["State", ""],
  ["Under way", "number"],
  ["Waiting", "number"],
  ["Connections", "number"],
  ["Weight", "number"],
  ["Orders", ""],
];

function showClusters(clusters) {
  sync(
    byId("clusters"),
    Object.entries(clusters),
    ([name]) => name,
    createCluster,
    (panel, [name, cluster]) => {
      const up = cluster.backends.filter(({ state }) => kindOf(state) === "good").length;
      say(panel.summary, `${cluster.balance} · ${up} of ${cluster.backends.length} serving`);
      sync(
        panel.body,
        cluster.backends,
        backend => backend.name,
        backend => createBackend(name, backend),
        updateBackend,
      );
    },
  );
}

function createCluster([name]) {
  const title = make("h3", {}, name),
    summary = make("span", { class: "quiet" });
  const body = make("tbody", { role: "rowgroup" });
  const columns = COLUMNS.map(([text, kind]) =>
    make("th", { scope: "col", role: "columnheader", class: kind || null, "data-label": text }, text),
  );
  // The roles say what the tags say: on a phone the style makes cards of rows, and some browsers forget tables then.
  const table = make(
    "table",
    { class: "table cards backends", role: "table", "aria-label": `Backends of ${name}` },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...columns)),
    body,
  );
  const panel = make(
    "section",
    { class: "panel", "aria-label": `Cluster ${name}` },
    make("div", { class: "head" }, title, summary),
    table,
  );
  return Object.assign(panel, { summary, body });
}

function createBackend(cluster, { name }) {
  const row = make("tr", { role: "row" });
  row.cells_ = Object.fromEntries(
    COLUMNS.map(([text, kind], index) => {
      const attributes = { class: kind || null, "data-label": text };
      return [
        text,
        index
          ? make("td", { role: "cell", ...attributes })
          : make("th", { scope: "row", role: "rowheader", ...attributes }),
      ];
    }),
  );
  row.state = make("span");
  row.since = make("span", { class: "quiet" });
  row.trouble = make("span", { class: "trouble" });
  row.notes = make("span", { class: "quiet" });
  row.cells_.Backend.append(make("span", { class: "name" }, name), row.notes);
  row.cells_.State.append(make("div", { class: "state" }, row.state, row.since), row.trouble);
  row.orders = Object.fromEntries(
    ORDERS.map(([order, verb]) => {
      const button = make("button", { type: "button", "aria-label": `${verb} ${name}`, "data-order": order }, verb);
      button.addEventListener("click", () => orderBackend(cluster, row.backend, order));
      return [order, button];
    }),
  );
  row.cells_.Orders.append(
    make("div", { class: "group", role: "group", "aria-label": `Orders for ${name}` }, ...Object.values(row.orders)),
  );
  row.append(...Object.values(row.cells_));
  return row;
}

function updateBackend(row, backend) {
  row.backend = backend;
  const { cells_: cells } = row;
  badge(row.state, kindOf(backend.state), backend.state);
  say(row.since, `for ${durationInWords(latest.now - backend.since)}`);
  const notes = [backend.backup && "backup", backend.entry !== backend.name && `of ${backend.entry}`];
  say(row.notes, notes.filter(Boolean).join(", "));
  // The state keeps its last error when all is well again; that is no trouble any more.
  const told = [
    backend.last_error,
    backend.failures && count(backend.failures, "failure") + " in a row",
    backend.ejections && count(backend.ejections, "ejection"),
  ];
  say(row.trouble, kindOf(backend.state) === "good" && !backend.failures ? "" : told.filter(Boolean).join(" · "));
  say(cells["Under way"], shortNumber(backend.active));
  say(cells.Waiting, shortNumber(backend.queued));
  say(cells.Connections, `${shortNumber(backend.connections)}, ${shortNumber(backend.idle)} idle`);
  say(cells.Weight, backend.share < 1 ? `${percentInWords(backend.share)} of ${backend.weight}` : backend.weight);
  for (const [order, button] of Object.entries(row.orders)) {
    button.setAttribute("aria-pressed", String(order === orderOf(backend.state)));
  }
}

function orderBackend(cluster, backend, order) {
  // The order that holds is no button to press; it stays one, so that the focus on it is not lost when it becomes it.
  if (order === orderOf(backend.state)) return;
  const [, verb, meaning] = ORDERS.find(([name]) => name === order);
  const busy = backend.active ? ` Now ${backend.active === 1 ? "1 is" : `${backend.active} are`} under way.` : "";
  confirmed(`${verb} ${cluster}/${backend.name}?`, meaning + (order === "serve" ? "" : busy), verb, () =>
    ask("POST", `/clusters/${encodeURIComponent(cluster)}/backends/${encodeURIComponent(backend.name)}/${order}`),
  );
}

/** Have changes of states read out: in one sentence, for many may come at once. */
function tellNews(clusters) {
  const states = new Map(
    backendsOf(clusters).map(({ cluster, backend }) => [`${cluster}/${backend.name}`, backend.state]),
  );
  const changed = [...states].filter(
    ([name, state]) => tellNews.states?.has(name) && tellNews.states.get(name) !== state,
  );
  tellNews.states = states;
  if (changed.length > 3) say(byId("news"), `${changed.length} backends have changed their states.`);
  else if (changed.length) say(byId("news"), changed.map(([name, state]) => `${name} is ${state}.`).join(" "));
}
