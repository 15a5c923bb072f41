import { h } from "./dom";
import type { Summary } from "./wire";

/** What the confidence of a structure is, and whom it holds for; nothing of results without it. */
export function confidenceNote(summary: Summary): HTMLElement | null {
  if (!summary.structures.some((one) => typeof one.confidence === "number")) return null;
  const whom = calibratedOn(summary);
  const how = whom ? `calibrated on ${whom}` : "not calibrated: as the network gives it";
  const titles = new Map(summary.structures.map((one) => [one.name, one.title || one.name]));
  const own = (summary.probabilities?.not_calibrated ?? []).map((name) => titles.get(name) ?? name);
  return h(
    "p",
    { class: "hint" },
    `Confidence is the mean probability of what is marked, ${how}.`,
    own.length > 0 && ` Not calibrated: ${own.join(", ")}.`,
  );
}

/** What the scores of classes are, and whom they hold for. */
export function scoreNote(summary: Summary): HTMLElement {
  const whom = calibratedOn(summary);
  const note = whom ? `Calibrated on ${whom}.` : "Not calibrated: as the network gives them.";
  return h("p", { class: "hint" }, note);
}

function calibratedOn(summary: Summary): string | null {
  const said = summary.probabilities as Summary["probabilities"] | undefined; // not of an older job
  return said?.calibrated ? said.measured_on : null;
}
