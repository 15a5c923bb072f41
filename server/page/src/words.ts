/** How things are called on the page. */

import type { Model } from "./wire";

/** What stands in for a modality that is missing. */
export type Fill = Model["fill"];

export const MODALITIES: Record<string, string> = {
  flair: "FLAIR",
  t1: "T1",
  t1c: "T1c",
  t2: "T2",
  mra: "MRA",
  pd: "PD",
  dwi: "DWI",
  adc: "ADC",
  t1ir: "T1-IR",
};

export const FILLS: Record<Fill, string> = {
  grid: "Template, same voxels",
  center: "Template, centred",
  register: "Template, registered",
  zeros: "Nothing",
  none: "Refuse the study",
};

export const FILL_HINTS: Record<Fill, string> = {
  grid: "For studies on the template's own grid, 240 × 240 × 155: the published behaviour.",
  center: "The template's centre lies on the study's centre; fits any grid.",
  register: "The template is brought to the brain by an atlas; for studies off the template's grid.",
  zeros: "The missing channels stay empty.",
  none: "A study with a missing modality is not run.",
};

export const METRICS: Record<string, string> = {
  dice: "Dice",
  hd95_mm: "HD95, mm",
  volume_error_ml: "error, mL",
  accuracy: "accuracy",
  balanced_accuracy: "balanced accuracy",
  auc: "AUC",
};

export const SIDES: Record<"left" | "right" | "both", string> = {
  left: "left",
  right: "right",
  both: "both sides",
};

export const STAGES: Record<string, string> = {
  read: "Reading the volumes",
  preprocess: "Preparing the volumes",
  register: "Bringing the series together",
  brain: "Finding the brain",
  atlas: "Turning to the atlas",
  resample: "Bringing all to one grid",
  fill: "Filling missing modalities",
  infer: "Running the network",
  blend: "Joining the windows",
  restore: "Back onto the scan's grid",
  measure: "Measuring",
  write: "Writing the results",
};

export function modality(name: string): string {
  return MODALITIES[name] ?? name.toUpperCase();
}

/** What a quality was measured of. */
export function output(name: string, titles: ReadonlyMap<string, string>): string {
  return name === "all" ? "Whole study" : capital(titles.get(name) || name);
}

export function number(value: number, digits = 3): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(digits);
}

export function millilitres(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** "12 s", "3 min". */
export function duration(seconds: number): string {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
