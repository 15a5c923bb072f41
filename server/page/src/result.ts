import type { Api } from "./api";
import { byId, fill, h } from "./dom";
import { legend, Shown } from "./legend";
import { tell } from "./notices";
import { Problem } from "./problem";
import type { Layout, Place, Viewer } from "./viewer";
import type { Job, StructureFound, Summary } from "./wire";
import { openQuestions } from "./open";
import { confidenceNote, scoreNote } from "./confidence";
import { measuredOn, qualityTable } from "./quality";
import { capital, duration, modality } from "./words";
import { downloads } from "./downloads";
import { parts } from "./parts";
import { preparation } from "./preparation";
import { radios } from "./radios";

const LAYOUTS: [Layout, string][] = [
  ["all", "All"],
  ["planes", "Planes"],
  ["axial", "Axial"],
  ["coronal", "Coronal"],
  ["sagittal", "Sagittal"],
  ["3d", "3-D"],
];
const MASK = "mask.nii.gz";
const MAPS = "probabilities/";
const UNCERTAINTY = `${MAPS}uncertainty.nii.gz`;
const BRAIN = "channels/brain.nii.gz";

/** A finished job: its volumes with what was found in them, and everything that is known of it. */
export class ResultView {
  private viewer: Viewer | null = null;
  private shown = new Shown([]);
  private job: Job | null = null;
  private summary: Summary | null = null;
  /** What is to be seen; chosen before the viewer is there, it is seen once that is. */
  private volume = "";
  private overlay = MASK;
  private outlined = true;
  /** How many images are on their way. */
  private underWay = 0;

  constructor(private readonly api: Api) {}

  close(): void {
    this.viewer?.close();
    this.viewer = null;
    this.job = null;
    byId("result").hidden = true;
    byId("welcome").hidden = false;
  }

  /** Fetch and show a job's result. */
  async open(job: Job): Promise<void> {
    this.close();
    this.job = job;
    const summary = await this.api.resultJson<Summary>(job.id, "summary.json");
    if (this.job !== job) return;
    this.summary = summary;
    this.shown = new Shown(summary.structures);
    this.volume = this.volumes(job, summary)[0]?.value ?? "";
    this.overlay = job.results.includes(MASK) ? MASK : "";
    this.outlined = job.results.includes(BRAIN);
    this.draw(job, summary);
    byId("welcome").hidden = true;
    byId("result").hidden = false;
    await this.view(job, summary);
  }

  private draw(job: Job, summary: Summary): void {
    fill(
      byId("result-head"),
      h("h2", { id: "result-title", tabindex: "-1" }, `${summary.model} ${summary.version}`),
      h("span", { class: "faint" }, new Date(job.created).toLocaleString()),
      summary.demo && h("span", { class: "tag warn" }, "demonstration: no clinical meaning"),
    );
    fill(byId("tools"), ...this.tools(job, summary));
    fill(
      byId("facts"),
      notDeterminable(summary),
      summary.structures.length > 0 && this.structures(summary),
      summary.scores.length > 0 && scores(summary),
      warnings(summary),
      given(summary),
      summary.preparation !== null &&
        preparation(this.api, job, summary.preparation, job.results.includes(BRAIN) && this.brain()),
      quality(summary),
      downloads(this.api, job),
      provenance(summary),
    );
  }

  private tools(job: Job, summary: Summary): HTMLElement[] {
    const tools = [];
    const volumes = this.volumes(job, summary);
    if (volumes.length) {
      tools.push(radios("Volume", "volume", volumes, (name) => {
        this.volume = name;
        void this.showVolume();
      }));
    }
    const overlays = job.results.filter((name) => name.startsWith(MAPS));
    if (job.results.includes(MASK)) tools.push(this.overlays(overlays, summary));
    tools.push(radios("View", "layout", LAYOUTS.map(([value, words]) => ({ value, words })),
      (name) => this.viewer?.setLayout(name as Layout)));
    const reset = { type: "button", title: "Grey levels, zoom and 3-D view as at first",
      onclick: () => this.viewer?.reset() };
    tools.push(h("button", reset, "Reset"));
    return tools;
  }

  private volumes(job: Job, summary: Summary) {
    const real = summary.real.map(({ modality: name }) => ({ name, note: "" }));
    const filled = summary.filled.map(({ modality: name }) => ({ name, note: "template" }));
    return [...real, ...filled]
      .filter(({ name }) => job.results.includes(`channels/${name}.nii.gz`))
      .map(({ name, note }) => ({ value: name, words: modality(name), note }));
  }

