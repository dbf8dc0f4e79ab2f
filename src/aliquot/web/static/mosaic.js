/** The fleet drawn on a canvas: every device a tile, its parts as sub-tiles, coloured by queue. */

import { byId, setText } from "./dom.js";
import { on, queueName, state } from "./feed.js";
import { Geometry, TILES, fitting } from "./geometry.js";
import { colour, ink, readScheme, style } from "./palette.js";

const view = byId("mosaic");
const canvas = byId("canvas");
const size = byId("mosaic-size");
const tip = byId("tip");
const announcer = byId("announcer");
const brush = canvas.getContext("2d");

let level = -1;
let fitted = true;
let geometry = new Geometry(state.layout, TILES[0], 100);
let cursor = -1;
let chosen = 0;
let scheduled = false;
let colours = {};
let show = () => {};

/** `open(number)` shows the details of a device. */
export function startMosaic(open) {
  show = open;
  new ResizeObserver(() => arrange()).observe(view);
  view.addEventListener("scroll", draw, { passive: true });
  view.addEventListener("pointermove", (event) => hover(event));
  view.addEventListener("pointerleave", () => { tip.hidden = true; });
  view.addEventListener("click", (event) => {
    const number = under(event);
    if (number >= 0) { cursor = number; draw(); show(number); }
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1 : -1, event.offsetY);
  }, { passive: false });
  view.addEventListener("keydown", keyed);
  view.addEventListener("blur", draw);
  byId("zoom-in").addEventListener("click", () => zoomBy(1));
  byId("zoom-out").addEventListener("click", () => zoomBy(-1));
  byId("zoom-fit").addEventListener("click", () => { fitted = true; arrange(); });
  on("layout", () => { cursor = Math.min(cursor, state.cells.length - 1); arrange(); });
  on("cells", draw);
  on("queues", draw);
}

/** Show one queue's devices and fade the others; 0 for all. */
export function highlight(number) {
  chosen = number;
  draw();
}

export function recolour() {
  readScheme();
  colours = { free: style("--free"), line: style("--free-line"), text: style("--text"), muted: style("--muted"),
    card: style("--card"), accent: style("--accent"), bad: style("--bad") };
  draw();
}

function arrange() {
  const width = view.clientWidth;
  const height = view.clientHeight;
  if (!width || !height) return;
  if (fitted || level < 0) level = fitting(state.layout, width, height);
  geometry = new Geometry(state.layout, TILES[level], width);
  size.style.height = `${geometry.height}px`;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  byId("zoom-in").disabled = level >= TILES.length - 1;
  byId("zoom-out").disabled = level <= 0;
  byId("zoom-fit").disabled = fitted;
  view.dataset.tile = String(TILES[level]);
  draw();
}

function zoomBy(steps, at = view.clientHeight / 2) {
  const next = Math.max(0, Math.min(TILES.length - 1, level + steps));
  if (next === level) return;
  // What is in the middle (or under the pointer) stays there.
  const anchor = geometry.at(view.clientWidth / 3, view.scrollTop + at);
  const ratio = (view.scrollTop + at) / Math.max(1, geometry.height);
  level = next;
  fitted = false;
  arrange();
  view.scrollTop = anchor >= 0 ? geometry.device(anchor)[1] - at : ratio * geometry.height - at;
  draw();
}

function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; paint(); });
}

function paint() {
  const ratio = window.devicePixelRatio || 1;
  const top = view.scrollTop;
  const width = view.clientWidth;
  const height = view.clientHeight;
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.clearRect(0, 0, width, height);
  brush.translate(0, -top);
  for (const [section, nodes] of geometry.visible(top, top + height)) {
    paintTitle(section);
    for (const node of nodes) paintNode(section, node);
  }
  if (cursor >= 0 && document.activeElement === view && cursor < geometry.devices) {
    const [x, y, w, h] = geometry.device(cursor);
    brush.strokeStyle = colours.accent;
    brush.lineWidth = 2;
    brush.strokeRect(x - 2, y - 2, w + 4, h + 4);
  }
}

function paintTitle(section) {
  brush.font = "600 11.5px system-ui, sans-serif";
  brush.fillStyle = colours.muted;
  brush.textBaseline = "alphabetic";
  brush.fillText(section.title, section.x, section.titleY);
}

