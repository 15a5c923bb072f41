import type { NiiVueLocation, NVImage as Image } from "@niivue/niivue";
import { DRAG_MODE, NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import type { StructureFound } from "./wire";

type Point = NonNullable<StructureFound["centroid_mm"]>;

export type Layout = "all" | "planes" | "axial" | "coronal" | "sagittal" | "3d";

export interface LabelColour {
  value: number;
  name: string;
  colour: string | null;
}

/** Where the crosshair is: millimetres to the right, to the front and up, and what lies there. */
export interface Place {
  mm: Point;
  value: number | null;
  label: string;
}

const LAYOUTS: Record<Layout, SLICE_TYPE> = {
  all: SLICE_TYPE.MULTIPLANAR,
  planes: SLICE_TYPE.MULTIPLANAR,
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  "3d": SLICE_TYPE.RENDER,
};

/** NIfTI's intent of a mask: NiiVue outlines only such volumes. */
const LABELS = 1002;

const BRAIN_COLOUR = "#ffb000";

/** The volume with something over it, in three planes and in 3-D (NiiVue, WebGL 2). */
export class Viewer {
  private readonly niivue: Niivue;
  private readonly images = new Map<string, Promise<Image>>();
  private base: Image | null = null;
  private overlay: Image | null = null;
  private brain: Image | null = null;
  private labels: LabelColour[] = [];
  private isMask = false;
  private opacity = 0.6;
  /** What was asked for last: an earlier wish may arrive after it, and is not shown then. */
  private readonly asked = { base: "", overlay: "", brain: false };

  private constructor(told: (place: Place) => void) {
    this.niivue = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.36, 0.72, 0.95, 0.9],
      crosshairWidth: 0.5,
      crosshairGap: 6,
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.windowing,
      isColorbar: false,
      isOrientCube: false,
      isRadiologicalConvention: true,
      loadingText: "",
      logLevel: "error",
      multiplanarForceRender: true,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      multiplanarPadPixels: 4,
      show3Dcrosshair: false,
      fontMinPx: 14,
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      scrollRequiresFocus: true,
    });
    this.niivue.onLocationChange = (location) => told(this.place(location as NiiVueLocation));
  }

  /** A viewer that draws on a canvas; null where the browser has no WebGL 2. */
  static async on(canvas: HTMLCanvasElement, told: (place: Place) => void): Promise<Viewer | null> {
    if (document.createElement("canvas").getContext("webgl2") === null) return null;
    const viewer = new Viewer(told);
    await viewer.niivue.attachToCanvas(canvas);
    return viewer;
  }

  /** Whether a processor draws, and no graphics card: then 3-D is slow. */
  get isSlow(): boolean {
    const { gl } = this.niivue;
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    return /swiftshader|llvmpipe|software|basic render/i.test(name);
  }

  close(): void {
    this.images.clear();
    this.niivue.cleanup();
    this.niivue.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Show a volume in grey; false where another one was asked for before it was there. */
  async showVolume(name: string, content: () => Promise<Blob>): Promise<boolean> {
    this.asked.base = name;
    const image = await this.image(name, content);
    if (this.asked.base !== name) return false;
    this.base = image;
    this.base.colormap = "gray";
    this.base.opacity = 1;
    this.draw();
    return true;
  }

  /** Show a mask over the volume, or alone where there is none. */
  async showMask(content: () => Promise<Blob>, labels: LabelColour[]): Promise<void> {
    this.asked.overlay = "mask";
    const mask = await this.image("mask", content);
    if (this.asked.overlay !== "mask") return;
    if (mask.hdr) mask.hdr.intent_code = LABELS;
    this.overlay = mask;
    this.isMask = true;
    this.colour(labels);
  }

  /** Show a probability map over the volume. */
  async showProbability(name: string, content: () => Promise<Blob>): Promise<void> {
    this.asked.overlay = name;
    const image = await this.image(`probability of ${name}`, content);
    if (this.asked.overlay !== name) return;
    image.colormap = "inferno";
    image.cal_min = 0.02;
    image.cal_max = 1;
    this.overlay = image;
    this.isMask = false;
    this.draw();
  }

  /** Draw the outline of a brain mask over the volume. */
  async showBrain(content: () => Promise<Blob>): Promise<void> {
    this.asked.brain = true;
    const brain = await this.image("brain", content, outlined);
    if (!this.asked.brain) return;
    this.brain = brain;
    this.brain.setColormapLabel(colourMap([{ value: 1, name: "brain", colour: BRAIN_COLOUR }]));
    this.draw();
  }

  hideBrain(): void {
    this.asked.brain = false;
    this.brain = null;
    this.draw();
  }

  showNothing(): void {
    this.asked.overlay = "";
    this.overlay = null;
    this.draw();
  }

  /** Draw each value of the mask in its colour, and those without one not at all. */
  colour(labels: LabelColour[]): void {
    this.labels = labels;
    if (this.overlay && this.isMask) this.overlay.setColormapLabel(colourMap(labels));
    this.draw();
  }

  setOpacity(opacity: number): void {
    this.opacity = opacity;
    this.draw();
  }

  /** Draw the borders of the mask's parts in full, or not. */
  setOutline(outline: boolean): void {
    this.niivue.setAtlasOutline(outline ? 1 : 0);
  }

  setLayout(layout: Layout): void {
    const render = layout === "all";
    this.niivue.opts.multiplanarForceRender = render;
    this.niivue.opts.multiplanarShowRender = render ? SHOW_RENDER.ALWAYS : SHOW_RENDER.NEVER;
    this.niivue.setSliceType(LAYOUTS[layout]);
  }

  /** Move by voxels to the right, to the front and up. */
  step(right: number, front: number, up: number): void {
    this.niivue.moveCrosshairInVox(right, front, up);
  }

  goTo([x, y, z]: Point): void {
    if (this.niivue.volumes.length === 0) return;
    this.niivue.scene.crosshairPos = this.niivue.mm2frac([x, y, z]);
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
  }

  /** Grey levels and zoom as they were at first. */
  reset(): void {
    if (this.base) {
      this.base.cal_min = this.base.robust_min ?? this.base.global_min ?? 0;
      this.base.cal_max = this.base.robust_max ?? this.base.global_max ?? 1;
    }
    this.niivue.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.niivue.setRenderAzimuthElevation(120, 15);
    this.draw();
  }

  private async image(
    name: string,
    content: () => Promise<Blob>,
    changed: (image: Image) => Image = (image) => image,
  ): Promise<Image> {
    const known = this.images.get(name);
    if (known) return known;
    const loading = content()
      .then((blob) =>
        NVImage.loadFromFile({ file: new File([blob], `${name}.nii.gz`), name, opacity: 1 }),
      )
      .then(changed);
    this.images.set(name, loading);
    loading.catch(() => this.images.delete(name));
    return loading;
  }

  private draw(): void {
    const images = [this.base, this.overlay, this.brain].filter((image) => image !== null);
    if (this.overlay) this.overlay.opacity = this.base ? this.opacity : 1;
    this.niivue.volumes = images;
    this.niivue.back = images[0] ?? null;
    this.niivue.overlays = images.slice(1);
    if (images.length) this.niivue.updateGLVolume();
    else this.niivue.drawScene();
  }

  private place({ mm, values }: NiiVueLocation): Place {
    const over = this.overlay && this.isMask ? values[this.base ? 1 : 0]?.value : 0;
    return {
      mm: [mm[0], mm[1], mm[2]],
      value: this.base ? (values[0]?.value ?? null) : null,
      label: this.labels.find(({ value }) => value === Math.round(over ?? 0))?.name ?? "",
    };
  }
}