  private overlays(maps: string[], summary: Summary): HTMLElement {
    const titles = new Map(summary.structures.map((s) => [s.name, s.title || s.name]));
    const select = h(
      "select",
      {
        id: "overlay",
        onchange: () => {
          this.overlay = select.value;
          void this.showOverlay();
        },
      },
      h("option", { value: MASK }, "Mask"),
      ...maps.map((file) => {
        const name = file.slice(MAPS.length).replace(/\.nii\.gz$/, "");
        const words =
          file === UNCERTAINTY ? "Uncertainty" : `Probability: ${titles.get(name) ?? name}`;
        return h("option", { value: file }, words);
      }),
      h("option", { value: "" }, "Nothing"),
    );
    return h("label", { class: "tool" }, h("span", {}, "Overlay"), select);
  }

  /** Whether the brain that was found in a raw study is outlined over its series. */
  private brain(): HTMLElement {
    const outline = h("input", {
      id: "brain",
      type: "checkbox",
      checked: true,
      onchange: () => {
        this.outlined = outline.checked;
        void this.showBrain();
      },
    });
    return h("label", { class: "check" }, outline, "Brain outline");
  }

  private structures(summary: Summary): HTMLElement {
    const opacity = h("input", {
      id: "opacity",
      type: "range",
      min: "0",
      max: "100",
      value: "60",
      oninput: () => this.viewer?.setOpacity(Number(opacity.value) / 100),
    });
    const outline = h("input", {
      id: "outline",
      type: "checkbox",
      onchange: () => this.viewer?.setOutline(outline.checked),
    });
    return section(
      "Found",
      legend(
        this.shown,
        () => this.viewer?.colour(this.shown.labels()),
        (structure: StructureFound) => structure.centroid_mm && this.viewer?.goTo(structure.centroid_mm),
      ),
      confidenceNote(summary),
      h(
        "div",
        { class: "row" },
        h("label", { class: "field grow" }, h("span", {}, "Opacity"), opacity),
        h("label", { class: "check" }, outline, "Outline"),
      ),
      ...parts(this.shown.structures, (point) => this.viewer?.goTo(point)),
    );
  }

  /** Load the viewer, which is most of the page's code, and give it the first volume. */
  private async view(job: Job, summary: Summary): Promise<void> {
    const volumes = this.volumes(job, summary);
    const frame = byId("frame");
    if (volumes.length === 0 && !job.results.includes(MASK)) {
      fill(frame, h("p", { class: "empty" }, "This job kept no volumes to show."));
      return;
    }
    const canvas = h("canvas", {
      id: "canvas",
      tabindex: "0",
      role: "img",
      "aria-label": "The volume. Arrow keys and page keys move the crosshair; 1 to 6 choose a view.",
    });
    fill(frame, canvas, h("p", { id: "origin", class: "origin", hidden: true }));
    frame.dataset["state"] = "loading";
    canvas.addEventListener("keydown", (event) => this.key(event), { capture: true });
    try {
      const { Viewer } = await import("./viewer");
      const viewer = await Viewer.on(canvas, (place) => readOut(place));
      if (viewer === null) {
        throw new Problem(
          "The volume cannot be drawn",
          "This browser gives the page no WebGL 2.",
          "Turn on graphics acceleration, or use another browser; the downloads hold everything.",
        );
      }
      if (this.job !== job) return viewer.close();
      this.viewer = viewer;
      if (viewer.isSlow) choose("layout-planes");
      if (volumes.length) await this.showVolume();
      await this.showOverlay();
      await this.showBrain();
      const largest = [...summary.structures].sort((a, b) => b.volume_ml - a.volume_ml)[0];
      if (largest?.centroid_mm) viewer.goTo(largest.centroid_mm);
      frame.dataset["state"] = "ready";
    } catch (error) {
      frame.dataset["state"] = "failed";
      tell(error);
    }
  }

  private async showVolume(): Promise<void> {
    const { job, summary, viewer, volume: name } = this;
    if (!job || !summary || !viewer) return;
    const template = summary.filled.some((filled) => filled.modality === name);
    await this.loading(async () => {
      const content = (): Promise<Blob> => this.api.file(job.id, `channels/${name}.nii.gz`);
      if (!(await viewer.showVolume(name, content))) return;
      const origin = byId("origin");
      origin.hidden = !template;
      origin.textContent = `${modality(name)}: template, not this patient`;
    });
  }

  private async showOverlay(): Promise<void> {
    const { job, overlay, viewer } = this;
    if (!job || !viewer) return;
    const content = (): Promise<Blob> => this.api.file(job.id, overlay);
    await this.loading(async () => {
      if (overlay === MASK) await viewer.showMask(content, this.shown.labels());
      else if (overlay) await viewer.showProbability(overlay, content);
      else viewer.showNothing();
    });
  }

  private async showBrain(): Promise<void> {
    const { job, viewer } = this;
    if (!job || !viewer) return;
    if (!this.outlined) return viewer.hideBrain();
    await this.loading(() => viewer.showBrain(() => this.api.file(job.id, BRAIN)));
  }

