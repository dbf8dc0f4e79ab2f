/** The page of spending: asks for figures, draws them, and goes deeper where one presses. */

import { byId, element, setText } from "/static/dom.js";

const WINDOWS = [["24h", "24 hours"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"]];
const TOPICS = {
  cost: { label: "Cost", amount: "cost_micros", size: 1e6, unit: (told) => told.currency },
  usage: { label: "GPU-hours", amount: "device_ms", size: 3.6e6, unit: () => "GPU-hours" },
  energy: { label: "Energy", amount: "energy_mj", size: 3.6e9, unit: () => "kWh" },
  carbon: { label: "Carbon", amount: "carbon_ug", size: 1e9, unit: () => "kg CO₂e" },
};
const DIMENSIONS = [
  ["queue", "queue"], ["namespace", "namespace"], ["workload", "workload"], ["owner", "owner"], ["model", "AI model"],
  ["mode", "sharing mode"], ["node", "node"], ["device-model", "device model"], ["device", "device"], ["reason", "reason nobody held it"],
];
/** What is shown next when one goes deeper. */
const DEEPER = { queue: "workload", namespace: "workload", owner: "workload", model: "workload", mode: "workload", node: "device",
  "device-model": "node", workload: "claim", reason: "node" };
const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c5", "c6"];
const REFRESH_MS = 30_000;
const SVG = "http://www.w3.org/2000/svg";

const state = { window: "30d", topic: "cost", by: "queue", where: [] };
let told = null;
let asked = 0;

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  if (WINDOWS.some(([name]) => name === found.get("window"))) state.window = found.get("window");
  if (Object.hasOwn(TOPICS, found.get("topic") ?? "")) state.topic = found.get("topic");
  state.by = found.get("by") || "queue";
  state.where = found.getAll("where").map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]);
}

function address() {
  const made = new URLSearchParams({ window: state.window, topic: state.topic, by: state.by });
  for (const [name, value] of state.where) made.append("where", `${name}=${value}`);
  return made;
}

function go(change) {
  Object.assign(state, change);
  history.pushState(null, "", `#${address()}`);
  load();
}

async function load() {
  const number = ++asked;
  draw();
  try {
    const answer = await fetch(`/spending/api?${address()}`, { headers: { accept: "application/json" } });
    const found = await answer.json();
    if (number !== asked) return;
    if (!answer.ok) throw new Error(found.error);
    told = found;
    pill("live", told.seen ? `As of ${new Date(told.seen).toLocaleTimeString()}` : "Nothing accounted yet");
    document.documentElement.dataset.shown = String(number);
  } catch (error) {
    if (number !== asked) return;
    pill("lost", error instanceof TypeError ? "Connection lost" : error.message || "Cannot be read");
  }
  draw();
}

function pill(kind, text) {
  byId("state").className = `pill ${kind}`;
  setText(byId("state"), text);
}

function shown(amount, unit = true) {
  const topic = TOPICS[state.topic];
  const value = amount / topic.size;
  const digits = Math.abs(value) < 100 ? 2 : Math.abs(value) < 10_000 ? 1 : 0;
  const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit ? `${text} ${topic.unit(told)}` : text;
}

const sum = (amounts) => Object.values(amounts).reduce((all, one) => all + one[TOPICS[state.topic].amount], 0);
const of = (amounts, category) => amounts[category]?.[TOPICS[state.topic].amount] ?? 0;
const named = (name) => name || "none";
/** Energy of which nothing is known is not zero, nor is carbon where no grid's intensity is known. */
const unknown = (amounts, category) => {
  const one = amounts[category];
  if (!["energy", "carbon"].includes(state.topic) || !(one?.device_ms > 0)) return false;
  return !one.metered_ms || (state.topic === "carbon" && one.energy_mj > 0 && !one.carbon_ug);
};
/** What everything comes to: unknown where nothing is known, at least so much where something is not. */
function whole(amounts, unit = true) {
  const missing = told.categories.filter((category) => amounts[category]?.device_ms > 0 && unknown(amounts, category));
  const partly = ["energy", "carbon"].includes(state.topic)
    && Object.values(amounts).some((one) => one.metered_ms < one.device_ms);
  if (missing.length && !sum(amounts)) return "unknown";
  return (missing.length || partly ? "≥ " : "") + shown(sum(amounts), unit);
}
function drawUnpriced() {
  const models = Object.entries(told.unpriced).sort((one, other) => other[1] - one[1]);
  byId("unpriced").hidden = state.topic !== "cost" || !models.length;
  const hours = (ms) => (ms / 3.6e6).toLocaleString("en", { maximumFractionDigits: 1 });
  setText(byId("unpriced"), "GPU-hours without a price, which count as 0: "
    + models.map(([model, ms]) => `${hours(ms)} of ${model}`).join(", ")
    + ". `aliquot report prices --starter` writes a price book to begin with.");
}

