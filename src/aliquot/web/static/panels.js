/** Queues, waiting workloads, decisions, the legend and the figures at the top. */

import { byId, clock, element, keep, setText, since } from "./dom.js";
import { leaving, on, queues, state, waiting } from "./feed.js";
import { colour } from "./palette.js";

let chosen = 0;

/** `choose(number)` highlights a queue in the mosaic; `open(kind, namespace, name)` shows a workload. */
export function startPanels(choose, open) {
  const pick = (number) => {
    chosen = chosen === number ? 0 : number;
    choose(chosen);
    showQueues(pick);
    showLegend(pick);
  };
  on("queues", () => { showQueues(pick); showLegend(pick); });
  on("layout", () => showLegend(pick));
  on("waiting", () => showWaiting(open));
  on("leaving", showLeaving);
  on("decisions", () => showDecisions(open));
  on("summary", showFigures);
  document.addEventListener("recolour", () => {
    // Before anything is known, empty lists are not said to be all there is.
    if (!state.summary) return;
    for (const list of [byId("queues"), byId("legend"), byId("waiting"), byId("leaving")]) list.replaceChildren();
    showQueues(pick);
    showLegend(pick);
    showWaiting(open);
    showLeaving();
  });
  setInterval(() => {
    for (const node of document.querySelectorAll("[data-since]")) setText(node, since(node.dataset.since));
  }, 5000);
}

function swatch(number) {
  const node = element("i", { class: number ? "swatch" : "swatch free", "aria-hidden": "true" });
  if (number) node.style.background = colour(number);
  return node;
}

function showLegend(pick) {
  const items = queues()
    .filter((queue) => queue.running || queue.used || queue.waiting || queue.number === 1)
    .slice(0, 40)
    .map((queue) => ({ number: queue.number, name: queue.name || "no queue", pressed: queue.number === chosen }));
  if (state.cells.length) items.push({ number: 0, name: "free", pressed: false });
  keep(byId("legend"), items, (item) => String(item.number), (item) => {
    if (!item.number) return element("li", {}, element("button", { type: "button", disabled: true }, swatch(0), item.name));
    return element("li", {}, element("button", {
      type: "button", "aria-pressed": String(item.pressed), title: "Show only this queue's devices", onclick: () => pick(item.number),
    }, swatch(item.number), item.name));
  });
}

function showQueues(pick) {
  const items = queues().map((queue) => ({ ...queue, chosen: queue.number === chosen }));
  setText(byId("queues-sub"), items.length ? "bar: GPUs used · line: fair share · mark: quota" : "");
  if (!items.length) {
    byId("queues").replaceChildren(element("li", { class: "empty" }, "No queues. Work runs first come, first served."));
    return;
  }
  keep(byId("queues"), items, (item) => item.key, (item) => queueItem(item, pick));
}

function queueItem(queue, pick) {
  const whole = queue.limit ?? queue.of ?? 0;
  const scale = Math.max(whole, queue.used, queue.quota ?? 0, queue.share ?? 0) || 1;
  const fill = element("i");
  fill.style.width = `${(100 * queue.used) / scale}%`;
  fill.style.background = colour(queue.number);
  const bar = element("div", { class: "bar", "aria-hidden": "true" }, fill);
  const share = element("i");
  share.style.width = `${(100 * (queue.share ?? 0)) / scale}%`;
  if (queue.quota !== null && queue.quota > 0 && queue.quota <= scale) {
    const mark = element("b");
    mark.style.left = `calc(${(100 * queue.quota) / scale}% - 1px)`;
    bar.append(mark);
  }
  const percent = whole ? ` ${inPercent(queue.used, whole)}` : "";
  const of = queue.limit !== null ? `/${trim(queue.limit)}` : queue.of ? `/${trim(queue.of)}` : "";
  const row = element("li", { class: queue.chosen ? "chosen" : "" },
    element("div", { class: "queue-line" },
      element("button", { type: "button", "aria-pressed": String(queue.chosen), title: "Show only this queue's devices",
        onclick: () => pick(queue.number) }, swatch(queue.number), queue.name || "no queue"),
      element("span", { class: "amount" }, element("b", {}, queue.usedText), element("span", {}, `${of}${percent}`))),
    bar,
    queue.share !== null ? element("div", { class: "bar share", "aria-hidden": "true" }, share) : null,
    element("div", { class: "queue-foot" },
      element("span", {}, `${queue.running} running`),
      queue.waiting ? element("span", { class: "waits" }, `${queue.waiting} waiting`) : null,
      queue.share !== null ? element("span", {}, `fair share ${queue.shareText}`) : null,
      queue.balance ? element("span", { class: queue.balance.endsWith("over") ? "over" : "under" }, queue.balance) : null,
      queue.wanted ? element("span", {}, `${queue.wanted} wanted`) : null,
      queue.quota !== null ? element("span", {}, queue.quota < 0 ? "no bound to the quota" : `quota ${trim(queue.quota)}`) : null,
      queue.limit !== null ? element("span", {}, `limit ${trim(queue.limit)}`) : null,
      ...queue.others.map(([name, used, limit]) => element("span", {}, `${name} ${used}/${limit}`)),
      queue.problem ? element("span", { class: "broken" }, queue.problem) : null));
  row.style.paddingLeft = `${14 + 16 * Math.min(queue.depth, 6)}px`;
  return row;
}

