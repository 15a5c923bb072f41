// Written by `make page` from the service's OpenAPI document; do not edit.

/** How the two times were brought together: rigidly, nothing was bent. */
export interface AlignmentDone {
  before_series: Modality;
  after_series: Modality;
  /** How far a point of the head was moved, on average. */
  moved_mm: number;
  turned_degrees: number;
  /** Normalised mutual information by the headers, 1 to 2; null for one file. */
  similarity_before: number | null;
  /** The same as they were brought. */
  similarity_after: number | null;
  /** 4 × 4, takes a point of the later mask's world to the earlier one's, R-A-S mm. */
  after_to_before: [number, number, number, number][];
}

/** An input channel of a model. */
export interface ChannelTaken {
  modality: Modality;
  required: boolean;
  template: Modality | null;
}

/** Everything about a comparison but its pictures. */
export interface ComparisonSummary {
  before: VisitCompared;
  after: VisitCompared;
  alignment: AlignmentDone;
  volume_threshold_percent: number;
  product_threshold_percent: number;
  structures: StructureCompared[];
  warnings: string[];
  intended_use: string;
}

/** What ran the network. */
export interface EngineUsed {
  name: string;
  device: string;
  precision: string;
}

/** Quality measured for this subset of modalities, from the bundle's subset card. */
export interface ExpectedQuality {
  output: string;
  metric: string;
  value: number;
  /** Lower end of the 95 % confidence interval. */
  low: number | null;
  /** Upper end of the 95 % confidence interval. */
  high: number | null;
  studies: number;
  /** On how many of whose studies, in words. */
  measured_on: string;
  /** Whom it was measured on; null where the bundle does not record it. */
  population: Population | null;
}

/** A figure at two times. */
export interface FigureChange {
  before: number;
  after: number;
  difference: number;
  /** Of before; null where that is 0. */
  percent: number | null;
  /** Lower end of the 95 % interval of the difference. */
  difference_low: number;
  /** Its upper end. */
  difference_high: number;
  status: Status;
}

/** A modality that is not this patient's. */
export interface FilledModality {
  modality: Modality;
  policy: "grid" | "center" | "register" | "zeros" | "none";
  /** The template that stands in, if one does. */
  template: Modality | null;
}

/** One volume: what it is, how sure, on what evidence, and whether it is used. */
export interface Finding {
  label: string;
  kind: string;
  modality: Modality | null;
  confidence: string;
  evidence: string[];
  used: boolean;
  reason: string;
  series_uid: string | null;
  series_number: number | null;
  description: string | null;
  slices: number | null;
  spacing_mm: [number, number, number] | null;
  plane: string | null;
  b_value: number | null;
  echo_time_ms: number | null;
  /** What of the series is not in it, or how it was put together. */
  notes: string[];
}

/** Every volume of a study, and how many files were none. */
export interface Findings {
  volumes: Finding[];
  unreadable: number;
  other: number;
  /** What a reader of a result should know about the files used. */
  warnings: string[];
}

/** A job as it is told to whoever asks. */
export interface Job {
  id: string;
  model: string;
  version: string;
  priority: Priority;
  state: State;
  /** Where a running job is, and where one that is over ended. */
  progress: JobProgress | null;
  created: string;
  finished: string | null;
  /** When a finished job and its results will be gone. */
  expires: string | null;
  /** Files under /results/. */
  results: string[];
  error: JobError | null;
}

/** Why a job failed. */
export interface JobError {
  code: string;
  title: string;
  detail: string;
  remedy: string;
}

/** How far a running job is. */
export interface JobProgress {
  /** What is being done: read, preprocess, infer, … */
  stage: string;
  windows_done: number;
  /** 0 until it is known. */
  windows: number;
  /** For the windows that are left, at the pace so far. */
  seconds_left: number | null;
}

/** Jobs, the newest first. */
export interface Jobs {
  jobs: Job[];
}

