/** What the service answers, as far as the page reads it; see /openapi.json. */

export type Point = [number, number, number];
export type Fill = "grid" | "center" | "zeros" | "none";
export type State = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Channel {
  modality: string;
  required: boolean;
  template: string | null;
}

export interface Output {
  name: string;
  title: string;
}

export interface Quality {
  output: string;
  metric: string;
  value: number;
  low: number | null;
  high: number | null;
  studies: number;
}

/** A line of the subset card: quality measured when only these modalities are real. */
export interface SubsetQuality extends Quality {
  real: string[];
  fill: Fill;
}

export interface Model {
  name: string;
  version: string;
  title: string;
  kind: "segmentation" | "classification";
  demo: boolean;
  channels: Channel[];
  outputs: Output[];
  fill: Fill;
  intended_use: string;
  subset_card: SubsetQuality[];
}

export interface Models {
  models: Model[];
  refused: { name: string; problem: string; remedy: string }[];
}

export interface Finding {
  label: string;
  kind: "nifti" | "dicom";
  modality: string | null;
  confidence: string;
  evidence: string[];
  used: boolean;
  reason: string;
  series_number: number | null;
  description: string | null;
  slices: number | null;
  spacing_mm: Point | null;
  plane: string | null;
  b_value: number | null;
}

export interface Findings {
  volumes: Finding[];
  unreadable: number;
  other: number;
}

export interface Job {
  id: string;
  model: string;
  version: string;
  state: State;
  progress: {
    stage: string;
    windows_done: number;
    windows: number;
    seconds_left: number | null;
  } | null;
  created: string;
  expires: string | null;
  results: string[];
  error: { title: string; detail: string; remedy: string } | null;
}

export interface Structure {
  name: string;
  title: string;
  labels: number[];
  colour: string;
  volume_ml: number;
  components: number;
  centroid_mm: Point | null;
}

export interface Summary {
  model: string;
  version: string;
  kind: "segmentation" | "classification";
  demo: boolean;
  bundle: string;
  engine: { name: string; device: string; precision: string };
  real: { modality: string; shape: Point; spacing_mm: Point }[];
  filled: { modality: string; policy: Fill; template: string | null }[];
  structures: Structure[];
  scores: { name: string; title: string; score: number }[];
  expected_quality: Quality[];
  warnings: string[];
  seconds: Record<string, number>;
  intended_use: string;
}

/** Whether nothing more will happen to a job. */
export function isOver(state: State): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