/**
 * A mask, of which the border alone is left. An axis along which voxels are much longer has no part
 * in it: across thick slices a border would be as wide as the brain grows from one to the next.
 */
function outlined(mask: Image): Image {
  const { hdr, img } = mask;
  if (!hdr || !img) return mask;
  const [, nx = 1, ny = 1, nz = 1] = hdr.dims;
  const sizes = hdr.pixDims.slice(1, 4);
  const longest = 2 * Math.min(...sizes);
  const axes = [
    { step: 1, count: nx },
    { step: nx, count: ny },
    { step: nx * ny, count: nz },
  ].filter((_, axis) => (sizes[axis] ?? 0) <= longest);
  const whole = img.slice();
  for (let i = 0; i < whole.length; i++) {
    const inner = axes.every(({ step, count }) => {
      const place = Math.floor(i / step) % count;
      return place > 0 && place < count - 1 && whole[i - step] && whole[i + step];
    });
    if (inner) img[i] = 0;
  }
  return mask;
}

function colourMap(labels: LabelColour[]) {
  const all = [{ value: 0, name: "", colour: null }, ...labels];
  const part = (colour: string | null, at: number): number =>
    colour === null ? 0 : parseInt(colour.slice(at, at + 2), 16);
  return {
    R: all.map(({ colour }) => part(colour, 1)),
    G: all.map(({ colour }) => part(colour, 3)),
    B: all.map(({ colour }) => part(colour, 5)),
    A: all.map(({ colour }) => (colour === null ? 0 : 255)),
    I: all.map(({ value }) => value),
    labels: all.map(({ name }) => name),
  };
}