/** A lesion at two times. */
export interface LesionCompared {
  /** 1 for the largest of either time. */
  number: number;
  /** By its volume. */
  status: Status;
  volume_ml: FigureChange;
  /** Bidimensional product; of a lesion in several parts, their sum. */
  product_mm2: FigureChange;
  /** The half of the brain; null where no brain is known. */
  side: string | null;
  /** In the later time's world, RAS+. */
  centroid_mm: [number, number, number];
  /** In the earlier time's world; null where it was not there. */
  centroid_before_mm: [number, number, number] | null;
  /** Its connected parts of 0.01 mL or more, as in that time's result, numbered anew. */
  before: PartFound[];
  after: PartFound[];
}

/** A file that the result should have, and why it has not. */
export interface MissingFile {
  name: string;
  problem: string;
  remedy: string;
}

/** An MRI contrast, by the lower-case name used in files, manifests and REST parts. */
export type Modality = "flair" | "t1" | "t1c" | "t2" | "mra" | "pd" | "dwi" | "adc" | "t1ir";

/** A served model. */
export interface Model {
  name: string;
  version: string;
  versions: string[];
  title: string;
  kind: "segmentation" | "classification";
  demo: boolean;
  channels: ChannelTaken[];
  outputs: OutputGiven[];
  fill: "grid" | "center" | "register" | "zeros" | "none";
  /** How studies may be cut into windows. */
  profiles: ("reference" | "speed")[];
  intended_use: string;
  digest: string;
  /** Quality measured with only some of the modalities real. */
  subset_card: SubsetQuality[];
  /** Whom that was measured on; null where it is not recorded. */
  population: Population | null;
  /** Every subset of modalities that leaves an output undecided, and which. */
  open_with: OpenWith[];
  /** The model card, in Markdown. */
  card: string | null;
}

/** All models, each in its latest version. */
export interface Models {
  models: Model[];
  refused: RefusedBundle[];
}

/** How a series of a raw study was brought to the reference. */
export interface MovedSeries {
  modality: Modality;
  /** How far a point of the head was moved, on average. */
  moved_mm: number;
  /** Normalised mutual information by the headers, 1 to 2. */
  before: number;
  /** The same as it was brought. */
  after: number;
  /** What won: headers, moments, centres or turned. */
  start: string;
}

/** What a study of just these modalities could not decide. */
export interface OpenWith {
  real: Modality[];
  /** Where the others are filled so. */
  fills: ("grid" | "center" | "register" | "zeros" | "none")[];
  outputs: UndecidedOutput[];
}

/** A region, class or score a model gives. */
export interface OutputGiven {
  name: string;
  title: string;
  colour: string | null;
  value: number | null;
  /** Without these it is not determinable, however they are filled. */
  needs: Modality[];
}

/** A connected part of a structure (26 neighbours): of a model of lesions, a lesion. */
export interface PartFound {
  /** 1 for the largest; it says nothing of another result's parts. */
  number: number;
  voxels: number;
  volume_ml: number;
  /** Mean of the voxels' centres, RAS+. */
  centroid_mm: [number, number, number];
  size: SizeFound;
  /** The half of the brain that holds 90 % of it; null where no brain is known. */
  side: "left" | "right" | "both" | null;
  /** The smallest distance to the outer surface of the brain, 0 where it reaches outside; null where no brain is known. */
  to_surface_mm: number | null;
}

/** The studies that a subset card was measured on. */
export interface Population {
  /** What the studies are: made by a program, of patients, of healthy volunteers, or of several kinds. */
  kind: "synthetic" | "patient" | "volunteer" | "mixed";
  /** Who is in them. */
  description: string;
  /** Whether heads are as they were scanned, or deformed or drawn by a program. */
  anatomy: "real" | "synthetic" | "mixed";
  /** How they were prepared: brains, spacing, space. */
  preparation: string;
  /** What the figures may be used for. */
  field_of_use: string;
}