function segmented(id, items, chosen, choose) {
  byId(id).replaceChildren(...items.map(([name, label]) => element("button", {
    type: "button", textContent: label, "aria-pressed": String(name === chosen), onclick: () => choose(name),
  })));
}

function bar(amounts) {
  const all = Math.max(sum(amounts), 1);
  return told.categories.filter((category) => of(amounts, category) > 0).map((category) => {
    const part = element("i", { title: `${category}: ${shown(of(amounts, category))}` });
    part.style.flexGrow = String(of(amounts, category) / all);
    part.style.background = `var(--${category})`;
    return part;
  });
}

function legend(id, items) {
  byId(id).replaceChildren(...items.map(([colour, name, text]) => {
    const key = element("i");
    key.style.background = `var(--${colour})`;
    return element("li", {}, key, element("span", { textContent: name }), element("b", { textContent: text }));
  }));
}

function drawTotal() {
  setText(byId("total"), whole(told.total));
  drawUnpriced();
  setText(byId("total-of"), `since ${told.since.slice(0, 16).replace("T", " ")} UTC`);
  byId("identity").replaceChildren(...bar(told.total));
  const all = sum(told.total);
  const percent = (value) => (all ? `${Math.round((value / all) * 100)}%` : "0%");
  legend("legend", told.categories.map((category) => [category, category,
    unknown(told.total, category) ? "unknown" : `${shown(of(told.total, category), false)} · ${percent(of(told.total, category))}`]));
  byId("identity").setAttribute("aria-label", told.categories
    .map((category) => `${category} ${shown(of(told.total, category))}`).join(", "));
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** A round number above the largest, so that the scale can be read. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

/** What nobody held has no colour of its own. */
const colour = (place, name) => (name === null ? "other" : name === "" && state.by !== "reason" ? "idle" : COLOURS[place]);

function drawCourse() {
  const width = Math.max(byId("course").clientWidth, 280), height = 220, left = 64, base = height - 22;
  const amount = TOPICS[state.topic].amount;
  const totals = told.times.map((_, place) => told.course.reduce((all, one) => all + Math.max(one.amounts[amount][place], 0), 0));
  const top = ceiling(Math.max(...totals, 0) / TOPICS[state.topic].size) * TOPICS[state.topic].size;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": `${TOPICS[state.topic].label} over time by ${state.by}` });
  for (const part of [0, 0.5, 1]) {
    const y = base - part * (base - 10);
    svg.append(shape("line", { x1: left, x2: width, y1: y, y2: y }));
    const label = shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" });
    label.textContent = ((top * part) / TOPICS[state.topic].size).toLocaleString("en", { maximumFractionDigits: 3 });
    svg.append(label);
  }
  const step = (width - left) / told.times.length;
  told.times.forEach((time, place) => {
    let y = base;
    told.course.forEach((one, number) => {
      const tall = (Math.max(one.amounts[amount][place], 0) / top) * (base - 10);
      y -= tall;
      const column = shape("rect", { x: left + place * step + step * 0.1, y, width: step * 0.8, height: tall });
      column.style.fill = `var(--${colour(number, one.name)})`;
      svg.append(column);
    });
    const hit = shape("rect", { class: "hit", x: left + place * step, y: 4, width: step, height: base - 4, tabindex: place === told.times.length - 1 ? 0 : -1,
      role: "img", "aria-label": `${time}: ${shown(totals[place])}` });
    const tell = () => setText(byId("reading"), [`${time}: ${shown(totals[place])}`, ...told.course
      .filter((one) => one.amounts[amount][place] > 0).slice(0, 4)
      .map((one) => `${one.name === null ? "others" : named(one.name)} ${shown(one.amounts[amount][place], false)}`)].join(" · "));
    for (const event of ["mouseenter", "focus"]) hit.addEventListener(event, tell);
    svg.append(hit);
    if (place % Math.ceil(told.times.length / Math.max(2, Math.floor(width / 90))) === 0) {
      const label = shape("text", { x: left + (place + 0.5) * step, y: height - 6, "text-anchor": "middle" });
      label.textContent = time.length > 10 ? time.slice(11, 16) : time.slice(5);
      svg.append(label);
    }
  });
  svg.addEventListener("keydown", (event) => stepThrough(event, [...svg.querySelectorAll(".hit")]));
  byId("course").replaceChildren(svg);
  legend("keys", told.course.map((one, number) => [colour(number, one.name), one.name === null ? "others" : named(one.name),
    shown(one.amounts[amount].reduce((all, value) => all + value, 0), false)]));
}

/** Columns are one stop of the Tab key, at first the newest; arrows, Home and End go from one to the other. */
function stepThrough(event, columns) {
  const place = columns.indexOf(document.activeElement);
  const last = columns.length - 1;
  const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
  if (place < 0 || next === undefined) return;
  event.preventDefault();
  const chosen = columns[Math.min(last, Math.max(0, next))];
  columns[place].setAttribute("tabindex", "-1");
  chosen.setAttribute("tabindex", "0");
  chosen.focus();
}

function drawPath() {
  const steps = [element("button", { type: "button", textContent: "Everything", onclick: () => go({ where: [], by: state.where[0]?.[0] ?? state.by }) })];
  state.where.forEach(([name, value], place) => {
    const text = `${name.replace("label:", "")} ${named(value)}`;
    const last = place === state.where.length - 1;
    steps.push(element("span", { textContent: "›", "aria-hidden": "true" }), last ? element("span", { textContent: text, "aria-current": "true" })
      : element("button", { type: "button", textContent: text, onclick: () => go({ where: state.where.slice(0, place + 1), by: state.where[place + 1][0] }) }));
  });
  byId("path").replaceChildren(...(state.where.length ? steps : [element("span", { textContent: "Everything" })]));
}

function drawBy() {
  const labels = (told?.labels ?? []).map((name) => [`label:${name}`, `label ${name}`]);
  const items = [...DIMENSIONS, ...labels];
  if (!items.some(([name]) => name === state.by)) items.push([state.by, state.by.replace("label:", "label ")]);
  const options = items.map(([name, label]) => element("option", { value: name, textContent: label, selected: name === state.by }));
  byId("by").replaceChildren(...options);
  byId("by").onchange = (event) => go({ by: event.target.value });
}

function row(group) {
  const place = told.course.findIndex((one) => one.name === group.name);
  const key = element("i", { class: "key" });
  key.style.background = `var(--${place >= 0 ? colour(place, group.name) : "other"})`;
  const next = state.by.startsWith("label:") ? "queue" : DEEPER[state.by];
  const open = next && !state.where.some(([name]) => name === state.by)
    ? element("button", { type: "button", textContent: named(group.name), class: group.name ? "" : "none",
      onclick: () => go({ where: [...state.where, [state.by, group.name]], by: next }) })
    : element("span", { textContent: named(group.name), class: group.name ? "" : "none" });
  const inside = element("div", { class: "identity", role: "presentation" }, ...bar(group.amounts));
  const scale = sum(told.groups[0].amounts) || 1;
  inside.style.width = `${Math.max((sum(group.amounts) / scale) * 100, 0)}%`;
  return element("tr", {}, element("td", {}, key, open), ...cells(group.amounts),
    element("td", { textContent: whole(group.amounts, false) }), element("td", { class: "parts" }, inside));
}

function cells(amounts) {
  return told.categories.map((category) => {
    const text = unknown(amounts, category) ? "unknown" : of(amounts, category) ? shown(of(amounts, category), false) : "0";
    return element("td", { textContent: text, class: text === "0" || text === "unknown" ? "zero" : "" });
  });
}

function drawTable() {
  const table = byId("rows");
  const unit = TOPICS[state.topic].unit(told);
  setText(byId("caption"), `${TOPICS[state.topic].label} in ${unit} by ${state.by}`);
  const titles = [state.by.replace("label:", ""), ...told.categories, `total, ${unit}`];
  table.tHead.replaceChildren(element("tr", {}, ...titles.map((title) => element("th", { scope: "col", textContent: title })),
    element("th", { scope: "col", class: "parts" }, element("span", { class: "visually-hidden", textContent: "Parts" }))));
  const groups = [...told.groups].sort((one, other) => sum(other.amounts) - sum(one.amounts));
  table.tBodies[0].replaceChildren(...groups.map(row));
  if (!groups.length) {
    table.tBodies[0].append(element("tr", {}, element("td", { colSpan: titles.length + 1, class: "empty",
      textContent: "Nothing was accounted in this time." })));
  }
  table.tFoot.replaceChildren(element("tr", {}, element("td", { textContent: "All" }), ...cells(told.total),
    element("td", { textContent: whole(told.total, false) }), element("td", { class: "parts" })));
  setText(byId("count"), told.left ? `${told.groups.length} shown, ${told.left} more: aliquot report has all` : `${told.groups.length} shown`);
}

function draw() {
  segmented("windows", WINDOWS, state.window, (name) => go({ window: name }));
  segmented("topics", Object.entries(TOPICS).map(([name, topic]) => [name, topic.label]), state.topic, (name) => {
    state.topic = name;
    history.replaceState(null, "", `#${address()}`);
    draw();
  });
  drawBy();
  drawPath();
  if (!told || told.by !== state.by) return;
  drawTotal();
  drawCourse();
  drawTable();
}

addEventListener("resize", () => { if (told && told.by === state.by) drawCourse(); });
addEventListener("popstate", () => { readAddress(); load(); });
readAddress();
load();
setInterval(() => { if (!document.hidden) load(); }, REFRESH_MS);
