import { h, swatch, target } from "./dom";
import type { PartFound, StructureFound } from "./wire";
import { capital, millilitres, SIDES } from "./words";

type Point = PartFound["centroid_mm"];

/** The measured parts of every structure, each with its diameters and the way to it. */
export function parts(structures: StructureFound[], goTo: (point: Point) => void): HTMLElement[] {
  return structures
    .filter((structure) => structure.parts?.length) // what older services kept has none
    .map((structure, index) => {
      const title = capital(structure.title || structure.name);
      const left = structure.components - structure.parts.length;
      const smaller = left > 0 && h("p", { class: "hint" }, `${left} smaller, not measured.`);
      return h(
        "details",
        { class: "parts", open: index === 0 },
        h("summary", {}, swatch(structure.colour), title),
        table(structure.parts, title, goTo),
        smaller,
      );
    });
}

function table(found: PartFound[], title: string, goTo: (point: Point) => void): HTMLElement {
  const heads = ["Part", "mL", "Diameters, mm", "3-D", "Side"];
  const head = heads.map((name) => h("th", { scope: "col" }, name));
  const last = h("th", { scope: "col" }, h("span", { class: "unseen" }, "Go to"));
  const rows = found.map((part) => row(part, `${title}, part ${part.number}`, goTo));
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head, last)),
    h("tbody", {}, ...rows),
  );
}

function row(part: PartFound, name: string, goTo: (point: Point) => void): HTMLElement {
  const { size } = part;
  const depth = part.to_surface_mm;
  const more = [
    `${size.plane} product ${size.product_mm2.toFixed(0)} mm²`,
    depth !== null && `${depth.toFixed(1)} mm to the brain's surface`,
  ];
  const go = {
    type: "button",
    class: "quiet",
    "aria-label": `Go to ${name}`,
    title: "Go to its middle",
    onclick: () => goTo(part.centroid_mm),
  };
  return h(
    "tr",
    { title: more.filter(Boolean).join("; ") },
    h("th", { scope: "row" }, String(part.number)),
    h("td", {}, millilitres(part.volume_ml)),
    h("td", {}, `${size.diameter_mm.toFixed(1)} × ${size.across_mm.toFixed(1)}`),
    h("td", {}, size.diameter_3d_mm.toFixed(1)),
    h("td", {}, part.side === null ? "" : SIDES[part.side]),
    h("td", { class: "go" }, h("button", go, target())),
  );
}