/** What was done to a raw study before the network saw it. */
export interface PreparationDone {
  /** The series the others were brought to. */
  reference: Modality;
  space: Space;
  turned_degrees: number | null;
  /** Share of the atlas's brain that every series shows, 0 to 1. */
  atlas_covered: number | null;
  moved: MovedSeries[];
  /** Null where the series came without their skulls. */
  brain_ml: number | null;
  brain_series: Modality[];
  /** Dice of the brains of the first two series. */
  brain_agreement: number | null;
}

/** Whose turn comes first. */
export type Priority = "interactive" | "batch";

/** What the scores and the probability maps of a result are. */
export interface ProbabilitiesGiven {
  /** Whether of all that had a probability of 0.8, about 80 % were so on the studies of the calibration. Else probabilities are the network's own. */
  calibrated: boolean;
  /** On how many of whose studies, in words. */
  measured_on: string;
  /** Outputs whose probabilities are the network's own all the same: no correction made them better. */
  not_calibrated: string[];
  /** Whom it was calibrated on; null where that is not recorded. */
  population: Population | null;
}

/** A modality that came with the study. */
export interface RealModality {
  modality: Modality;
  /** SHA-256 of its file; of a DICOM series, of its affine and voxels. */
  digest: string;
  /** Voxels along the axes of its grid. */
  shape: [number, number, number];
  /** Millimetres between voxels, along the same axes. */
  spacing_mm: [number, number, number];
  /** What it shows that is brighter than its background, in mL. */
  head_ml: number;
  /** How much of its field of view that is, 0 to 1. */
  field_share: number;
  /** How much of the study's head its field of view covers, 0 to 1; beyond it the modality is missing. */
  head_share: number;
}

/** A bundle that is not served, and why. */
export interface RefusedBundle {
  name: string;
  problem: string;
  remedy: string;
}

/** The probability of one class. */
export interface ScoreGiven {
  name: string;
  title: string;
  /** Calibrated, where the bundle has a calibration. */
  score: number;
  /** As the network gives it. */
  uncalibrated: number | null;
}

/** The diameters of a connected part, from border to border. */
export interface SizeFound {
  /** The slices that the first two diameters lie in. */
  plane: "sagittal" | "coronal" | "axial";
  /** The longest diameter in one slice. */
  diameter_mm: number;
  /** The longest one in that slice at right angles to it. */
  across_mm: number;
  /** Both multiplied: RANO's bidimensional product. */
  product_mm2: number;
  /** The longest diameter in space. */
  diameter_3d_mm: number;
  /** RAS+. */
  diameter_ends_mm: [[number, number, number], [number, number, number]];
  /** RAS+. */
  across_ends_mm: [[number, number, number], [number, number, number]];
}

/** Where the heads of a model's training data lay, by the name used in task files. ``study`` is the study's own space, ``sri24`` and ``mni152`` are those of the two atlases (Rohlfing et al., Hum Brain Mapp 31:798-819, 2010; Fonov et al., NeuroImage 54:313-327, 2011). */
export type Space = "study" | "sri24" | "mni152";

/** How far a job is; the last three are final. */
export type State = "queued" | "running" | "done" | "failed" | "cancelled";

/** What became of a lesion or a structure. */
export type Status = "new" | "gone" | "grown" | "shrunk" | "stable" | "not decidable" | "absent";

/** A structure at two times, and its lesions. */
export interface StructureCompared {
  name: string;
  title: string;
  /** The values in the masks that it is made of. */
  labels: number[];
  /** Of all of it. */
  volume_ml: FigureChange;
  /** How many lesions of each status. */
  counts: Record<string, number>;
  /** By size. Parts are one lesion where they share 10% of the smaller one, or share nothing and lie within 2 mm. */
  lesions: LesionCompared[];
  /** Lesions that are left out: no part of them has 0.01 mL. */
  specks: number;
  /** The model's mean absolute volume error that the intervals rest on; null where none was measured: they then rest on the place of the border between voxels. */
  error_before_ml: number | null;
  error_after_ml: number | null;
}