/** In whole percent; above 0 and below 100 are never rounded to either, as in the tables of the command line. */
function inPercent(part, whole) {
  const rounded = Math.round((100 * part) / whole);
  if (part > 0 && !rounded) return "<1%";
  return rounded === 100 && part < whole ? ">99%" : `${rounded}%`;
}

const trim = (value) => String(Math.round(value * 100) / 100);

function showWaiting(open) {
  const items = waiting();
  const list = byId("waiting");
  if (!items.length) {
    list.replaceChildren(element("li", { class: "empty" }, "Nothing waits."));
    return;
  }
  if (list.firstElementChild?.className === "empty") list.replaceChildren();
  keep(list, items, (item) => item.key, (item) => element("li", {},
    element("div", { class: "waiting-line" },
      swatch(item.number),
      element("button", { type: "button", onclick: () => open(...item.key.split("/")) }, `${item.namespace}/${item.name}`),
      element("span", { class: "place" },
        item.lacking && item.lacking < item.pods ? `${item.lacking} of ${item.pods} pods · ` : "",
        item.position ? `#${item.position} in ${item.queue || "no queue"} · ` : "",
        element("span", { "data-since": item.since }, since(item.since)))),
    element("p", {}, element("span", { class: "tag reason" }, item.reason || "Undecided"), " ", item.sentence),
    item.fix ? element("p", { class: "fix" }, item.fix) : null));
}

function showLeaving() {
  const items = leaving();
  byId("leaving-box").hidden = !items.length;
  keep(byId("leaving"), items, (item) => item.key, (item) => element("li", {},
    element("div", { class: "waiting-line" },
      swatch(item.number),
      element("b", {}, item.key),
      element("span", { class: "place" }, `${item.devices} on ${item.node}${item.movedTo ? ` → ${item.movedTo}` : ""}`)),
    element("p", {}, element("span", { class: "tag leaves" }, item.reason), " ", item.sentence),
    item.lost ? element("p", { class: "cost" }, `${item.lost} of its work is lost`) : null));
}

function showDecisions(open) {
  const body = byId("decisions").tBodies[0];
  if (!state.decisions.length) {
    body.replaceChildren(element("tr", {}, element("td", { class: "empty", colSpan: 4 }, "No decisions yet.")));
    return;
  }
  if (body.firstElementChild && !body.firstElementChild.dataset.key) body.replaceChildren();
  const first = !body.childElementCount;
  keep(body, state.decisions, (item) => String(item.entry), (item) => element("tr", { class: first ? "" : "new" },
    element("td", { class: "mono", title: `${item.time}, decision ${item.id}` }, clock(item.time)),
    element("td", {}, element("span", { class: `tag ${item.outcome}` }, item.outcome)),
    element("td", { title: `${item.namespace}/${item.name}` }, item.namespace ? `${item.namespace}/${item.name}` : item.name),
    element("td", {}, item.text)));
}

function showFigures(summary) {
  const count = summary.waiting;
  const listed = count > state.waiting.size ? `, the first ${state.waiting.size} of them listed` : "";
  setText(byId("waiting-sub"), count ? `${count.toLocaleString("en")} workload${count === 1 ? "" : "s"}${listed}` : "");
  setText(byId("fig-allocated"), `${summary.allocated}/${summary.devices.toLocaleString("en")}`);
  setText(byId("fig-percent"), summary.percent);
  byId("fig-meter").style.width = summary.percent.replace(/[<>]/, "");
  for (const name of ["nodes", "running", "starting", "waiting"]) setText(byId(`fig-${name}`), summary[name].toLocaleString("en"));
  byId("fig-waiting").parentElement.classList.toggle("alert", summary.waiting > 0);
  const unusable = summary.unusable ? ` · ${summary.unusable} unusable` : "";
  setText(byId("fleet-sub"), `${summary.nodes.toLocaleString("en")} nodes · ${summary.devices.toLocaleString("en")} devices${unusable}`);
  document.title = summary.waiting ? `(${summary.waiting}) Aliquot` : "Aliquot";
}
