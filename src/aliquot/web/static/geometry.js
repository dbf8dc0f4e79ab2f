/**
 * Where devices lie in the mosaic. Nodes of one zone with as many devices of one product form a section; a section is
 * a grid of node cells; a node cell is a grid of tiles. Places are computed, not stored, so 40,000 devices cost nothing.
 */

export const TILES = [0.6, 0.8, 1, 1.2, 1.4, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 46, 60];
/** Below this tile size a node is one square that sums up its devices. */
export const WHOLE_NODES = 2;
/** The side of such a square, in tile sizes. */
const NODE_SQUARE = 5;
const LABELS_FROM = 15;
const TITLES_FROM = 6;
const PAD = 12;
const BETWEEN = 28;
/** Width of a letter of a title, roughly; titles decide how close sections may stand. */
const LETTER = 7;
/** Fitting stops here: larger tiles tell nothing more. */
const LARGEST_FIT = 46;

export class Geometry {
  constructor(layout, tile, width) {
    this.tile = tile;
    this.layout = layout;
    this.aggregated = tile < WHOLE_NODES;
    this.labels = tile >= LABELS_FROM;
    this.sections = [];
    this.first = []; // number of the first device of each node
    const sections = new Map();
    let devices = 0;
    layout.nodes.forEach(([, zone, shape], node) => {
      this.first.push(devices);
      devices += layout.shapes[shape].length;
      const kinds = layout.shapes[shape];
      const key = `${zone}\n${kinds.length}\n${kinds.length ? kinds[0][1] : ""}`;
      if (!sections.has(key)) sections.set(key, { zone, shape, nodes: [] });
      sections.get(key).nodes.push(node);
    });
    this.devices = devices;
    this.sectionOf = new Int32Array(layout.nodes.length);
    this.rankOf = new Int32Array(layout.nodes.length);
    const ordered = [...sections.values()].sort((a, b) => a.zone.localeCompare(b.zone, undefined, { numeric: true }));
    // Sections of one line stand side by side as far as there is room, like words in a text.
    const title = tile >= TITLES_FROM ? 26 : 18;
    let x = PAD;
    let y = 4;
    let tallest = 0;
    for (const section of ordered) {
      section.title = titleOf(layout, section);
      this.measure(section, width);
      const wide = Math.max(Math.min(section.perRow, section.nodes.length) * section.stepX, section.title.length * LETTER);
      if (x > PAD && (section.lines > 1 || x + wide > width - PAD)) {
        x = PAD;
        y += tallest;
        tallest = 0;
      }
      section.x = x;
      section.y = y + title;
      section.titleY = section.y - 8;
      tallest = Math.max(tallest, title + section.height + (this.labels ? 6 : 2));
      x = section.lines > 1 ? width : x + wide + BETWEEN;
      section.nodes.forEach((node, rank) => {
        this.sectionOf[node] = this.sections.length;
        this.rankOf[node] = rank;
      });
      this.sections.push(section);
    }
    this.height = y + tallest + 6;
  }

  /** How large the cells of a section are and how many stand in a line. */
  measure(section, width) {
    const count = this.layout.shapes[section.shape].length;
    const gap = this.tile >= 8 ? 2 : this.tile >= 4 ? 1 : this.tile >= 3 ? 0.5 : 0;
    section.gap = gap;
    section.columns = count <= 4 ? count : count <= 16 ? Math.ceil(count / 2) : Math.ceil(Math.sqrt(count * 2));
    section.rows = Math.ceil(count / section.columns);
    if (this.aggregated) {
      section.cellWidth = section.cellHeight = Math.round(this.tile * NODE_SQUARE);
    } else {
      section.cellWidth = section.columns * (this.tile + gap) - gap;
      section.cellHeight = section.rows * (this.tile + gap) - gap + (this.labels ? 18 : 0);
    }
    const margin = this.aggregated ? (this.tile < 1 ? 1 : 2) : Math.max(3, Math.min(14, Math.round(this.tile * 0.55)));
    section.stepX = Math.max(section.cellWidth, this.labels ? 64 : 0) + margin;
    section.stepY = section.cellHeight + margin;
    section.perRow = Math.max(1, Math.floor((width - 2 * PAD + margin) / section.stepX));
    section.lines = Math.ceil(section.nodes.length / section.perRow);
    section.height = section.lines * section.stepY - margin;
  }

  /** The rectangle of a node: [x, y, width, height] of its tiles, without its label. */
  node(node) {
    const section = this.sections[this.sectionOf[node]];
    const rank = this.rankOf[node];
    const x = section.x + (rank % section.perRow) * section.stepX;
    const y = section.y + Math.floor(rank / section.perRow) * section.stepY;
    const label = this.labels ? 18 : 0;
    return [x, y + label, section.cellWidth, section.cellHeight - label];
  }

  /** The rectangle of a device by its number. */
  device(number) {
    const node = this.nodeOf(number);
    const [x, y, width, height] = this.node(node);
    if (this.aggregated) return [x, y, width, height];
    const section = this.sections[this.sectionOf[node]];
    const own = number - this.first[node];
    const step = this.tile + section.gap;
    return [x + (own % section.columns) * step, y + Math.floor(own / section.columns) * step, this.tile, this.tile];
  }

  /** The node that has a device, by binary search. */
  nodeOf(number) {
    let low = 0;
    let high = this.first.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.first[middle] <= number) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The device at a point, -1 where there is none. */
  at(x, y) {
    for (const section of this.sections) {
      if (y < section.y || y >= section.y + section.height) continue;
      const column = Math.floor((x - section.x) / section.stepX);
      const line = Math.floor((y - section.y) / section.stepY);
      if (column < 0 || column >= section.perRow) continue;
      const node = section.nodes[line * section.perRow + column];
      if (node === undefined) continue;
      const [left, top, width, height] = this.node(node);
      if (x < left || x > left + width || y > top + height) return -1;
      if (this.aggregated) return this.first[node];
      const step = this.tile + section.gap;
      const row = Math.max(0, Math.floor((y - top) / step));
      const own = row * section.columns + Math.min(section.columns - 1, Math.floor((x - left) / step));
      return own < this.layout.shapes[section.shape].length ? this.first[node] + own : -1;
    }
    return -1;
  }

  /** The sections and the lines of them that lie between two heights. */
  *visible(top, bottom) {
    for (const section of this.sections) {
      if (section.y + section.height < top || section.titleY - 16 > bottom) continue;
      const from = Math.max(0, Math.floor((top - section.y) / section.stepY));
      const to = Math.min(section.lines, Math.ceil((bottom - section.y) / section.stepY));
      yield [section, section.nodes.slice(from * section.perRow, to * section.perRow)];
    }
  }
}

/** What stands above a section: its zone, and how many nodes have what. */
function titleOf(layout, section) {
  const shape = layout.shapes[section.shape];
  const product = shape.length ? layout.products[shape[0][1]] : "";
  const count = section.nodes.length;
  const nodes = `${count.toLocaleString("en")} node${count === 1 ? "" : "s"} × ${shape.length} ${product}`;
  return section.zone ? `zone ${section.zone}  ·  ${nodes}` : nodes;
}

/** The largest tile size with which everything is seen at once, or the smallest there is. */
export function fitting(layout, width, height) {
  for (let level = TILES.length - 1; level > 0; level--) {
    if (new Geometry(layout, TILES[level], width).height <= height) return Math.min(level, TILES.indexOf(LARGEST_FIT));
  }
  return 0;
}
