/** What the page knows, kept current by server-sent events. */

export const state = {
  layout: { products: [], shapes: [], nodes: [] },
  /** One per device, in the order of the layout: 0, a queue's number, or [mode, problem, [[queue, share, start]]]. */
  cells: [],
  queues: new Map(),
  waiting: new Map(),
  leaving: new Map(),
  decisions: [],
  summary: null,
};

const MAX_DECISIONS = 200;
const listeners = new Map();

/** Call `listener(detail)` after each change of one part: layout, cells, queues, waiting, leaving, decisions, summary. */
export function on(part, listener) {
  if (!listeners.has(part)) listeners.set(part, []);
  listeners.get(part).push(listener);
}

function tell(part, detail) {
  for (const listener of listeners.get(part) ?? []) listener(detail);
}

function merge(map, change) {
  if (change.all) map.clear();
  for (const key of change.gone) map.delete(key);
  for (const item of change.set) map.set(item.key, item);
}

const handlers = {
  layout(data) {
    state.cells = data.cells;
    state.layout = { products: data.products, shapes: data.shapes, nodes: data.nodes };
  },
  cells(changed) {
    for (const [place, cell] of changed) state.cells[place] = cell;
  },
  queues: (data) => merge(state.queues, data),
  waiting: (data) => merge(state.waiting, data),
  leaving: (data) => merge(state.leaving, data),
  summary(data) {
    state.summary = data;
  },
  decisions(data) {
    const known = new Set(data.all ? [] : state.decisions.map((item) => item.entry));
    const fresh = data.new.filter((item) => !known.has(item.entry)).reverse();
    state.decisions = [...fresh, ...(data.all ? [] : state.decisions)].slice(0, MAX_DECISIONS);
  },
};

/** Open the stream; the browser opens it again when it breaks, and everything is told anew then. */
export function connect() {
  const source = new EventSource("/events");
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      handle(data);
      tell(name, data);
    });
  }
  source.addEventListener("open", () => tell("connection", "live"));
  source.addEventListener("error", () => {
    tell("connection", "lost");
    // A refusal (too many pages, a server that restarts) ends the stream for good: try again ourselves.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
}

/** The queues in the order of the tree. */
export const queues = () => [...state.queues.values()].sort((a, b) => a.order - b.order);
export const waiting = () => [...state.waiting.values()].sort((a, b) => a.order - b.order);

export const leaving = () => [...state.leaving.values()].sort((a, b) => a.order - b.order);

/** The name that people see for a queue's number. */
export function queueName(number) {
  for (const queue of state.queues.values()) if (queue.number === number) return queue.name || "no queue";
  return "no queue";
}
