/** Elements, made in one expression. */

export type Child = Node | string | null | undefined | false;
type Handler = (event: never) => void;
type Attribute = string | number | boolean | Handler | null | undefined;

/** An element: handlers by their names (`onclick`), `true` for an attribute without a value. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value as EventListener);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter(isShown));
  return element;
}

/** Put new children in the place of the old ones; whoever has the focus keeps it, by id. */
export function fill(parent: Element, ...children: Child[]): void {
  const focused = document.activeElement;
  const id = focused instanceof HTMLElement && parent.contains(focused) ? focused.id : "";
  parent.replaceChildren(...children.filter(isShown));
  if (id) document.getElementById(id)?.focus();
}

/** The element of the page that has this id. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}

/** A small square of a colour. */
export function swatch(colour: string): SVGSVGElement {
  return drawing("swatch", "0 0 10 10", ["rect", { width: 10, height: 10, rx: 2, fill: colour }]);
}

/** The sign for "go there". */
export function target(): SVGSVGElement {
  return drawing(
    "icon",
    "0 0 16 16",
    ["circle", { cx: 8, cy: 8, r: 4 }],
    ["path", { d: "M8 1v5M8 10v5M1 8h5M10 8h5" }],
  );
}

function drawing(
  name: string,
  viewBox: string,
  ...shapes: [string, Record<string, string | number>][]
): SVGSVGElement {
  const svg = shape("svg", { class: name, viewBox, "aria-hidden": "true" }) as SVGSVGElement;
  svg.append(...shapes.map(([tag, attributes]) => shape(tag, attributes)));
  return svg;
}

function shape(tag: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

function isShown(child: Child): child is Node | string {
  return child !== null && child !== undefined && child !== false;
}
