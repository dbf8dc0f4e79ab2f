/** Puts the page together. */

import { showDevice, showWorkload, startDetails } from "./details.js";
import { byId, setText } from "./dom.js";
import { connect, on } from "./feed.js";
import { highlight, recolour, startMosaic } from "./mosaic.js";
import { startPanels } from "./panels.js";
import { showTable, startTable } from "./table.js";

const SCHEMES = { "": ["◐", "as the system has it"], light: ["☀", "light"], dark: ["☾", "dark"] };

function remembered() {
  try { return localStorage.getItem("scheme") ?? ""; } catch { return ""; }
}

function applyScheme(scheme) {
  if (scheme) document.documentElement.dataset.theme = scheme;
  else delete document.documentElement.dataset.theme;
  const [sign, words] = SCHEMES[scheme] ?? SCHEMES[""];
  setText(byId("theme"), sign);
  byId("theme").setAttribute("aria-label", `Colour scheme: ${words}`);
  recolour();
  document.dispatchEvent(new Event("recolour"));
}

let scheme = remembered();
byId("theme").addEventListener("click", () => {
  const order = Object.keys(SCHEMES);
  scheme = order[(order.indexOf(scheme) + 1) % order.length];
  try { localStorage.setItem("scheme", scheme); } catch { /* Storage may be switched off; the choice is not kept then. */ }
  applyScheme(scheme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => applyScheme(scheme));

function showAs(table) {
  byId("mosaic-view").hidden = table;
  byId("table-view").hidden = !table;
  byId("zoom").hidden = table;
  byId("as-table").setAttribute("aria-pressed", String(table));
  byId("as-mosaic").setAttribute("aria-pressed", String(!table));
  showTable(table);
}
byId("as-mosaic").addEventListener("click", () => showAs(false));
byId("as-table").addEventListener("click", () => showAs(true));

function showConnection(status) {
  byId("connection").className = `pill ${status}`;
  setText(byId("connection"), { live: "Live", loading: "Loading", lost: "Connection lost, trying again" }[status]);
}
// What was known before a connection was lost may be old: it is live once it has been told anew.
on("connection", (status) => showConnection(status === "live" ? "loading" : status));
on("summary", (summary) => {
  document.documentElement.dataset.version = summary.version;
  showConnection("live");
});

startDetails();
startTable();
startMosaic(showDevice);
startPanels(highlight, showWorkload);
applyScheme(scheme);
connect();
