/** The fleet as a table: the same as the mosaic, page by page, with names. */

import { byId, element, setText } from "./dom.js";
import { on } from "./feed.js";

const PAGE = 100;
const REFRESH_MS = 2000;

let offset = 0;
let total = 0;
let shown = false;
let asked = 0;
let due = null;

export function startTable() {
  byId("table-filter").addEventListener("input", () => { offset = 0; later(200); });
  byId("table-back").addEventListener("click", () => { offset = Math.max(0, offset - PAGE); later(0); });
  byId("table-next").addEventListener("click", () => { if (offset + PAGE < total) offset += PAGE; later(0); });
  for (const part of ["layout", "cells"]) on(part, () => { if (shown && due === null) later(REFRESH_MS); });
}

export function showTable(visible) {
  shown = visible;
  if (visible) later(0);
}

function later(delay) {
  clearTimeout(due);
  due = setTimeout(load, delay);
}

async function load() {
  due = null;
  const turn = ++asked;
  const query = new URLSearchParams({ offset, limit: PAGE, text: byId("table-filter").value });
  let data;
  try {
    const answer = await fetch(`/api/devices?${query}`);
    if (!answer.ok) throw new Error(answer.statusText);
    data = await answer.json();
  } catch {
    setText(byId("table-count"), "could not be loaded");
    return;
  }
  if (turn !== asked) return;
  total = data.total;
  const last = Math.min(offset + PAGE, total);
  setText(byId("table-count"), total ? `${offset + 1}–${last} of ${total.toLocaleString("en")} devices` : "no devices");
  byId("table-back").disabled = offset === 0;
  byId("table-next").disabled = last >= total;
  byId("table").tBodies[0].replaceChildren(...data.rows.flatMap(rows));
}

function rows(device) {
  const split = device.parts.filter((part) => part.share !== "1");
  const whole = split.length ? [] : device.parts.flatMap((part) => part.holders);
  const first = row(device.node || "(several)", device.device, device.product, device.memory,
    device.problem ? `${device.mode} (${device.problem})` : device.mode, device.used, whole, "");
  return [first, ...split.map((part) => row("", part.device, part.profile, part.memory, "", part.share, part.holders, "part"))];
}

function row(node, device, product, memory, mode, used, holders, kind) {
  const names = (pick) => [...new Set(holders.map(pick).filter(Boolean))].join(", ") || "–";
  return element("tr", { class: kind }, ...[node, device, product, memory, mode, used].map((text) => element("td", {}, text)),
    element("td", {}, names((holder) => holder.queue)), element("td", {}, names((holder) => holder.workload)));
}
