// The pictures: slices and organs in three planes, and the organs' surfaces in 3D.
//
// Two canvases of NiiVue. The one of the planes holds the scan and a mask an organ of the
// prediction, filled; the truth is drawn over it as outlines (outlines.js). The one in 3D holds
// surfaces alone, so that turning it stays quick without a graphics card.

import { Outlines } from "./outlines.js";

const { Niivue, NVImage, NVMesh, SLICE_TYPE, DRAG_MODE } = window.niivue;

const AXIS = { axial: 2, coronal: 1, sagittal: 0 };
const SLICES = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL };
const PLANES = ["axial", "coronal", "sagittal"];
const GAP_PX = 6;
const FROM_THE_FRONT = [200, 12];
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
      crosshairWidth: 0,
      dragMode: DRAG_MODE.contrast,
    });
    this.solid = new Niivue({ ...QUIET, sliceType: SLICE_TYPE.RENDER, isOrientCube: true });
  }

  async attach(planes, outlines, solid) {
    await this.planes.attachToCanvas(planes, true);
    await this.solid.attachToCanvas(solid, true);
    for (const { name, colour: [r, g, b] } of this.organs) {
      const map = { R: [r, r], G: [g, g], B: [b, b], A: [0, 255], I: [0, 255] };
      this.planes.addColormap(colormapOf(name), map);
    }
    this.solid.setRenderAzimuthElevation(...FROM_THE_FRONT);
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
    this.arrange();
    this.layers(this.last);
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
    this.layers(this.last);
    this.solid.setRenderAzimuthElevation(...FROM_THE_FRONT);
  }

  // Begin where the organs are: at the middle of the largest slice of any of them.
  start() {
    let best = { area: 0, frac: [0.5, 0.5, 0.5] };
    for (const mask of [...Object.values(this.truth), ...Object.values(this.pred)]) {
      const found = largestSlice(mask);
      if (found.area > best.area) best = found;
    }
    return best.frac;
  }

  // `shown`: {pred, truth, organs: {name: {visible, opacity}}}.
  layers(shown) {
    this.last = shown;
    for (const { name } of this.organs) {
      const { visible, opacity } = shown.organs[name];
      if (this.pred[name]) this.pred[name].opacity = shown.pred && visible ? opacity : 0;
      const solid = { pred: this.meshes?.[`pred ${name}`], truth: this.meshes?.[`truth ${name}`] };
      if (solid.pred) solid.pred.opacity = shown.pred && visible ? Math.min(1, opacity * 2) : 0;
      // A shell around the prediction; a body of its own without it.
      const veil = shown.pred ? 0.35 : 1;
      if (solid.truth) solid.truth.opacity = shown.truth && visible ? Math.min(1, opacity * 2) * veil : 0;
      for (const mesh of Object.values(solid)) if (mesh) mesh.visible = mesh.opacity > 0;
    }
    this.outlines.styles = this.organs
      .filter(({ name }) => shown.truth && shown.organs[name].visible)
      .map(({ name, colour }) => ({ name, colour }));
    if (this.image) this.planes.updateGLVolume();
    this.solid.drawScene();
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
    this.solid.scene.volScaleMultiplier = 1;
    this.solid.setRenderAzimuthElevation(...FROM_THE_FRONT);
    this.tell();
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
      voxel: [...voxel],
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

function largestSlice(mask) {
  const [, nx, ny, nz] = mask.dimsRAS;
  const [sx, sy, sz] = mask.img2RASstep;
  const start = mask.img2RASstart.reduce((a, b) => a + b, 0);
  const best = { area: 0, frac: [0.5, 0.5, 0.5] };
  for (let z = 0; z < nz; z++) {
    let [area, sumX, sumY] = [0, 0, 0];
    for (let y = 0; y < ny; y++) {
      for (let x = 0, at = start + z * sz + y * sy; x < nx; x++, at += sx) {
        if (mask.img[at]) [area, sumX, sumY] = [area + 1, sumX + x, sumY + y];
      }
    }
    if (area > best.area) {
      best.area = area;
      const middle = (sum, n) => (Math.round(sum / area) + 0.5) / n;
      best.frac = [middle(sumX, nx), middle(sumY, ny), (z + 0.5) / nz];
    }
  }
  return best;
}
