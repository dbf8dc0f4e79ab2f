"use strict";
(() => {
  const tip = document.getElementById("tip");
  const clock = (seconds) => {
    const days = Math.floor(seconds / 86400), rest = seconds % 86400;
    const two = (value) => String(Math.floor(value)).padStart(2, "0");
    return `${days ? `day ${days}, ` : ""}${two(rest / 3600)}:${two((rest / 60) % 60)}`;
  };
  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const part = (name, text, tone) => {
    const made = document.createElement(name);
    if (tone) made.className = tone;
    made.textContent = text;
    return made;
  };
  const show = (figure, data, room, line, event) => {
    const box = room.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * data.end;
    let step = 0;
    while (step + 1 < data.times.length && data.times[step + 1] <= at) step += 1;
    line.style.left = `${(100 * data.times[step]) / Math.max(1, data.end)}%`;
    line.hidden = false;
    tip.replaceChildren(part("b", clock(data.times[step])));
    for (const row of data.rows) {
      if (row.values[step] === undefined) continue;
      const range = row.low ? ` (${number(row.low[step])} to ${number(row.high[step])})` : "";
      const entry = part("div", "");
      const name = part("span", "");
      name.append(part("i", "", `swatch ${row.tone}`), row.name);
      const value = part("span", number(row.values[step]));
      value.append(part("small", `${range} ${data.unit}`));
      entry.append(name, value);
      tip.append(entry);
    }
    tip.hidden = false;
    const size = tip.getBoundingClientRect();
    const left = event.clientX + 16 + size.width > innerWidth ? event.clientX - size.width - 12 : event.clientX + 16;
    tip.style.left = `${Math.max(6, left)}px`;
    tip.style.top = `${Math.max(6, Math.min(innerHeight - size.height - 6, event.clientY + 14))}px`;
  };
  for (const figure of document.querySelectorAll(".plot")) {
    const room = figure.querySelector(".room"), line = figure.querySelector(".pointer");
    let data = null;
    const read = () => (data ??= JSON.parse(figure.dataset.plot));
    room.addEventListener("pointermove", (event) => { if (read().times.length) show(figure, data, room, line, event); });
    room.addEventListener("pointerleave", () => { line.hidden = true; tip.hidden = true; });
  }
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  button.hidden = false;
})();
