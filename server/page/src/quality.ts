import { h } from "./dom";
import type { ExpectedQuality } from "./wire";
import { METRICS, number, output } from "./words";

/** Measured quality: a row an output, a column a metric, the interval below each value. */
export function qualityTable(
  lines: readonly ExpectedQuality[],
  titles: ReadonlyMap<string, string>,
): HTMLElement {
  const metrics = [...new Set(lines.map(({ metric }) => metric))];
  const outputs = [...new Set(lines.map((line) => line.output))];
  const rows = outputs.map((name) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, output(name, titles)),
      ...metrics.map((metric) =>
        cell(lines.find((line) => line.output === name && line.metric === metric)),
      ),
    ),
  );
  const heads = metrics.map((metric) =>
    h("th", { scope: "col", class: "number" }, METRICS[metric] ?? metric),
  );
  return h(
    "table",
    { class: "quality" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Mean"), ...heads)),
    h("tbody", {}, ...rows),
  );
}

/** On how many studies it was measured. */
export function measuredOn(lines: readonly ExpectedQuality[]): HTMLElement {
  const studies = Math.max(...lines.map((line) => line.studies));
  const interval = lines.some(({ low }) => low !== null) ? ", with its 95 % interval" : "";
  return h("p", { class: "hint" }, `Measured on ${studies} studies${interval}.`);
}

function cell(line: ExpectedQuality | undefined): HTMLElement {
  if (line === undefined) return h("td", {});
  const { value, low, high } = line;
  return h(
    "td",
    { class: "number" },
    number(value),
    low !== null && high !== null && h("small", {}, `${number(low, 2)} to ${number(high, 2)}`),
  );
}
