/** The page of governance: four tabs, each read again every few seconds while it is seen. */

const EVERY_MS = 5000;
const TABS = ["budgets", "models", "agents", "spend"];
const SVG = "http://www.w3.org/2000/svg";

const content = document.getElementById("content");
const state = document.getElementById("state");
let days = 7;
let shown = "";
let told = "";

/** An element with a class, and children; text is always set as text. */
function make(tag, name = "", ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function table(titles, rows) {
  const head = make("tr");
  for (const [title, kind] of titles) {
    const cell = make("th", kind, title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = make("tbody");
  for (const row of rows) {
    body.append(make("tr", "", ...row.map((cell, place) => make("td", titles[place][1], cell))));
  }
  return make("div", "card", make("table", "", make("thead", "", head), body));
}

function withNote(text, note) {
  const span = make("span", "", text);
  if (note) span.append(make("small", "", note));
  return span;
}

function pill(text, kind) {
  return make("span", `pill ${kind}`, text);
}

/** The bar of a limit: what is spent, then what is held. Drawn as SVG, since styles are not set inline. */
function bar(limit) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "bar");
  drawing.setAttribute("viewBox", "0 0 1000 10");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `${limit.percent} % used`);
  const spent = Math.round(limit.spentPart * 1000);
  const held = Math.min(1000 - spent, Math.round(limit.heldPart * 1000));
  for (const [name, from, width] of [["spent", 0, spent], ["held", spent, held]]) {
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", name);
    for (const [key, value] of Object.entries({ x: from, y: 0, width, height: 10 })) part.setAttribute(key, value);
    drawing.append(part);
  }
  return drawing;
}

function more(found) {
  return found.more ? make("p", "sub", `and ${found.more} more; the command line shows all`) : null;
}

function empty(text, command) {
  return make("div", "card", make("p", "notice", `${text} `, make("code", "", command)));
}

const draw = {
  budgets(found) {
    if (!found.budgets.length) return [empty("No budgets yet. How they are written:", "docs/gateway.md")];
    const cards = found.budgets.map((budget) => {
      const head = make("div", "head", make("h2", "", budget.name),
        make("span", "sub", [budget.subject, budget.onLimit && `at its limit: ${budget.onLimit}`]
          .filter(Boolean).join(" · ")));
      const limits = budget.limits.map((limit) => make("div", `limit ${limit.level}`,
        withNote(`${limit.measure}${limit.per ? ` per ${limit.per}` : " at a time"}`,
          [limit.member, limit.models.join(", ")].filter(Boolean).join(" · ")),
        bar(limit),
        make("span", "amounts", `${limit.spent} of ${limit.limit}`,
          limit.held === "0" ? null : make("span", "sub", ` (${limit.held} held)`), " · ",
          make("span", "left", `${limit.left} left`))));
      return make("section", `card depth-${Math.min(budget.depth, 3)}`, head, ...limits);
    });
    return [...cards, more(found)];
  },

  models(found) {
    if (!found.models.length) return [empty("No models yet. Propose one with", "aliquot models propose")];
    const kinds = { Approved: "good", Deprecated: "warn", Revoked: "bad", Proposed: "" };
    return [table([["Model", ""], ["State", ""], ["Owner", ""], ["Weights", ""], ["May be called from", ""],
      ["Runs in", ""], ["Price in/out", "num"], ["Pods", "num"]],
    found.models.map((model) => [
      withNote(model.name, `${model.model} ${model.version}${model.licence ? ` · ${model.licence}` : ""}`),
      (() => {
        const cell = make("span", "", pill(model.state, kinds[model.state]));
        const note = [model.reason, model.replacedBy && `use ${model.replacedBy}`].filter(Boolean).join("; ");
        if (note) cell.append(make("small", "", note));
        return cell;
      })(),
      model.owner,
      withNote(model.source, model.pin),
      model.callers.join(", ") || "nobody",
      model.runs.join(", ") || "nowhere",
      model.price || "–",
      (() => {
        const cell = make("span", "", model.pods === null ? "–" : String(model.pods));
        if (model.state === "Revoked" && model.pods) cell.replaceChildren(pill(`${model.pods} still run`, "bad"));
        if (model.workloads.length) cell.title = model.workloads.join("\n");
        return cell;
      })(),
    ])), more(found)];
  },

  agents(found) {
    if (!found.agents.length) return [empty("No agents yet. Contain a tenant with", "aliquot agents contain -f tenant.yaml")];
    const kinds = { Running: "good", Stopped: "bad", Idle: "" };
    return [table([["Agent", ""], ["State", ""], ["Isolation", ""], ["Pods", "num"], ["Limits", ""]],
      found.agents.map((agent) => [
        withNote(agent.agent, agent.tenant && `tenant ${agent.tenant}`),
        withNote(pill(agent.state, kinds[agent.state]),
          [agent.by && `by ${agent.by}`, agent.reason].filter(Boolean).join(": ")),
        agent.isolation || "–",
        String(agent.pods),
        agent.limits.join(", ") || "none",
      ])), more(found), make("p", "sub", "Stop one: ", make("code", "", "aliquot agents stop AGENT --reason WHY"))];
  },

  spend(found) {
    const choice = make("div", "days", "Last");
    for (const number of [1, 7, 30]) {
      const button = make("button", "", number === 1 ? "day" : `${number} days`);
      button.type = "button";
      button.id = `days-${number}`;
      button.setAttribute("aria-pressed", String(number === days));
      button.addEventListener("click", () => { days = number; told = ""; read(); });
      choice.append(button);
    }
    const figures = make("dl", "figures");
    const facts = [["Calls", found.calls.toLocaleString("en")], ["Tokens", found.tokens.toLocaleString("en")],
      ["By price", found.price === null ? "–" : `${found.price} ${found.currency}`]];
    if (found.idle) facts.push(["Servers idle", `${found.idle.cost} ${found.ledgerCurrency}`]);
    for (const [title, text] of facts) figures.append(make("div", "", make("dt", "", title), make("dd", "", text)));
    const note = found.unpriced && found.price !== null ? make("p", "sub", `${found.unpriced} calls of models without a price`) : null;
    const dash = (value) => (value === null ? "–" : value.toLocaleString("en"));
    // Where models are priced in another currency than devices, two sums that differ are no mistake.
    const unit = (currency) => (found.currency === found.ledgerCurrency ? "" : `, ${currency}`);
    const titles = [["Namespace", ""], ["Model", ""], ["Calls", "num"], ["Input", "num"], ["Output", "num"],
      [`By price${unit(found.currency)}`, "num"], [`By ledger${unit(found.ledgerCurrency)}`, "num"],
      [`Per million${unit(found.ledgerCurrency)}`, "num"], ["Joules", "num"], ["Tokens/s/W", "num"]];
    return [choice, make("div", "card", figures), note, found.rows.length
      ? table(titles, found.rows.map((row) => [row.namespace || "–", row.model, dash(row.calls), dash(row.input),
        dash(row.output), dash(row.price), dash(row.cost), dash(row.perMillion), dash(row.joules), dash(row.tokensPerJoule)]))
      : empty("Nobody called a model in this time.", ""), more(found)];
  },
};

