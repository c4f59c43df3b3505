// The pictures: slices and organs in three planes, and the organs' surfaces in the scan in 3D.
//
// Two canvases of NiiVue. The one of the planes holds the scan and a mask an organ of the
// prediction, filled; the truth is drawn over it as outlines (outlines.js). The one in 3D holds
// the back half of the scan and the surfaces of the organs.

import { Outlines } from "./outlines.js";

const { Niivue, NVImage, NVMesh, SLICE_TYPE, DRAG_MODE } = window.niivue;

const AXIS = { axial: 2, coronal: 1, sagittal: 0 };
const SLICES = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL };
const PLANES = ["axial", "coronal", "sagittal"];
const GAP_PX = 6;
const FROM_THE_FRONT = [200, 12];
const FRONT_HALF_OFF = [0, 180, 0];
const ZOOM_3D = 1.2;
const QUIET = {
  logLevel: "error",
  dragAndDropEnabled: false,
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
  viewModeHotKey: "",
  loadingText: "",
  fontMinPx: 15,
  fontSizeScaling: 0,
  fontColor: [0.8, 0.82, 0.85, 1],
  backColor: [0.035, 0.039, 0.047, 1],
};

export class Scene {
  // `organs` as in cases.json; `moved` is called with what lies at the crosshair.
  constructor(organs, moved) {
    this.organs = organs;
    this.moved = moved;
    this.truth = {};
    this.pred = {};
    this.view = "all";
    this.turn = 0;
    this.planes = new Niivue({
      ...QUIET,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isOrientationTextVisible: false,
      crosshairWidth: 0,
      dragMode: DRAG_MODE.contrast,
    });
    this.solid = new Niivue({
      ...QUIET,
      sliceType: SLICE_TYPE.RENDER,
      isOrientCube: true,
      clipPlaneColor: [0, 0, 0, 0],
    });
  }

  async attach(planes, outlines, solid) {
    await this.planes.attachToCanvas(planes, true);
    await this.solid.attachToCanvas(solid, true);
    for (const { name, colour: [r, g, b] } of this.organs) {
      const map = { R: [r, r], G: [g, g], B: [b, b], A: [0, 255], I: [0, 255] };
      this.planes.addColormap(colormapOf(name), map);
    }
    this.outlines = new Outlines(outlines, this.planes);
    const draw = this.planes.drawScene.bind(this.planes);
    this.planes.drawScene = () => {
      const said = draw();
      this.outlines.draw();
      return said;
    };
    new ResizeObserver(() => this.arrange()).observe(planes.parentElement);
    this.planes.onLocationChange = (place) => {
      if (PLANES[place.axCorSag]) this.touched = PLANES[place.axCorSag];
      this.tell();
    };
  }

  // Show a case; resolves to what could not be shown, by kind, or null when another case was
  // asked for meanwhile.
  async show(number, there) {
    const turn = ++this.turn;
    const problems = {};
    this.image = null;
    const image = await volume(`cases/${number}/image.nii.gz`, { colormap: "gray" });
    const [pred, truth] = await Promise.all(
      ["pred", "truth"].map(async (kind) => {
        if (!there[kind]) return {};
        try {
          return await this.masks(number, kind);
        } catch (error) {
          problems[kind] = error.message;
          return {};
        }
      }),
    );
    if (turn !== this.turn) return null;
    [this.image, this.pred, this.truth] = [image, pred, truth];
    setWindow(image);
    this.planes.volumes = [image, ...Object.values(pred)];
    this.planes.back = image;
    this.planes.overlays = Object.values(pred);
    this.outlines.masks = truth;
    this.planes.scene.crosshairPos = this.start();
    this.planes.scene.pan2Dxyzmm = [0, 0, 0, 1];
    if (!Object.keys(pred).length) this.planes.updateGLVolume();
    this.layers(this.last);
    this.arrange();
    this.tell();
    await this.showSolid(turn, number, { pred, truth });
    return turn === this.turn ? problems : null;
  }

  async masks(number, kind) {
    const found = await Promise.all(
      this.organs.map(({ name }) =>
        volume(`cases/${number}/${kind}/${name}.nii.gz`, {
          colormap: colormapOf(name), cal_min: 0, cal_max: 1, opacity: 0,
        }),
      ),
    );
    return Object.fromEntries(this.organs.map(({ name }, i) => [name, found[i]]));
  }

