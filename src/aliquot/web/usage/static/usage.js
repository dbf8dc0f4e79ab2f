/** Usage and waste: asks for one window of time every 15 s and shows it as tables. */

import { byId, element, setText } from "/static/dom.js";

const EVERY_MS = 15000;
const KINDS = { devices: "Devices", workloads: "Workloads", queues: "Queues", teams: "Teams", nodes: "Nodes" };
const WHAT = {
  broken: "cannot be used", idle: "held, nothing runs", inefficient: "held, little used",
  unknown: "held, not measured", unoccupied: "free", stranded: "free, fits nobody", productive: "at work",
};
const ORDER = Object.keys(WHAT);
const GIB = 2 ** 30;

const chosen = { window: "1h", kind: "devices", text: "", sort: "", down: true };
let latest = null;
let asked = 0;

/** An exact fraction such as 21/8 as a number. */
function number(text) {
  const [top, bottom] = String(text).split("/").map(Number);
  return bottom ? top / bottom : top;
}

const amount = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(2).replace(/0$/, ""));
const percent = (ratio) => (ratio > 0 && ratio < 0.005 ? "<1%" : `${Math.round(ratio * 100)}%`);

function duration(ms) {
  const minutes = Math.floor(ms / 60000);
  if (minutes < 120) return `${minutes}m`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)}h`;
  return `${Math.floor(minutes / 1440)}d`;
}

function bytes(value) {
  return value >= GIB ? `${(value / GIB).toFixed(value >= 10 * GIB ? 0 : 1)} GiB` : `${Math.round(value / 2 ** 20)} MiB`;
}

/** A share of time with a bar; figure: {value in ppm, provenance, rule}. */
function load(figure, metric = "") {
  const known = figure.value !== null;
  const estimated = figure.provenance === "estimated";
  const text = known ? `${estimated ? "~" : ""}${percent(figure.value / 1e6)}` : "?";
  const fill = element("i");
  fill.style.width = known ? `${Math.min(100, figure.value / 1e4)}%` : "0";
  const bar = element("span", { class: known ? "bar" : "bar none" }, fill);
  const label = element("span", { class: estimated ? "figure-text estimated" : "figure-text", title: figure.rule || metric || "" }, text);
  return element("span", { class: "load" }, bar, label);
}

function stateCell(name) {
  return element("span", { class: "state" }, element("i", { class: `dot is-${name}` }), name);
}

const stateOf = (unit) => (unit.stranded && unit.state === "unoccupied" ? "stranded" : unit.state);

function workloads(unit) {
  const names = unit.owners.map((owner) => {
    const ref = owner.workload ?? owner.pod ?? owner.claim;
    return ref ? `${ref.namespace}/${ref.name}` : "";
  });
  return [...new Set(names)].join(", ");
}

const queues = (unit) => [...new Set(unit.owners.map((owner) => owner.queue).filter(Boolean))].join(", ");

function idle(unit, end) {
  if (unit.idleSince === null || unit.state !== "idle") return "";
  return `${unit.idleLonger ? ">" : ""}${duration(end - unit.idleSince)}`;
}

const why = (unit) => [unit.stranded || unit.why, unit.xid ? `last XID ${unit.xid}` : ""].filter(Boolean).join(", ");

/** Columns: title, what is shown of a row, what it is sorted by, and whether it is a number. */
const DEVICES = [
  ["Device", (row) => (row.part ? row.part.replace(`${row.device}-`, "") : `${row.node}/${row.device}`), null, false, "name"],
  ["State", (row) => stateCell(stateOf(row)), (row) => ORDER.indexOf(stateOf(row))],
  ["Held", (row) => amount(number(row.held)), (row) => number(row.held), true],
  ["Compute", (row) => load(row.busy, row.busyMetric), (row) => row.busy.value ?? -1],
  ["Tensor cores", (row) => load(row.tensor), (row) => row.tensor.value ?? -1, false, "wide-only"],
  ["Memory bandwidth", (row) => load(row.memoryBandwidth), (row) => row.memoryBandwidth.value ?? -1, false, "wide-only"],
  ["Memory peak", (row) => memory(row), (row) => row.memoryPeak.value ?? -1, true],
  ["Idle", (row) => idle(row, latest.summary.end), (row) => (row.idleSince ? latest.summary.end - row.idleSince : -1), true],
  ["Queue", queues, queues],
  ["Workload", workloads, workloads, false, "names"],
  ["Why", why, why, false, "why wide-only"],
];

const utilisation = (row) => load({
  value: row.utilisation === null ? null : row.utilisation * 1e6, provenance: row.provenance, rule: row.rule,
});
const count = (state) => (row) => amount(number(row.states[state]));
const counted = (state) => [WHAT_TITLES[state], count(state), (row) => number(row.states[state]), true];
const WHAT_TITLES = {
  broken: "Broken", idle: "Idle", inefficient: "Inefficient", unknown: "Not measured", unoccupied: "Free", productive: "At work",
};

function ago(row) {
  if (row.lastWork === null) return row.utilisation === null ? "?" : "none";
  const since = latest.summary.end - row.lastWork;
  return since < 120000 ? "now" : `${duration(since)} ago`;
}

const memory = (row) => {
  if (row.memoryPeak.value === null) return "?";
  return `${row.memoryPeak.provenance === "estimated" ? "~" : ""}${bytes(row.memoryPeak.value)}`;
};
const GROUP = [
  ["Name", (row) => (row.workload ? `${row.workload.namespace}/${row.name}` : row.name || "(none)"), (row) => row.name, false, "name"],
  ["Devices", (row) => amount(number(row.devices)), (row) => number(row.devices), true],
  ["Utilisation", utilisation, (row) => row.utilisation ?? -1],
  ...["idle", "inefficient", "unknown", "productive"].map(counted),
  ["Memory peak", memory, (row) => row.memoryPeak.value ?? -1, true],
  ["Last work", ago, (row) => row.lastWork ?? 0, true],
];
const WORKLOADS = [GROUP[0], ["Queue", (row) => row.queue ?? "", (row) => row.queue ?? ""], ...GROUP.slice(1)];
const NODES = [
  ...GROUP.slice(0, 3), ["Held", (row) => amount(number(row.held)), (row) => number(row.held), true],
  ...["broken", "unoccupied", "idle", "inefficient", "productive", "unknown"].map(counted),
];
const COLUMNS = { devices: DEVICES, workloads: WORKLOADS, queues: GROUP, teams: GROUP, nodes: NODES };

function cells(columns, row) {
  return columns.map(([, show, , numeric, style]) => {
    const classes = [numeric ? "num" : "", style ?? ""].join(" ").trim();
    return element("td", { class: classes || undefined }, show(row));
  });
}

function sorted(rows, columns) {
  const column = columns.find(([title]) => title === chosen.sort);
  if (!column) return rows;
  const by = column[2] ?? column[1];
  const compare = (left, right) => {
    const [a, b] = [by(left), by(right)];
    return typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  return [...rows].sort((left, right) => (chosen.down ? -compare(left, right) : compare(left, right)));
}

function table() {
  const columns = COLUMNS[chosen.kind];
  const found = latest[chosen.kind];
  byId("rows").tHead.replaceChildren(element("tr", {}, ...columns.map(([title, , , numeric, style]) => {
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      chosen.down = chosen.sort === title ? !chosen.down : true;
      chosen.sort = title;
      table();
      [...byId("rows").tHead.querySelectorAll("button")].find((other) => other.textContent === title)?.focus();
    });
    const classes = [numeric ? "num" : "", style === "why wide-only" || style === "wide-only" ? "wide-only" : ""].join(" ").trim();
    const head = element("th", { scope: "col", class: classes || undefined }, button);
    if (chosen.sort === title) head.setAttribute("aria-sort", chosen.down ? "descending" : "ascending");
    return head;
  })));
  const rows = [];
  for (const row of sorted(found.rows, columns)) {
    rows.push(element("tr", {}, ...cells(columns, row)));
    const parts = number(row.held) > 0 ? row.parts ?? [] : [];
    for (const part of parts) rows.push(element("tr", { class: "part" }, ...cells(columns, part)));
  }
  if (!rows.length) rows.push(element("tr", {}, element("td", { colSpan: columns.length }, "Nothing to show.")));
  byId("rows").tBodies[0].replaceChildren(...rows);
  const cut = found.total > found.rows.length ? `, the ${found.rows.length} most wasteful shown` : "";
  setText(byId("count"), `${found.total} ${chosen.kind}${cut}`);
  setText(byId("caption"), KINDS[chosen.kind]);
}

function summary() {
  const fleet = latest.summary;
  const total = number(fleet.devices);
  setText(byId("utilisation"), fleet.measured ? percent(fleet.utilisation) : "?");
  setText(byId("utilisation-definition"), fleet.utilisationDefinition.replace("Utilisation: d", "D"));
  const mark = fleet.utilisationOfHeldProvenance === "estimated" ? "~" : "";
  setText(byId("of-held"), fleet.utilisationOfHeld === null ? "?" : `${mark}${percent(fleet.utilisationOfHeld)}`);
  setText(byId("of-held-definition"), fleet.utilisationOfHeldDefinition.replace("Of what is held: t", "T"));
  byId("held").replaceChildren(`${amount(number(fleet.held))}/${amount(total)}`,
    element("small", {}, total ? percent(number(fleet.held) / total) : ""));
  setText(byId("measured"), percent(fleet.measured));
  const amounts = { ...Object.fromEntries(Object.entries(fleet.states).map(([name, text]) => [name, number(text)])) };
  amounts.stranded = number(fleet.stranded);
  amounts.unoccupied = Math.max(0, amounts.unoccupied - amounts.stranded);
  const present = ORDER.filter((name) => amounts[name] > 0);
  byId("stack").replaceChildren(...present.map((name) => {
    const part = element("i", { class: `is-${name}`, title: `${amount(amounts[name])} ${name}` });
    part.style.flexGrow = String(amounts[name]);
    return part;
  }));
  byId("stack").setAttribute("aria-label", `Devices by state: ${present.map((name) => `${amount(amounts[name])} ${name}`).join(", ")}`);
  byId("states").replaceChildren(...present.map((name) => element("li", {}, element("i", { class: `dot is-${name}` }),
    element("b", {}, amount(amounts[name])), name, element("span", { class: "what" }, WHAT[name]))));
  byId("notes").replaceChildren(...latest.notes.map((text) => element("li", {}, text)));
}

function buttons(parent, names, current, choose) {
  parent.replaceChildren(...Object.entries(names).map(([name, title]) => {
    const button = element("button", { type: "button", "aria-pressed": String(name === current) }, title);
    button.dataset.name = name;
    button.addEventListener("click", () => choose(name));
    return button;
  }));
}

function controls() {
  buttons(byId("kinds"), KINDS, chosen.kind, (name) => {
    chosen.kind = name;
    chosen.sort = "";
    controls();
    byId("kinds").querySelector(`[data-name=${name}]`).focus();
    if (latest) table();
  });
  const windows = latest ? latest.windows : [chosen.window];
  buttons(byId("windows"), Object.fromEntries(windows.map((name) => [name, name])), chosen.window, (name) => {
    chosen.window = name;
    controls();
    refresh();
  });
}

function pill(text, style) {
  byId("state").className = `pill ${style}`;
  setText(byId("state"), text);
}

async function refresh() {
  const turn = ++asked;
  try {
    const query = new URLSearchParams({ window: chosen.window, text: chosen.text });
    const answer = await fetch(`/usage/data?${query}`);
    const found = await answer.json();
    if (turn !== asked) return;
    if (!answer.ok) throw new Error(found.error);
    const first = latest === null;
    latest = found;
    if (first) controls();
    summary();
    table();
    pill(`As of ${new Date(found.summary.end).toLocaleTimeString([], { hour12: false })}`, "live");
    document.documentElement.dataset.seen = `${found.window} ${chosen.text}`.trim();
  } catch (error) {
    if (turn === asked) pill(error.message || "Not reachable", "lost");
  }
}

let typing = 0;
byId("filter").addEventListener("input", () => {
  chosen.text = byId("filter").value.trim();
  clearTimeout(typing);
  typing = setTimeout(refresh, 150);
});
try {
  const scheme = localStorage.getItem("scheme");
  if (scheme) document.documentElement.dataset.theme = scheme;
} catch { /* Storage may be switched off. */ }
controls();
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, EVERY_MS);
