import type { Api } from "./api";
import { h } from "./dom";
import { tell } from "./notices";
import type { Job, PreparationDone } from "./wire";
import { modality, number } from "./words";

const PICTURE = "preparation.png";

/**
 * How a raw study's series were brought together: a row a series, and the brain over each.
 * `outline` is where the brain's outline over the volume is switched.
 */
export function preparation(
  api: Api,
  job: Job,
  done: PreparationDone,
  outline: HTMLElement | false,
): HTMLElement {
  const rows = done.moved.map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, modality(one.modality)),
      h("td", { class: "number" }, one.moved_mm.toFixed(1)),
      h("td", { class: "number" }, `${number(one.before)} to ${number(one.after)}`),
    ),
  );
  const figures = [
    done.brain_ml !== null && `Brain ${done.brain_ml.toFixed(0)} mL`,
    done.brain_agreement !== null &&
      `brains of two series agree to a Dice of ${number(done.brain_agreement)}`,
    done.turned_degrees !== null && `turned by ${done.turned_degrees.toFixed(1)}° to the atlas`,
    done.atlas_covered !== null &&
      `every series shows ${(100 * done.atlas_covered).toFixed(1)} % of the atlas's brain`,
  ].filter(Boolean);
  const heads = [
    h("th", { scope: "col" }, `Onto ${modality(done.reference)}`),
    h("th", { scope: "col", class: "number" }, "Moved, mm"),
    h("th", { scope: "col", class: "number" }, "Agreement"),
  ];
  return h(
    "section",
    { id: "preparation" },
    h("h3", {}, "How the series were prepared"),
    rows.length > 0 &&
      h("table", {}, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)),
    figures.length > 0 && h("p", { class: "hint" }, `${figures.join(", ")}.`),
    outline,
    job.results.includes(PICTURE) && outlines(api, job),
  );
}

/** Every series with the brain's outline: one that does not fill it is in the wrong place. */
function outlines(api: Api, job: Job): HTMLElement {
  const image = h("img", { class: "outlines", alt: "Every series with the brain's outline" });
  api
    .file(job.id, PICTURE)
    .then((file) => {
      const address = URL.createObjectURL(file);
      image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
      image.src = address;
    })
    .catch(tell);
  return image;
}
