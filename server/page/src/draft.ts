import type { Finding, Findings, Model } from "./wire";

export const NOT_USED = "none";

/** A volume that is a mask of the brain: it is taken instead of one that is looked for. */
export const BRAIN = "brain";
const BRAIN_NAME = /^brain$|(^|[^a-z])brain[-_ ]?mask([^a-z]|$)/i;

/** A volume of the study, and what it is taken for. */
export interface Volume {
  finding: Finding;
  name: string;
  /** What it was found to be, where the model takes that. */
  found: string;
  /** What it is to be: a modality of the model, `brain` or `none`. */
  choice: string;
  /** The file that is this volume and nothing else, if there is one. */
  file: File | null;
}

/** A study before it is sent: its files, what they were found to be, and what the user says. */
export class Draft {
  readonly volumes: Volume[];

  constructor(
    readonly files: File[],
    readonly findings: Findings,
    model: Model,
  ) {
    this.volumes = findings.volumes.map((finding) => {
      const file = fileOf(finding, files);
      const name = file?.name ?? nameOf(finding);
      return { finding, name, found: NOT_USED, choice: NOT_USED, file };
    });
    this.suit(model);
  }

  /** Begin anew with what was found, for another model. */
  suit(model: Model): void {
    const takes = new Set(model.channels.map((channel) => channel.modality));
    const taken = new Set<string>();
    for (const volume of this.volumes) {
      const { modality, used } = volume.finding;
      if (isBrainMask(volume) && !taken.has(BRAIN)) {
        volume.found = volume.choice = BRAIN;
        taken.add(BRAIN);
        continue;
      }
      const free = modality !== null && used && takes.has(modality) && !taken.has(modality);
      volume.found = volume.choice = free ? modality : NOT_USED;
      if (free) taken.add(modality);
    }
  }

  /** Say what a volume is; another one that was that is not used any more. */
  choose(volume: Volume, choice: string): void {
    for (const other of this.volumes) {
      if (choice !== NOT_USED && other.choice === choice) other.choice = NOT_USED;
    }
    volume.choice = choice;
  }

  get real(): Set<string> {
    const choices = this.volumes.map((v) => v.choice);
    return new Set(choices.filter((choice) => choice !== NOT_USED && choice !== BRAIN));
  }

  /** The mask of the brain that goes with the series, if the user has one. */
  get brain(): File | null {
    return this.volumes.find(({ choice }) => choice === BRAIN)?.file ?? null;
  }

  /** The files of the series: all but the mask of the brain. */
  get series(): File[] {
    const { brain } = this;
    return this.files.filter((file) => file !== brain);
  }

  /** What the service is told beside the files; nothing where all is as it found itself. */
  get assignments(): string[] {
    const said = ({ finding }: Volume): string =>
      (finding.used ? finding.modality : null) ?? NOT_USED;
    const series = this.volumes.filter(({ choice }) => choice !== BRAIN);
    if (series.every((volume) => volume.choice === said(volume))) return [];
    return series.map((volume) => `${this.labelOf(volume)}:${volume.choice}`);
  }

  /** What the service calls a volume: a file has its place among those that are sent. */
  private labelOf({ file, finding }: Volume): string {
    return file === null ? finding.label : `file ${this.series.indexOf(file) + 1}`;
  }
}

function isBrainMask({ file }: Volume): boolean {
  return BRAIN_NAME.test(file?.name.replace(/\.nii(\.gz)?$/i, "") ?? "");
}

/** A NIfTI file is known by its own name, which the service does not repeat; one in a zip is not. */
function fileOf(finding: Finding, files: File[]): File | null {
  if (finding.kind === "dicom") return null;
  const place = Number(finding.label.replace(/^file /, ""));
  const unpacked = files.slice(0, place).some((file) => /\.zip$/i.test(file.name));
  return unpacked ? null : (files[place - 1] ?? null);
}

function nameOf({ kind, description, label }: Finding): string {
  return kind === "dicom" ? (description ?? `Series ${label}`) : label;
}
