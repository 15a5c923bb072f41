import { fill as put, byId, h } from "./dom";
import type { Draft, Volume } from "./draft";
import { BRAIN, NOT_USED } from "./draft";
import type { ChannelState, Plan } from "./plan";
import { planned } from "./plan";
import type { Finding, Model } from "./wire";
import { openQuestions } from "./open";
import { measuredOn, qualityTable } from "./quality";
import { capital, type Fill, FILL_HINTS, FILLS, modality } from "./words";

const STATES: Record<ChannelState, string> = {
  real: "real",
  template: "template",
  empty: "empty",
  missing: "missing",
};

/** What the user asks for, beside the study. */
export interface Wishes {
  model: Model;
  fill: Fill;
  probabilities: boolean;
}

/** The study that is about to be sent: which volume is what, what is filled, how good it will be. */
export class StudyPanel {
  private draft: Draft | null = null;
  private model: Model | null = null;
  private fill: Fill = "none";
  private probabilities = true;
  private busy = false;

  constructor(
    private readonly chooseModel: (name: string) => void,
    private readonly run: (draft: Draft, wishes: Wishes) => void,
  ) {}

  models(models: Model[]): void {
    const select = byId("model") as HTMLSelectElement;
    put(select, ...models.map((m) => h("option", { value: m.name }, `${m.name} ${m.version}`)));
    select.onchange = () => this.chooseModel(select.value);
  }

  setModel(model: Model): void {
    this.model = model;
    this.fill = model.fill;
    this.draft?.suit(model);
    (byId("model") as HTMLSelectElement).value = model.name;
    const takes = model.channels
      .map((c) => modality(c.modality) + (c.required ? " (needed)" : ""))
      .join(", ");
    put(
      byId("model-about"),
      h("strong", {}, model.title),
      h("span", {}, `Takes ${takes}.`),
      model.demo && h("span", { class: "tag warn" }, "demonstration model"),
    );
    this.draw();
  }

  setDraft(draft: Draft | null): void {
    this.draft = draft;
    this.draw();
  }

  setBusy(busy: boolean): void {
    this.busy = busy;
    this.draw();
  }

  private draw(): void {
    const { draft, model } = this;
    byId("study-panel").hidden = draft === null || model === null;
    if (draft === null || model === null) return;
    const plan = planned(model, draft.real, this.fill);
    put(byId("volumes"), ...draft.volumes.map((volume, i) => this.row(draft, model, volume, i)));
    put(byId("leftovers"), leftovers(draft));
    put(byId("channels"), ...plan.channels.map(channel));
    put(byId("options"), ...this.options(plan));
    put(byId("undecided"), undecided(plan, model));
    put(byId("expected"), ...expected(plan, model));
    put(byId("obstacle"), plan.obstacle);
    const run = byId("run") as HTMLButtonElement;
    run.disabled = this.busy || plan.obstacle !== null;
    run.onclick = () =>
      this.run(draft, { model, fill: this.fill, probabilities: this.probabilities });
  }

  private row(draft: Draft, model: Model, volume: Volume, place: number): HTMLElement {
    const select = h(
      "select",
      {
        id: `is-${place}`,
        "aria-label": `What ${volume.name} is`,
        onchange: () => {
          draft.choose(volume, select.value);
          this.draw();
        },
      },
      ...model.channels.map((c) => h("option", { value: c.modality }, modality(c.modality))),
      volume.file !== null && h("option", { value: BRAIN }, "brain"),
      h("option", { value: NOT_USED }, "not used"),
    );
    select.value = volume.choice;
    return h(
      "li",
      { class: volume.choice === NOT_USED ? "volume unused" : "volume" },
      h("span", { class: "name", title: volume.name }, volume.name),
      select,
      h("span", { class: "facts" }, about(volume)),
    );
  }

  private options(plan: Plan): HTMLElement[] {
    const filled = plan.channels.some(({ state }) => state !== "real");
    const select = h(
      "select",
      {
        id: "fill",
        onchange: () => {
          this.fill = select.value as Fill;
          this.draw();
        },
      },
      ...Object.entries(FILLS).map(([value, words]) => h("option", { value }, words)),
    );
    select.value = this.fill;
    const maps = h("input", {
      id: "probabilities",
      type: "checkbox",
      checked: this.probabilities,
      onchange: () => {
        this.probabilities = maps.checked;
      },
    });
    const parts: HTMLElement[] = [];
    if (filled) {
      parts.push(
        h("label", { class: "field" }, h("span", {}, "Fill missing with"), select),
        h("p", { class: "hint" }, FILL_HINTS[this.fill]),
      );
    }
    if (this.model?.kind === "segmentation") {
      parts.push(h("label", { class: "check" }, maps, "Keep probability maps"));
    }
    return parts;
  }
}

function channel({ modality: name, state }: Plan["channels"][number]): HTMLElement {
  return h(
    "li",
    { class: `channel ${state}` },
    h("strong", {}, modality(name)),
    h("span", {}, STATES[state]),
  );
}

/** What will not be answered, said before anybody waits for it. */
function undecided(plan: Plan, model: Model): HTMLElement | null {
  if (plan.obstacle !== null || plan.open.length === 0) return null;
  const all = model.kind === "classification" || plan.open.length === model.outputs.length;
  const words = all
    ? "With these series the model decides nothing:"
    : "With these series a result leaves out:";
  return h("div", { class: "undecided", role: "status" }, h("p", {}, words), openQuestions(plan.open));
}

function expected(plan: Plan, model: Model): HTMLElement[] {
  if (plan.obstacle !== null) return [];
  if (plan.expected.length === 0) {
    return [h("p", { class: "hint" }, "Not known: nobody has measured this model with these modalities.")];
  }
  const titles = new Map(model.outputs.map((o) => [o.name, o.title]));
  return [qualityTable(plan.expected, titles), measuredOn(plan.expected, model.population)];
}

/** How the service came to its answer, and what the volume is like. */
function about({ finding, choice, found }: Volume): string {
  if (choice === BRAIN) return "Taken as the brain of a raw study, instead of looking for it.";
  if (choice !== found) return "As you say.";
  const parts = [why(finding, choice)];
  if (finding.plane) parts.push(finding.plane);
  if (finding.slices) parts.push(`${finding.slices} slices`);
  if (finding.spacing_mm) parts.push(`${finding.spacing_mm.map((s) => +s.toFixed(2)).join(" × ")} mm`);
  return parts.join(" · ");
}

function why(finding: Finding, choice: string): string {
  const is = finding.modality === null ? "" : modality(finding.modality);
  if (finding.used && is && choice === NOT_USED) return `${is}: not an input here`;
  if (!finding.used) return capital(is ? `${is}, ${finding.reason}` : finding.reason);
  const evidence = finding.evidence[0];
  return capital(evidence ?? finding.reason);
}

function leftovers(draft: Draft): string {
  const { unreadable, other } = draft.findings;
  const parts = [];
  if (unreadable) parts.push(`${unreadable} damaged`);
  if (other) parts.push(`${other} that hold no image`);
  return parts.length ? `Left out: files ${parts.join(", ")}.` : "";
}