  async showSolid(turn, number, masks) {
    const meshes = {};
    for (const kind of ["pred", "truth"]) {
      for (const { name, colour } of this.organs.filter(({ name }) => masks[kind][name])) {
        const buffer = await bytes(`cases/${number}/${kind}/${name}.mz3`);
        if (turn !== this.turn) return;
        if (new DataView(buffer).getUint32(4, true) === 0) continue;
        meshes[`${kind} ${name}`] = await NVMesh.loadFromUrl({
          url: "surface.mz3", buffer, gl: this.solid.gl, rgba255: [...colour, 255],
        });
      }
    }
    if (turn !== this.turn) return;
    this.meshes = meshes;
    this.solid.meshes = Object.values(meshes);
    this.solid.volumes = [this.image];
    this.solid.back = this.image;
    this.solid.updateGLVolume();
    this.solid.setClipPlane(FRONT_HALF_OFF);
    this.shade(this.last);
    this.turnToFront();
  }

  // Begin where the organs are, in truth if that is known: in the largest slice of any of them.
  start() {
    for (const masks of [this.truth, this.pred]) {
      const found = Object.values(masks).map(largestSlice);
      const best = found.reduce((a, b) => (b.area > a.area ? b : a), { area: 0 });
      if (best.area) return best.frac;
    }
    return [0.5, 0.5, 0.5];
  }

  // `shown`: {pred, truth, organs: {name: {visible, opacity}}}.
  layers(shown) {
    this.last = shown;
    this.fill(shown);
    this.outlines.styles = this.organs
      .filter(({ name }) => shown.truth && shown.organs[name].visible)
      .map(({ name, colour }) => ({ name, colour }));
    this.outlines.draw();
    this.shade(shown);
  }

  fill(shown) {
    let changed = false;
    for (const { name } of this.organs.filter(({ name }) => this.pred[name])) {
      const { visible, opacity } = shown.organs[name];
      const wanted = shown.pred && visible ? opacity : 0;
      changed ||= this.pred[name].opacity !== wanted;
      this.pred[name].opacity = wanted;
    }
    // All textures are made again: never without need.
    if (changed) this.planes.updateGLVolume();
  }

  shade(shown) {
    for (const { name } of this.organs) {
      const { visible, opacity } = shown.organs[name];
      const solid = { pred: this.meshes?.[`pred ${name}`], truth: this.meshes?.[`truth ${name}`] };
      if (solid.pred) solid.pred.opacity = shown.pred && visible ? Math.min(1, opacity * 2) : 0;
      // A shell around the prediction; a body of its own without it.
      const veil = shown.pred ? 0.35 : 1;
      if (solid.truth) solid.truth.opacity = shown.truth && visible ? Math.min(1, opacity * 2) * veil : 0;
      for (const mesh of Object.values(solid)) if (mesh) mesh.visible = mesh.opacity > 0;
    }
    if (this.solid.volumes.length) this.solid.drawScene();
  }

  setView(view) {
    this.view = view;
    if (view in SLICES) this.planes.setSliceType(SLICES[view]);
    this.arrange();
  }

  // One scale for all planes, side by side where they share an axis: the coronal one below the
  // axial one, the sagittal one to its right; what is left is for 3D.
  arrange() {
    if (!this.image) return;
    this.planes.resizeListener();
    const box = this.solid.canvas.parentElement.style;
    const fine = this.planes.canvas.width / this.planes.canvas.clientWidth;
    box.inset = "0";
    this.planes.customLayout = null;
    if (this.view === "all") {
      const { width, height } = this.planes.canvas;
      const [x, y, z] = [1, 2, 3].map((a) => this.image.dimsRAS[a] * this.image.pixDimsRAS[a]);
      const scale = Math.min((width - GAP_PX) / (x + y), (height - GAP_PX) / (y + z));
      const spare = (height - GAP_PX - scale * (y + z)) / 2;
      const [right, below] = [scale * x + GAP_PX, spare + scale * y + GAP_PX];
      const tile = (sliceType, left, top, wide, tall) => ({
        sliceType,
        position: [left / width, top / height, (wide * scale) / width, (tall * scale) / height],
      });
      this.planes.customLayout = [
        tile(SLICE_TYPE.AXIAL, 0, spare, x, y),
        tile(SLICE_TYPE.CORONAL, 0, below, x, z),
        tile(SLICE_TYPE.SAGITTAL, right, below, y, z),
      ];
      box.inset = `0 0 ${(height - below + GAP_PX) / fine}px ${right / fine}px`;
    }
    this.planes.drawScene();
    this.solid.resizeListener();
  }

