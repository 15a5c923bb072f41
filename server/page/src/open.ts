import { h } from "./dom";
import type { UndecidedOutput } from "./wire";
import { capital, modality } from "./words";

/** A line for each output that modalities cannot decide: why, and what would help. */
export function openQuestions(open: readonly (UndecidedOutput & { given?: boolean })[]): HTMLElement {
  const rows = open.map((one) =>
    h(
      "li",
      {},
      h("strong", {}, capital(one.title)),
      `: ${one.reason}.`,
      one.missing.length > 0 && ` Missing: ${one.missing.map(modality).join(", ")}.`,
      one.given && " What was found is shown because it was asked for.",
    ),
  );
  return h("ul", { class: "warnings" }, ...rows);
}