  private async loading(work: () => Promise<void>): Promise<void> {
    const frame = byId("frame");
    this.underWay += 1;
    frame.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      tell(error);
    } finally {
      this.underWay -= 1;
      if (this.underWay === 0) frame.removeAttribute("aria-busy");
    }
  }

  private key(event: KeyboardEvent): void {
    const { viewer } = this;
    if (!viewer || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps: Record<string, [number, number, number]> = {
      ArrowLeft: [1, 0, 0], // the patient's right is on the left
      ArrowRight: [-1, 0, 0],
      ArrowUp: [0, 1, 0],
      ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1],
      PageDown: [0, 0, -1],
    };
    const step = steps[event.key];
    const layout = LAYOUTS[Number(event.key) - 1];
    if (step) viewer.step(...step);
    else if (layout) choose(`layout-${layout[0]}`);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}

/** Press one of the choices, as the user would. */
function choose(id: string): void {
  document.querySelector<HTMLInputElement>(`#${id}`)?.click();
}

function section(title: string, ...children: (Node | string | null | false)[]): HTMLElement {
  return h("section", {}, h("h3", {}, title), ...children);
}

function scores(summary: Summary): HTMLElement {
  const best = Math.max(...summary.scores.map(({ score }) => score));
  const rows = summary.scores.map(({ name, title, score }) =>
    h(
      "li",
      { class: score === best ? "score best" : "score" },
      h("span", { class: "grow" }, capital(title || name)),
      h("span", { class: "number" }, `${(100 * score).toFixed(1)} %`),
      h("meter", { min: "0", max: "1", value: score, "aria-label": title || name }),
    ),
  );
  return section(
    "Class scores",
    h("ul", { class: "plain" }, ...rows),
    scoreNote(summary),
  );
}

/** What these modalities cannot decide, and why. */
function notDeterminable(summary: Summary): HTMLElement | null {
  const open = summary.not_determinable ?? []; // results of older services have none
  if (open.length === 0) return null;
  return h("section", { id: "not-determinable" }, h("h3", {}, "Not determinable"), openQuestions(open));
}

function warnings(summary: Summary): HTMLElement | null {
  const said = (summary.not_determinable ?? []).map(
    (one) => `${one.title} is not determinable: ${one.reason}`,
  );
  const others = summary.warnings.filter((text) => !said.includes(text));
  if (others.length === 0) return null;
  const lines = others.map((text) => h("li", {}, `${capital(text)}.`));
  return section("Warnings", h("ul", { class: "warnings" }, ...lines));
}

function given(summary: Summary): HTMLElement {
  const real = summary.real.map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, modality(one.modality)),
      h("td", {}, `this patient, ${one.shape.join(" × ")}`),
    ),
  );
  const filled = summary.filled.map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, modality(one.modality)),
      h("td", { class: "template" }, `${one.template ? "template" : "empty"}, not this patient`),
    ),
  );
  return section("What the model was given", h("table", {}, h("tbody", {}, ...real, ...filled)));
}

function quality(summary: Summary): HTMLElement | null {
  if (summary.expected_quality.length === 0) return null;
  const open = summary.not_determinable ?? [];
  const titles = new Map([
    ...summary.structures.map((s): [string, string] => [s.name, s.title]),
    ...open.filter((one) => one.output !== "all").map((one): [string, string] => [one.output, one.title]),
  ]);
  const lines = summary.expected_quality;
  const whom = lines[0]?.population ?? null; // results of older services have none
  return section("Quality to expect", qualityTable(lines, titles), measuredOn(lines, whom));
}

function provenance(summary: Summary): HTMLElement {
  const { engine } = summary;
  const seconds = Object.values(summary.seconds).reduce((sum, one) => sum + one, 0);
  return section(
    "Where it comes from",
    h(
      "p",
      {},
      `${engine.name} on ${engine.device}, ${engine.precision}, profile ${summary.profile ?? "reference"}; ` +
        `${duration(seconds)}.`,
    ),
    h("p", {}, h("code", {}, summary.bundle)),
    h("p", { class: "hint" }, summary.intended_use),
  );
}

function readOut({ mm, value, label }: Place): void {
  const [x, y, z] = mm;
  const parts = [
    `${x >= 0 ? "R" : "L"} ${Math.abs(x).toFixed(0)}`,
    `${y >= 0 ? "A" : "P"} ${Math.abs(y).toFixed(0)}`,
    `${z >= 0 ? "S" : "I"} ${Math.abs(z).toFixed(0)} mm`,
  ];
  fill(
    byId("read-out"),
    h("span", {}, parts.join("  ")),
    value !== null && h("span", {}, `value ${Number(value.toPrecision(4))}`),
    label && h("strong", {}, label),
  );
}
