/**
 * Layered layout of a plan: each step stands to the right of all that it depends on, and the order within a layer keeps
 * edges short and uncrossed. It knows nothing of drawing.
 */

/**
 * @typedef {{id: string, needs: string[]}} Vertex `needs` may name vertices that are not there; they are ignored
 * @typedef {{x: number, y: number, layer: number, row: number}} Place middle of the left edge
 * @typedef {{from: string, to: string, points: [number, number][]}} Route
 * @typedef {{places: Map<string, Place>, routes: Route[], layers: string[][], width: number, height: number}} Layout
 * @typedef {{width: number, height: number, gapX: number, gapY: number}} Sizes of a vertex, and what lies between
 */

const SWEEPS = 6;
const ALIGNMENTS = 8;
const MOST_BENDS = 4_000;

/**
 * @param {Vertex[]} vertices without cycles; one that is in a cycle stands in the first layer
 * @param {Sizes} sizes
 * @returns {Layout}
 */
export function layout(vertices, sizes) {
  const known = new Set(vertices.map((vertex) => vertex.id));
  const needs = new Map(vertices.map(({ id, needs }) => [id, [...new Set(needs)].filter((need) => known.has(need))]));
  const depth = depths(vertices, needs);
  const graph = withBends(vertices, needs, depth);
  order(graph);
  const ys = align(graph, sizes);
  return placed(graph, needs, ys, sizes);
}

/**
 * The layer of each vertex: one more than the deepest that it needs.
 * @param {Vertex[]} vertices
 * @param {Map<string, string[]>} needs
 * @returns {Map<string, number>}
 */
