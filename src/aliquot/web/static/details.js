/** One device or one workload, in a dialog. */

import { byId, clock, element, setText, since } from "./dom.js";
import { named } from "./mosaic.js";

const dialog = byId("details");
const body = byId("details-body");

export function startDetails() {
  byId("details-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

function open(title, ...content) {
  setText(byId("details-title"), title);
  body.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
}

async function ask(path, query) {
  try {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== "" && value !== null)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

/** Show a device by its number in the mosaic. */
export async function showDevice(number) {
  const { node, zone, device } = named(number);
  const data = await ask("/api/devices", { node: node === "(any node)" ? "" : node, limit: 200 });
  const found = data?.rows.find((row) => row.device === device);
  if (!found) { open(`${node} / ${device}`, element("p", {}, "It is not there any more.")); return; }
  open(`${node} / ${device}`,
    facts([["Product", found.product], ["Memory", found.memory], ["Zone", zone], ["Driver", found.driver],
      ["Mode in force", found.mode], ["Used/total", found.used], ["Problem", found.problem]]),
    element("h3", {}, found.parts.some((part) => part.holders.length) ? "Held by" : "Nobody holds it."),
    ...found.parts.flatMap((part) => part.holders.map((holder) => holderBox(part, holder))),
    ...found.parts.filter((part) => !part.holders.length && part.share !== "1").map((part) =>
      element("div", { class: "box" }, element("b", {}, part.device), ` ${part.profile}, ${part.memory}: free`)));
}

function holderBox(part, holder) {
  const [namespace, name] = holder.workload.split("/");
  const workload = holder.workload
    ? element("button", { type: "button", onclick: () => showWorkload(holder.kind, namespace, name) }, `${holder.kind.toLowerCase()} ${holder.workload}`)
    : "";
  return element("div", { class: "box" }, facts([
    ["Part", part.share === "1" ? "" : `${part.device} (${part.profile || part.share})`],
    ["Share", holder.share === "1" ? "whole device" : holder.share],
    ["Queue", holder.queue || "no queue"], ["Workload", workload], ["Claim", holder.claim],
    ["Pods", holder.pods.join(", ")], ["Access", holder.admin ? "administrative, takes nothing" : ""]]));
}

/** Show a workload. */
export async function showWorkload(kind, namespace, name) {
  const data = await ask("/api/workload", { kind, namespace, name });
  const title = `${kind.toLowerCase()}/${name}`;
  if (!data || data.error) { open(title, element("p", {}, "It is not there any more.")); return; }
  open(title,
    facts([["Namespace", data.namespace], ["Queue", data.queue || "no queue"], ["Status", data.status],
      ["Position", data.position ? String(data.position) : ""], ["Pods running", `${data.ready} of ${data.total}`],
      ["Devices", data.devices], ["Nodes", data.nodes.join(", ")], ["Priority", String(data.priority)], ["Age", since(data.created)]]),
    ...(data.sentence ? [element("h3", {}, `Why it waits: ${data.reason}`), element("p", {}, data.sentence),
      ...data.taking.map((text) => element("p", {}, text)),
      data.fix ? element("p", { class: "hint" }, `Nearest fix: ${data.fix}`) : ""] : []),
    element("h3", {}, data.history.length ? "Decisions" : "No decisions recorded."),
    element("ul", { class: "history" }, ...data.history.map((entry) =>
      element("li", {}, element("time", { dateTime: entry.time, title: entry.id }, clock(entry.time)), entry.text))));
}
