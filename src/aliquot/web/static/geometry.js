/**
 * Where devices lie in the mosaic. Nodes of one zone with as many devices of one product form a section; a section is
 * a grid of node cells; a node cell is a grid of tiles. Places are computed, not stored, so 40,000 devices cost nothing.
 */

export const TILES = [0.6, 1, 1.4, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 46, 60];
/** Below this tile size a node is one square that sums up its devices. */
export const WHOLE_NODES = 2;
/** The side of such a square, in tile sizes. */
const NODE_SQUARE = 5;
const LABELS_FROM = 15;
const TITLES_FROM = 6;
const PAD = 12;

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
    const title = tile >= TITLES_FROM ? 26 : 18;
    let y = 4;
    for (const section of ordered) {
      this.place(section, width, y + title);
      section.titleY = y + title - 8;
      section.nodes.forEach((node, rank) => {
        this.sectionOf[node] = this.sections.length;
        this.rankOf[node] = rank;
      });
      this.sections.push(section);
      y += title + section.height + (this.labels ? 6 : 2);
    }
    this.height = y + 6;
  }

  place(section, width, y) {
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
    section.y = y;
    section.height = section.lines * section.stepY - margin;
  }

  /** The rectangle of a node: [x, y, width, height] of its tiles, without its label. */
  node(node) {
    const section = this.sections[this.sectionOf[node]];
    const rank = this.rankOf[node];
    const x = PAD + (rank % section.perRow) * section.stepX;
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
      const column = Math.floor((x - PAD) / section.stepX);
      const line = Math.floor((y - section.y) / section.stepY);
      if (column < 0 || column >= section.perRow) return -1;
      const node = section.nodes[line * section.perRow + column];
      if (node === undefined) return -1;
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

/** The largest tile size with which everything is seen at once, or the smallest there is. */
export function fitting(layout, width, height) {
  for (let level = TILES.length - 1; level > 0; level--) {
    if (new Geometry(layout, TILES[level], width).height <= height) return Math.min(level, 15);
  }
  return 0;
}