export function depths(vertices, needs) {
  const depth = new Map(vertices.map(({ id }) => [id, 0]));
  const missing = new Map(vertices.map(({ id }) => [id, needs.get(id)?.length ?? 0]));
  /** @type {Map<string, string[]>} */
  const dependents = new Map();
  for (const [id, list] of needs)
    for (const need of list) {
      const others = dependents.get(need);
      if (others) others.push(id);
      else dependents.set(need, [id]);
    }
  const ready = vertices.filter(({ id }) => missing.get(id) === 0).map(({ id }) => id);
  for (let at = 0; at < ready.length; at++) {
    for (const next of dependents.get(ready[at]) ?? []) {
      depth.set(next, Math.max(depth.get(next) ?? 0, (depth.get(ready[at]) ?? 0) + 1));
      const left = (missing.get(next) ?? 0) - 1;
      missing.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  return depth;
}

/**
 * @typedef {object} Graph
 * @property {string[][]} layers ids, bends included
 * @property {Map<string, string[]>} before neighbours one layer to the left
 * @property {Map<string, string[]>} after neighbours one layer to the right
 * @property {Map<string, string[]>} chains for each edge "from to", the bends on its way
 */

/**
 * The graph with a bend in every layer that an edge passes, so that all edges join neighbouring layers.
 * @param {Vertex[]} vertices
 * @param {Map<string, string[]>} needs
 * @param {Map<string, number>} depth
 * @returns {Graph}
 */
function withBends(vertices, needs, depth) {
  /** @type {Graph} */
  const graph = { layers: [], before: new Map(), after: new Map(), chains: new Map() };
  const put = (/** @type {string} */ id, /** @type {number} */ layer) => {
    (graph.layers[layer] ??= []).push(id);
    graph.before.set(id, []);
    graph.after.set(id, []);
  };
  const join = (/** @type {string} */ from, /** @type {string} */ to) => {
    graph.after.get(from)?.push(to);
    graph.before.get(to)?.push(from);
  };
  for (const { id } of vertices) put(id, depth.get(id) ?? 0);
  let bends = 0;
  for (const { id } of vertices) {
    for (const need of needs.get(id) ?? []) {
      const chain = [];
      const [first, last] = [(depth.get(need) ?? 0) + 1, depth.get(id) ?? 0];
      if (first > last) continue;
      if (bends + last - first <= MOST_BENDS)
        for (let layer = first; layer < last; layer++) {
          const bend = `${need}\n${id}\n${layer}`;
          put(bend, layer);
          chain.push(bend);
        }
      bends += chain.length;
      if (chain.length === last - first) [need, ...chain, id].reduce((from, to) => (join(from, to), to));
      graph.chains.set(`${need}\n${id}`, chain);
    }
  }
  for (let layer = 0; layer < graph.layers.length; layer++) graph.layers[layer] ??= [];
  return graph;
}

/**
 * Order each layer by where the neighbours stand, to and fro.
 * @param {Graph} graph
 */
function order(graph) {
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const forth = sweep % 2 === 0;
    const neighbours = forth ? graph.before : graph.after;
    const layers = forth ? graph.layers : [...graph.layers].reverse();
    for (let at = 1; at < layers.length; at++) {
      const row = new Map(layers[at - 1].map((id, index) => [id, index]));
      const rank = new Map(layers[at].map((id, index) => [id, mean(neighbours.get(id) ?? [], row) ?? index]));
      layers[at].sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
    }
  }
}

/**
 * Heights: every vertex as near to the mean of its neighbours as its layer allows.
 * @param {Graph} graph
 * @param {Sizes} sizes
 * @returns {Map<string, number>}
 */
function align(graph, sizes) {
  const step = sizes.height + sizes.gapY;
  const heightOf = (/** @type {string} */ id) => (id.includes("\n") ? step / 2 : step);
  /** @type {Map<string, number>} */
  const ys = new Map();
  for (const layer of graph.layers) {
    let y = -layer.reduce((sum, id) => sum + heightOf(id), 0) / 2;
    for (const id of layer) {
      ys.set(id, y + heightOf(id) / 2);
      y += heightOf(id);
    }
  }
  for (let round = 0; round < ALIGNMENTS; round++) {
    const forth = round % 2 === 0;
    for (const layer of forth ? graph.layers : [...graph.layers].reverse()) {
      const wanted = layer.map((id) => mean((forth ? graph.before : graph.after).get(id) ?? [], ys) ?? ys.get(id) ?? 0);
      const set = spread(wanted, layer.map(heightOf));
      layer.forEach((id, index) => ys.set(id, set[index]));
    }
  }
  return ys;
}

/**
 * Positions as near as may be to the wanted ones, in the same order and without overlaps: those that push each other
 * form blocks, each of which stands at the mean of what its members want.
 * @param {number[]} wanted
 * @param {number[]} heights
 * @returns {number[]}
 */
function spread(wanted, heights) {
  /** @type {{sum: number, count: number, from: number, height: number}[]} */
  const blocks = [];
  const offsets = [];
  for (let at = 0; at < wanted.length; at++) {
    let block = { sum: wanted[at] - heights[at] / 2, count: 1, from: at, height: heights[at] };
    offsets[at] = 0;
    while (blocks.length) {
      const above = blocks[blocks.length - 1];
      if (above.sum / above.count + above.height <= block.sum / block.count) break;
      blocks.pop();
      block = {
        sum: above.sum + block.sum - block.count * above.height,
        count: above.count + block.count,
        from: above.from,
        height: above.height + block.height,
      };
    }
    blocks.push(block);
  }
  const positions = [];
  for (const block of blocks) {
    let top = block.sum / block.count;
    const until = blocks[blocks.indexOf(block) + 1]?.from ?? wanted.length;
    for (let at = block.from; at < until; at++) {
      positions[at] = top + heights[at] / 2;
      top += heights[at];
    }
  }
  return positions;
}

/**
 * @param {Graph} graph
 * @param {Map<string, string[]>} needs
 * @param {Map<string, number>} ys
 * @param {Sizes} sizes
 * @returns {Layout}
 */
function placed(graph, needs, ys, sizes) {
  const top = [...ys.values()].reduce((least, y) => Math.min(least, y), Infinity) - sizes.height / 2;
  const bottom = [...ys.values()].reduce((most, y) => Math.max(most, y), -Infinity) + sizes.height / 2;
  const places = new Map();
  const layers = graph.layers.map((ids) => ids.filter((id) => needs.has(id)));
  layers.forEach((ids, layer) =>
    ids.forEach((id, row) =>
      places.set(id, { x: layer * (sizes.width + sizes.gapX), y: (ys.get(id) ?? 0) - top, layer, row }),
    ),
  );
  const routes = [];
  for (const [edge, chain] of graph.chains) {
    const [from, to] = edge.split("\n");
    const [start, end] = [places.get(from), places.get(to)];
    /** @type {[number, number][]} */
    const points = [[start.x + sizes.width, start.y]];
    chain.forEach((bend, index) => {
      const x = (start.layer + 1 + index) * (sizes.width + sizes.gapX);
      const y = (ys.get(bend) ?? 0) - top;
      points.push([x, y], [x + sizes.width, y]);
    });
    points.push([end.x, end.y]);
    routes.push({ from, to, points });
  }
  const width = Math.max(0, layers.length * (sizes.width + sizes.gapX) - sizes.gapX);
  return { places, routes, layers, width, height: Math.max(0, bottom - top) };
}

/**
 * @param {string[]} ids
 * @param {Map<string, number>} values
 * @returns {number | undefined} undefined if there are none
 */
function mean(ids, values) {
  if (!ids.length) return undefined;
  return ids.reduce((sum, id) => sum + (values.get(id) ?? 0), 0) / ids.length;
}
