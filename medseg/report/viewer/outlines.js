// What is drawn over the slices: outlines of masks, exactly around the voxels, in the organ's
// colour, the crosshair, and the patient's sides.

const RIM = "rgba(0, 0, 0, 0.65)";
const CROSSHAIR = "rgba(250, 214, 100, 0.8)";
const CROSSHAIR_GAP_PX = 9;
const INK = "#d5dae0";
const LETTER_INSET_PX = 12;
// Where each axis of RAS+ mm begins and ends.
const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]];

export class Outlines {
  constructor(canvas, planes) {
    this.canvas = canvas;
    this.planes = planes;
    this.styles = [];
    this.masks = {};
  }

  set masks(masks) {
    this.held = masks;
    this.paths = new Map();
  }

  draw() {
    const { width, height } = this.planes.canvas;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    for (const tile of this.planes.screenSlices) {
      if (tile.axCorSag > 2 || tile.AxyzMxy.length < 4) continue;
      pen.save();
      pen.beginPath();
      const [left, top, wide, tall] = box(tile);
      pen.rect(left, top, wide, tall);
      pen.clip();
      for (const { name, colour } of this.styles) this.outline(pen, tile, name, colour);
      this.crosshair(pen, tile);
      this.sides(pen, tile);
      pen.restore();
    }
  }

  outline(pen, tile, name, colour) {
    const mask = this.held[name];
    if (!mask) return;
    const { axis, u, v } = axesOf(tile);
    const n = mask.dimsRAS.slice(1, 4);
    const k = Math.floor(this.planes.scene.crosshairPos[axis] * n[axis]);
    const key = `${name} ${axis} ${k}`;
    if (!this.paths.has(key)) this.paths.set(key, around(mask, axis, u, v, k));
    const [x0, y0] = this.onCanvas(tile, 0, 0);
    const [x1, y1] = this.onCanvas(tile, 1, 1);
    const path = new Path2D();
    path.addPath(this.paths.get(key), new DOMMatrix([(x1 - x0) / n[u], 0, 0, (y1 - y0) / n[v], x0, y0]));
    const fine = this.pixelsPerPoint;
    pen.lineJoin = pen.lineCap = "round";
    pen.lineWidth = 3.5 * fine;
    pen.strokeStyle = RIM;
    pen.stroke(path);
    pen.lineWidth = 1.75 * fine;
    pen.strokeStyle = `rgb(${colour.join(" ")})`;
    pen.stroke(path);
  }

  crosshair(pen, tile) {
    const { u, v } = axesOf(tile);
    const { crosshairPos } = this.planes.scene;
    const [x, y] = this.onCanvas(tile, crosshairPos[u], crosshairPos[v]);
    const [left, top, wide, tall] = box(tile);
    const gap = CROSSHAIR_GAP_PX * this.pixelsPerPoint;
    pen.beginPath();
    for (const [ax, ay, bx, by] of [
      [left, y, x - gap, y], [x + gap, y, left + wide, y],
      [x, top, x, y - gap], [x, y + gap, x, top + tall],
    ]) line(pen, ax, ay, bx, by);
    pen.lineWidth = this.pixelsPerPoint;
    pen.strokeStyle = CROSSHAIR;
    pen.stroke();
  }

  sides(pen, tile) {
    const { u, v } = axesOf(tile);
    const [x0, y0] = this.onCanvas(tile, 0, 0);
    const [x1, y1] = this.onCanvas(tile, 1, 1);
    const [left, top, wide, tall] = box(tile);
    const inset = LETTER_INSET_PX * this.pixelsPerPoint;
    const flipU = x0 > x1 ? 1 : 0;
    const flipV = y0 > y1 ? 1 : 0;
    pen.font = `600 ${13 * this.pixelsPerPoint}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (const [letter, x, y] of [
      [SIDES[u][flipU], left + inset, top + tall / 2],
      [SIDES[u][1 - flipU], left + wide - inset, top + tall / 2],
      [SIDES[v][flipV], left + wide / 2, top + inset],
      [SIDES[v][1 - flipV], left + wide / 2, top + tall - inset],
    ]) {
      pen.lineWidth = 3 * this.pixelsPerPoint;
      pen.strokeStyle = "black";
      pen.strokeText(letter, x, y);
      pen.fillStyle = INK;
      pen.fillText(letter, x, y);
    }
  }

  // Where shares 0 to 1 of the volume along the axes of a tile lie, in pixels of the canvas.
  onCanvas(tile, shareU, shareV) {
    const { u, v } = axesOf(tile);
    const frac = [...this.planes.scene.crosshairPos];
    [frac[u], frac[v]] = [shareU, shareV];
    const mm = this.planes.frac2mm(frac);
    const [left, top, wide, tall] = box(tile);
    const x = (mm[u] - tile.leftTopMM[0]) / tile.fovMM[0];
    const y = (mm[v] - tile.leftTopMM[1]) / tile.fovMM[1];
    const mirrored = tile.leftTopWidthHeight[2] < 0;
    return [left + (mirrored ? 1 - x : x) * wide, top + (1 - y) * tall];
  }

  get pixelsPerPoint() {
    return this.canvas.width / this.canvas.clientWidth;
  }
}

// The axis that a tile's slices run along, and those of its columns and rows: 0 x, 1 y, 2 z.
function axesOf(tile) {
  const axis = 2 - tile.axCorSag;
  const [u, v] = [0, 1, 2].filter((a) => a !== axis);
  return { axis, u, v };
}

function box(tile) {
  const [left, top, wide, tall] = tile.leftTopWidthHeight;
  return wide < 0 ? [left + wide, top, -wide, tall] : [left, top, wide, tall];
}

// The edges between voxels of the mask and others in slice k, in voxels of the axes u and v.
function around(mask, axis, u, v, k) {
  const n = mask.dimsRAS.slice(1, 4);
  const step = mask.img2RASstep;
  const start = mask.img2RASstart.reduce((a, b) => a + b, 0) + k * step[axis];
  const inside = (a, b) =>
    a >= 0 && b >= 0 && a < n[u] && b < n[v] && mask.img[start + a * step[u] + b * step[v]] > 0;
  const path = new Path2D();
  for (let b = 0; b < n[v]; b++) {
    for (let a = 0; a < n[u]; a++) {
      if (!inside(a, b)) continue;
      if (!inside(a - 1, b)) line(path, a, b, a, b + 1);
      if (!inside(a + 1, b)) line(path, a + 1, b, a + 1, b + 1);
      if (!inside(a, b - 1)) line(path, a, b, a + 1, b);
      if (!inside(a, b + 1)) line(path, a, b + 1, a + 1, b + 1);
    }
  }
  return path;
}

function line(path, ax, ay, bx, by) {
  path.moveTo(ax, ay);
  path.lineTo(bx, by);
}
