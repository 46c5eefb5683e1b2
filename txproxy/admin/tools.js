// What the rest of the page is made with: elements, words in them, and calls to the proxy.
// Text from the proxy goes into the page as text only (textContent, append), for names, targets and error texts come
// from files and from strangers.
"use strict";

const byId = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes that are null are left out, children may be text. */
function make(tag, attributes = {}, ...children) {
  const isSvg = tag === "svg" || tag === "use" || tag === "path";
  const made = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Set an element's text. What is equal is left alone: screen readers read out changes, and a selection survives. */
function say(target, text) {
  const words = String(text);
  if (target.textContent !== words) target.textContent = words;
}

/** Children by key, by parent. */
const synced = new WeakMap();

/**
 * Make the children of an element those of a list, in its order. Children stay the same elements as long as their keys
 * are in the list, so that the keyboard's focus, which may be in one of them, is never lost.
 */
function sync(parent, items, keyOf, create, update) {
  if (!synced.has(parent)) synced.set(parent, new Map());
  const rows = synced.get(parent);
  const wanted = new Set(items.map(keyOf));
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  items.forEach((item, index) => {
    const key = keyOf(item);
    if (!rows.has(key)) rows.set(key, create(item));
    const row = rows.get(key);
    if (parent.children[index] !== row) parent.insertBefore(row, parent.children[index] || null);
    update(row, item);
  });
}

/** Show a state by shape and word; the colour only underlines them. */
function badge(target, kind, word) {
  if (target.dataset.kind === kind && target.dataset.word === word) return;
  Object.assign(target.dataset, { kind, word });
  target.classList.add("badge");
  target.replaceChildren(
    make("svg", { "aria-hidden": "true", class: "shape" }, make("use", { href: "#shape-" + kind })),
    word,
  );
}

const clock = at => new Date(at * 1000).toLocaleTimeString("en-GB");
const day = at => new Date(at * 1000).toLocaleDateString("en-CA");
const count = (number, noun, plural = noun + "s") => `${shortNumber(number)} ${number === 1 ? noun : plural}`;

// ---- Talking to the proxy ----------------------------------------------------------------------------------------

const TOKEN = "txproxy-token";
const REQUEST_TIMEOUT_MS = 10_000;
/** A drain is answered at once, but a reload reads certificates and a purge may walk a large cache. */
const ORDER_TIMEOUT_MS = 60_000;

/** Storage may be forbidden to a page: then the token and the theme are forgotten with it. */
const storage = {
  kept: {},
  get(area, key) {
    try {
      return window[area].getItem(key);
    } catch {
      return this.kept[key] ?? null;
    }
  },
  set(area, key, value) {
    try {
      window[area].setItem(key, value);
    } catch {
      this.kept[key] = value;
    }
  },
};

/** What the proxy answered instead of what was wanted; the message is for the operator. */
class Refused extends Error {
  constructor(status, message, reply) {
    super(message);
    this.status = status;
    this.reply = reply;
  }
}

/** No answer came, or not in time. */
class Unreachable extends Error {
  constructor(cause) {
    super(cause.name === "TimeoutError" ? "The proxy did not answer in time." : "The proxy cannot be reached.", {
      cause,
    });
  }
}

/** Make a request and return the JSON that it was answered with; raise Refused or Unreachable. */
async function ask(method, path, content) {
  const token = storage.get("sessionStorage", TOKEN);
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  let response, text;
  try {
    response = await fetch(path, {
      method,
      headers,
      cache: "no-store",
      credentials: "omit",
      body: method === "GET" ? undefined : JSON.stringify(content ?? {}),
      signal: AbortSignal.timeout(method === "GET" ? REQUEST_TIMEOUT_MS : ORDER_TIMEOUT_MS),
    });
    text = await response.text();
  } catch (error) {
    throw new Unreachable(error);
  }
  let reply = null;
  try {
    reply = text ? JSON.parse(text) : {};
  } catch {
    /* Not from the interface itself: told by its status. */
  }
  if (!response.ok) throw new Refused(response.status, reply?.error || `The proxy answered ${response.status}.`, reply);
  return reply;
}