/** A region or class, measured on the native grid. */
export interface StructureFound {
  name: string;
  title: string;
  /** Its value in the mask; null for a region of several labels. */
  value: number | null;
  /** The values in the mask that it is made of. */
  labels: number[];
  colour: string;
  volume_ml: number;
  voxels: number;
  /** Connected parts (26 neighbours). */
  components: number;
  /** Two opposite corners, outer voxel edges, RAS+; null if nothing was found. */
  bounding_box_mm: [[number, number, number], [number, number, number]] | null;
  /** Mean of the voxels' centres, RAS+; null if nothing was found. */
  centroid_mm: [number, number, number] | null;
  /** Of the part that is longest in one slice; diameter_3d_mm is the largest of any part. */
  size: SizeFound | null;
  /** As of a part, of the parts together. */
  side: "left" | "right" | "both" | null;
  /** As of a part, of the part that is nearest. */
  to_surface_mm: number | null;
  /** The largest connected parts, by size: at most 20, and beyond the first only those of 0.01 mL or more. components counts all. */
  parts: PartFound[];
  /** The mean probability of its voxels, 0 to 1; it ranks results, see docs/evaluation.md. Null if nothing was found. */
  confidence: number | null;
}

/** One line of the subset card: quality measured when only these modalities are real. */
export interface SubsetQuality {
  real: Modality[];
  /** none where every channel is real. */
  fill: "grid" | "center" | "register" | "zeros" | "none";
  /** A region, a class, or 'all' for the whole study. */
  output: string;
  metric: "dice" | "hd95_mm" | "volume_error_ml" | "accuracy" | "balanced_accuracy" | "auc";
  /** Mean over studies, or the figure of all of them. */
  value: number;
  /** Lower end of the 95 % interval. */
  low: number | null;
  /** Upper end of the 95 % interval. */
  high: number | null;
  studies: number;
}

/** Everything about a result but its voxels. */
export interface Summary {
  model: string;
  version: string;
  kind: "segmentation" | "classification";
  demo: boolean;
  bundle: string;
  engine: EngineUsed;
  /** How the study was cut into windows: reference as published, speed into fewer. */
  profile: "reference" | "speed";
  real: RealModality[];
  filled: FilledModality[];
  /** Every volume that came without a name: what it was taken for, on what evidence, and whether it was used. */
  identified: Finding[];
  structures: StructureFound[];
  scores: ScoreGiven[];
  /** What scores and probability maps are. */
  probabilities: ProbabilitiesGiven;
  /** What the modalities that came cannot decide. It is not among structures and scores, nor in the mask, unless it was asked for. */
  not_determinable: Undecided[];
  expected_quality: ExpectedQuality[];
  warnings: string[];
  /** DICOM objects that could not be written, where objects were asked for. */
  missing: MissingFile[];
  /** What was done to a raw study; null where nothing was. */
  preparation: PreparationDone | null;
  windows: number;
  /** Wall-clock seconds by stage. */
  seconds: Record<string, number>;
  intended_use: string;
}

/** An output that the study's modalities cannot decide. */
export interface Undecided {
  /** A region or class; 'all' for the class of the study. */
  output: string;
  title: string;
  reason: string;
  /** With these it would be determinable; none where no others would help. */
  missing: Modality[];
  /** Whether what was found is given all the same, because it was asked for. */
  given: boolean;
}

/** An output that some modalities cannot decide. */
export interface UndecidedOutput {
  /** A region or class; 'all' for the class of the study. */
  output: string;
  title: string;
  reason: string;
  /** With these it would be determinable; none where no others would help. */
  missing: Modality[];
}

/** One of the two times. */
export interface VisitCompared {
  /** The series that the mask lies on. */
  series: Modality;
  /** That series' digest, as in a result's summary. */
  digest: string;
  spacing_mm: [number, number, number];
  /** Null for a mask made elsewhere. */
  model: string | null;
  version: string | null;
  bundle: string | null;
  demo: boolean;
}
