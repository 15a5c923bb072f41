import { h, swatch, target } from "./dom";
import type { StructureFound } from "./wire";
import { capital, millilitres } from "./words";

/** Which structures are shown, and in which colour each value of the mask is drawn. */
export class Shown {
  private readonly hidden = new Set<string>();

  constructor(readonly structures: StructureFound[]) {}

  toggle(name: string): void {
    if (!this.hidden.delete(name)) this.hidden.add(name);
  }

  has(name: string): boolean {
    return !this.hidden.has(name);
  }

  /** Every value of the mask; the smallest shown structure that holds it colours it. */
  labels(): { value: number; name: string; colour: string | null }[] {
    const values = [...new Set(this.structures.flatMap((s) => s.labels))].sort((a, b) => a - b);
    return values.map((value) => {
      const holders = this.structures
        .filter((s) => s.labels.includes(value))
        .sort((a, b) => a.labels.length - b.labels.length);
      const shown = holders.find((s) => this.has(s.name));
      const name = holders[0]?.title || holders[0]?.name || `label ${value}`;
      return { value, name: capital(name), colour: shown?.colour ?? null };
    });
  }
}

/** The legend: a row a structure, with its colour, whether it is shown, and how large it is. */
export function legend(
  shown: Shown,
  changed: () => void,
  goTo: (structure: StructureFound) => void,
): HTMLElement {
  const rows = shown.structures.map((structure) => {
    const title = capital(structure.title || structure.name);
    const box = h("input", {
      type: "checkbox",
      checked: shown.has(structure.name),
      onchange: () => {
        shown.toggle(structure.name);
        changed();
      },
    });
    return h(
      "tr",
      {},
      h("td", {}, h("label", { class: "check" }, box, swatch(structure.colour), title)),
      h("td", { class: "number" }, millilitres(structure.volume_ml)),
      h("td", { class: "number" }, String(structure.components)),
      h("td", { class: "number" }, structure.confidence?.toFixed(2) ?? ""),
      h(
        "td",
        { class: "go" },
        structure.centroid_mm &&
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-label": `Go to ${title}`,
              title: "Go to its middle",
              onclick: () => goTo(structure),
            },
            target(),
          ),
      ),
    );
  });
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "Structure"),
    h("th", { scope: "col", class: "number" }, "mL"),
    h("th", { scope: "col", class: "number" }, "Parts"),
    h("th", { scope: "col", class: "number" }, "Confidence"),
    h("th", { scope: "col" }, h("span", { class: "unseen" }, "Go to")),
  );
  return h("table", { class: "legend" }, h("thead", {}, head), h("tbody", {}, ...rows));
}