function paintNode(section, node) {
  const [x, y, width, height] = geometry.node(node);
  if (geometry.aggregated) { paintWhole(node, x, y, width, height); return; }
  const tile = geometry.tile;
  const step = tile + section.gap;
  const first = geometry.first[node];
  const count = state.layout.shapes[section.shape].length;
  if (geometry.labels) {
    brush.font = "500 11px system-ui, sans-serif";
    brush.fillStyle = colours.text;
    brush.fillText(fit(state.layout.nodes[node][0], section.stepX - 6), x, y - 5);
  }
  for (let own = 0; own < count; own++) {
    const left = x + (own % section.columns) * step;
    const down = y + Math.floor(own / section.columns) * step;
    paintTile(state.cells[first + own], left, down, tile, state.layout.shapes[section.shape][own]);
  }
}

/** Text that fits in a tile; of a longer one the number at its end, or nothing. */
function write(text, x, y, width) {
  const shown = [text, text.match(/[0-9]+$/)?.[0] ?? ""].find((one) => brush.measureText(one).width <= width);
  if (shown) brush.fillText(shown, x, y);
}

const fits = new Map();
function fit(text, width) {
  const key = `${Math.round(width)} ${text}`;
  let found = fits.get(key);
  if (found === undefined) {
    found = text;
    while (found.length > 4 && brush.measureText(found).width > width) found = `${found.slice(0, -2)}…`.replace("……", "…");
    if (fits.size > 20000) fits.clear();
    fits.set(key, found);
  }
  return found;
}

function paintTile(cell, x, y, tile, device) {
  const radius = tile >= 17 ? 3 : tile >= 8 ? 1.5 : 0;
  if (typeof cell === "number") {
    box(x, y, tile, tile, cell, radius, false);
  } else {
    const [, problem, parts] = cell;
    box(x, y, tile, tile, 0, radius, Boolean(problem));
    let reached = 0;
    for (const [queue, share, start] of parts) {
      const from = start ?? reached;
      reached = from + share;
      const left = x + from * tile;
      const wide = Math.max(tile >= 4 ? 1 : 0.5, Math.min(share, 1 - from) * tile - (tile >= 10 ? 1 : 0));
      if (queue) box(left, y, wide, tile, queue, Math.min(radius, wide / 3), false);
      else if (tile >= 10) { brush.strokeStyle = colours.line; brush.lineWidth = 1; brush.strokeRect(left + 0.5, y + 0.5, wide - 1, tile - 1); }
    }
    if (problem && tile >= 3) {
      brush.strokeStyle = colours.bad;
      brush.lineWidth = Math.max(0.75, tile / 14);
      brush.beginPath();
      brush.moveTo(x + 1, y + tile - 1);
      brush.lineTo(x + tile - 1, y + 1);
      brush.stroke();
    }
  }
  if (tile >= 36) {
    const whole = typeof cell === "number" ? cell : cell[2].length === 1 && cell[2][0][1] === 1 ? cell[2][0][0] : -1;
    if (whole < 0) return;
    brush.font = "500 10px system-ui, sans-serif";
    brush.fillStyle = whole ? ink(whole) : colours.muted;
    write(device[0], x + 4, y + 13, tile - 7);
    if (whole && typeof cell !== "number") write(cell[0], x + 4, y + tile - 6, tile - 7);
  }
}

function box(x, y, width, height, queue, radius, problem) {
  const faded = chosen && queue !== chosen;
  brush.globalAlpha = faded ? (queue ? 0.14 : 0.5) : 1;
  brush.fillStyle = queue ? colour(queue) : colours.free;
  if (radius) {
    brush.beginPath();
    brush.roundRect(x, y, width, height, radius);
    brush.fill();
    if (!queue && height >= 8) { brush.strokeStyle = problem ? colours.bad : colours.line; brush.lineWidth = 1; brush.stroke(); }
  } else brush.fillRect(x, y, width, height);
  brush.globalAlpha = 1;
}