async function read() {
  const tab = shown;
  const address = tab === "spend" ? `/api/governance/spend?days=${days}` : `/api/governance/${tab}`;
  let found;
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (answer.status === 401) { window.location.assign("/login"); return; }
    found = await answer.json();
  } catch {
    state.textContent = "No connection; trying again";
    return;
  }
  if (tab !== shown) return;
  state.textContent = found.problem ? "Not available" : `As of ${new Date().toLocaleTimeString()}`;
  const text = tab + JSON.stringify(found);
  if (text === told) return;
  told = text;
  const nodes = found.problem
    ? [make("div", "card", make("p", "notice", `${found.problem}; ${found.fix}.`))] : draw[tab](found);
  const focused = document.activeElement?.id;
  content.replaceChildren(...nodes.filter(Boolean));
  if (focused && focused !== "content") document.getElementById(focused)?.focus();
  document.documentElement.dataset.shown = tab;
}

function show(tab) {
  shown = TABS.includes(tab) ? tab : "budgets";
  for (const name of TABS) {
    const button = document.getElementById(`tab-${name}`);
    button.setAttribute("aria-selected", String(name === shown));
    button.tabIndex = name === shown ? 0 : -1;
  }
  content.setAttribute("aria-labelledby", `tab-${shown}`);
  delete document.documentElement.dataset.shown;
  told = "";
  read();
}

for (const [place, name] of TABS.entries()) {
  const button = document.getElementById(`tab-${name}`);
  button.addEventListener("click", () => { window.location.hash = name; });
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(place + step + TABS.length) % TABS.length];
    window.location.hash = next;
    document.getElementById(`tab-${next}`).focus();
  });
}
window.addEventListener("hashchange", () => show(window.location.hash.slice(1)));
document.addEventListener("visibilitychange", () => { if (!document.hidden) read(); });
setInterval(() => { if (!document.hidden) read(); }, EVERY_MS);
show(window.location.hash.slice(1));
document.getElementById("logout").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", redirect: "manual" });
  window.location.assign("/login");
});
fetch("/api/governance/terms").then((answer) => answer.json()).then((terms) => {
  document.getElementById("logout").hidden = !terms.login;
  document.getElementById("pages").hidden = !terms.beside;
  document.getElementById("title").hidden = terms.beside;
}).catch(() => {});