  // The plane that the arrow keys step through.
  get plane() {
    return this.view in AXIS ? this.view : this.touched ?? "axial";
  }

  step(by) {
    if (!this.image) return;
    const move = [0, 0, 0];
    move[AXIS[this.plane]] = by;
    this.planes.moveCrosshairInVox(...move);
    this.tell();
  }

  reset() {
    if (!this.image) return;
    setWindow(this.image);
    this.planes.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.planes.scene.crosshairPos = this.start();
    this.planes.updateGLVolume();
    this.turnToFront();
    this.tell();
  }

  turnToFront() {
    this.solid.scene.volScaleMultiplier = ZOOM_3D;
    this.solid.setRenderAzimuthElevation(...FROM_THE_FRONT);
  }

  // Put the crosshair at RAS+ mm.
  goTo(mm) {
    this.planes.scene.crosshairPos = this.planes.mm2frac(mm, 0, true);
    this.planes.drawScene();
    this.tell();
  }

  tell() {
    if (!this.image) return;
    const mm = this.planes.frac2mm(this.planes.scene.crosshairPos, 0, true);
    const voxel = this.image.mm2vox([...mm]);
    const at = (mask) => mask && mask.getValue(...voxel) > 0;
    const under = (masks) => this.organs.filter(({ name }) => at(masks[name])).map((o) => o.name);
    this.moved({
      mm: [...mm].slice(0, 3),
      voxel: stored(this.image, voxel),
      value: this.image.getValue(...voxel),
      pred: under(this.pred),
      truth: under(this.truth),
    });
  }
}

function colormapOf(name) {
  return `organ_${name}`;
}

async function bytes(path) {
  const answer = await fetch(path);
  if (answer.ok) return answer.arrayBuffer();
  const { problems } = await answer.json().catch(() => ({ problems: [] }));
  throw new Error(problems.map((p) => `${p.subject}: ${p.found}`).join("; ") || answer.statusText);
}

async function volume(path, options) {
  const buffer = await bytes(path);
  return NVImage.loadFromUrl({ url: buffer, name: path.split("/").pop(), ...options });
}

// The indices, as the file has them, of a voxel that NiiVue counts along x, y and z.
function stored(image, voxel) {
  const [, ni, nj] = image.hdr.dims;
  const start = image.img2RASstart.reduce((a, b) => a + b, 0);
  const at = voxel.reduce((sum, n, axis) => sum + n * image.img2RASstep[axis], start);
  return [at % ni, Math.floor(at / ni) % nj, Math.floor(at / (ni * nj))];
}

// Window and level: the brightest and the darkest half percent are cut off.
function setWindow(image) {
  const step = Math.max(1, Math.floor(image.img.length / 500000));
  const sample = new Float32Array(Math.ceil(image.img.length / step));
  for (let i = 0; i < sample.length; i++) sample[i] = image.img[i * step];
  sample.sort();
  const at = (share) => sample[Math.round(share * (sample.length - 1))];
  image.cal_min = at(0.005);
  image.cal_max = Math.max(at(0.995), image.cal_min + 1e-6);
}

// The largest axial slice of a mask: how many voxels, and the one nearest to their middle.
function largestSlice(mask) {
  const [nx, ny, nz] = mask.dimsRAS.slice(1, 4);
  const [sx, sy, sz] = mask.img2RASstep;
  const start = mask.img2RASstart.reduce((a, b) => a + b, 0);
  const at = (x, y, z) => mask.img[start + x * sx + y * sy + z * sz];
  const areas = Array.from({ length: nz }, (_, z) => {
    let area = 0;
    for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) area += at(x, y, z);
    return area;
  });
  const area = Math.max(...areas);
  const z = areas.indexOf(area);
  const found = [];
  for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) if (at(x, y, z)) found.push([x, y]);
  const middle = [0, 1].map((a) => found.reduce((sum, place) => sum + place[a], 0) / area);
  const off = ([x, y]) => (x - middle[0]) ** 2 + (y - middle[1]) ** 2;
  const [x, y] = found.reduce((a, b) => (off(a) <= off(b) ? a : b), found[0] ?? [0, 0]);
  return { area, frac: [(x + 0.5) / nx, (y + 0.5) / ny, (z + 0.5) / nz] };
}
