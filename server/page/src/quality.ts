import { h } from "./dom";
import type { ExpectedQuality, Population } from "./wire";
import { capital, METRICS, number, output } from "./words";

/** A figure of a result or of a model's card. */
type MeasuredQuality = Omit<ExpectedQuality, "measured_on" | "population">;

/** Measured quality: a row an output, a column a metric, the interval below each value. */
export function qualityTable(
  lines: readonly MeasuredQuality[],
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

/** On how many of whose studies it was measured, and what it may be used for. */
export function measuredOn(
  lines: readonly MeasuredQuality[],
  population: Population | null,
): HTMLElement {
  const studies = Math.max(...lines.map((line) => line.studies));
  const interval = lines.some(({ low }) => low !== null) ? ", with its 95 % interval" : "";
  const whom = population
    ? `${studies} ${population.kind} studies`
    : `what is not recorded (${studies} studies)`;
  return h(
    "p",
    { class: "hint" },
    h("strong", {}, `Measured on ${whom}`),
    `${interval}.`,
    population && ` ${capital(sentence(population))}.`,
  );
}

function sentence(one: Population): string {
  return [
    one.description,
    `${one.anatomy} anatomy`,
    `prepared: ${one.preparation}`,
    `field of use: ${one.field_of_use}`,
  ].join("; ");
}

function cell(line: MeasuredQuality | undefined): HTMLElement {
  if (line === undefined) return h("td", {});
  const { value, low, high } = line;
  return h(
    "td",
    { class: "number" },
    number(value),
    low !== null && high !== null && h("small", {}, `${number(low, 2)} to ${number(high, 2)}`),
  );
}
