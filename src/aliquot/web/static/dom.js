/** Building and keeping DOM nodes. Text is always set as text, never as markup. */

/** An element with properties, attributes (names with a dash, `role`, `class`) and children. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name.includes("-") || name === "role" || name === "scope") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Set text only when it differs, so that screen readers and selections are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make the children of `parent` those of `items`, in order. `key(item)` names an item; `make(item)` builds its
 * node, `same(old, item)` says whether the node that is there still tells the truth.
 */
export function keep(parent, items, key, make) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const text = JSON.stringify(item);
    let node = present.get(name);
    present.delete(name);
    if (!node || node.told !== text) {
      const fresh = make(item);
      fresh.dataset.key = name;
      fresh.told = text;
      if (node) {
        const focused = node.contains(document.activeElement);
        if (place === node) place = node.nextElementSibling;
        node.remove();
        parent.insertBefore(fresh, place);
        if (focused) fresh.querySelector("button")?.focus();
      } else parent.insertBefore(fresh, place);
      node = fresh;
    } else if (node !== place) parent.insertBefore(node, place);
    else place = place.nextElementSibling;
  }
  for (const node of present.values()) node.remove();
}

/** `3m` since an RFC 3339 time. */
export function since(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (!Number.isFinite(seconds) || seconds > 3e9 / 3) return "";
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86400)}d`;
}

/** `14:03:09` in the reader's time zone. */
export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour12: false });
}