/** A node as one square, filled from the left by what its devices are held by. */
function paintWhole(node, x, y, width, height) {
  const first = geometry.first[node];
  const count = (geometry.first[node + 1] ?? geometry.devices) - first;
  const held = new Map();
  for (let own = 0; own < count; own++) {
    const cell = state.cells[first + own];
    if (typeof cell === "number") { if (cell) held.set(cell, (held.get(cell) ?? 0) + 1); continue; }
    for (const [queue, share] of cell[2]) if (queue) held.set(queue, (held.get(queue) ?? 0) + share);
  }
  box(x, y, width, height, 0, 0, false);
  let left = x;
  for (const [queue, amount] of held) {
    const wide = (amount / count) * width;
    box(left, y, wide, height, queue, 0, false);
    left += wide;
  }
}

function under(event) {
  const bounds = view.getBoundingClientRect();
  return geometry.at(event.clientX - bounds.left, event.clientY - bounds.top + view.scrollTop);
}

function hover(event) {
  const number = under(event);
  view.style.cursor = number >= 0 ? "pointer" : "";
  if (number < 0) { tip.hidden = true; return; }
  const { title, text } = describe(number);
  tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: title }), text);
  tip.hidden = false;
  const { innerWidth, innerHeight } = window;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
}

/** Node and device by a device's number. */
export function named(number) {
  const node = geometry.nodeOf(number);
  const [name, zone, shape] = state.layout.nodes[node];
  const [device, product, memory] = state.layout.shapes[shape][number - geometry.first[node]];
  return { node: name, zone, device, product: state.layout.products[product], memory };
}

function describe(number) {
  const { node, device, product, memory } = named(number);
  const cell = state.cells[number];
  if (geometry.aggregated) {
    const index = geometry.nodeOf(number);
    const count = (geometry.first[index + 1] ?? geometry.devices) - geometry.first[index];
    const taken = state.cells.slice(number, number + count).filter((item) => item !== 0).length;
    return { title: node, text: `${count} × ${product}: ${taken} in use` };
  }
  return { title: `${node} / ${device}`, text: `${product}, ${memory}: ${holding(cell)}` };
}

function holding(cell) {
  if (cell === 0) return "free";
  if (typeof cell === "number") return `held by ${queueName(cell)}`;
  const [mode, problem, parts] = cell;
  const held = parts.filter(([queue]) => queue);
  const names = [...new Set(held.map(([queue]) => queueName(queue)))];
  const text = held.length ? `${mode}, ${held.length} part${held.length === 1 ? "" : "s"} held by ${names.join(", ")}` : `${mode}, free`;
  return problem ? `${text}; ${problem}` : text;
}

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const last = geometry.devices - 1;
  if (last < 0) return;
  const moves = { ArrowRight: 1, ArrowLeft: -1 };
  if (event.key in moves) cursor = cursor < 0 ? 0 : Math.max(0, Math.min(last, cursor + moves[event.key]));
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") cursor = beside(event.key === "ArrowDown" ? 1 : -1);
  else if (event.key === "Home") cursor = 0;
  else if (event.key === "End") cursor = last;
  else if (event.key === "Enter" || event.key === " ") { if (cursor >= 0) show(cursor); }
  else if (event.key === "+" || event.key === "=") zoomBy(1);
  else if (event.key === "-") zoomBy(-1);
  else if (event.key === "0") { fitted = true; arrange(); }
  else return;
  event.preventDefault();
  if (cursor >= 0) {
    const [, y, , height] = geometry.device(cursor);
    if (y < view.scrollTop + 24) view.scrollTop = y - 30;
    else if (y + height > view.scrollTop + view.clientHeight) view.scrollTop = y + height - view.clientHeight + 12;
    const { title, text } = describe(cursor);
    setText(announcer, `${title}: ${text}`);
  }
  draw();
}

/** The device above or below the cursor, also across nodes and sections; the cursor itself at the edge. */
function beside(direction) {
  if (cursor < 0) return 0;
  const [x, y, width, height] = geometry.device(cursor);
  const step = Math.max(2, geometry.tile / 2);
  const start = direction > 0 ? y + height + step : y - step;
  for (const across of [x + width / 2, 14]) {
    for (let at = start; at > 0 && at < geometry.height; at += direction * step) {
      const found = geometry.at(across, at);
      if (found >= 0 && found !== cursor) return found;
    }
  }
  return cursor;
}
