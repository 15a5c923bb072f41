import type { Finding, Findings, Model } from "./wire";

export const NOT_USED = "none";

/** A volume of the study, and what it is taken for. */
export interface Volume {
  finding: Finding;
  name: string;
  /** What it was found to be, where the model takes that. */
  found: string;
  /** What it is to be: a modality of the model, or `none`. */
  choice: string;
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
      const name = nameOf(finding, files);
      return { finding, name, found: NOT_USED, choice: NOT_USED };
    });
    this.suit(model);
  }

  /** Begin anew with what was found, for another model. */
  suit(model: Model): void {
    const takes = new Set(model.channels.map((channel) => channel.modality));
    const taken = new Set<string>();
    for (const volume of this.volumes) {
      const { modality, used } = volume.finding;
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
    return new Set(this.volumes.map((v) => v.choice).filter((choice) => choice !== NOT_USED));
  }

  /** What the service is told beside the files; nothing where all is as it found itself. */
  get assignments(): string[] {
    const said = ({ finding }: Volume): string =>
      (finding.used ? finding.modality : null) ?? NOT_USED;
    if (this.volumes.every((volume) => volume.choice === said(volume))) return [];
    return this.volumes.map((volume) => `${volume.finding.label}:${volume.choice}`);
  }
}

/** A NIfTI file is known by its own name, which the service does not repeat. */
function nameOf(finding: Finding, files: File[]): string {
  if (finding.kind === "dicom") return finding.description ?? `Series ${finding.label}`;
  const place = Number(finding.label.replace(/^file /, ""));
  const before = files.slice(0, place);
  const unpacked = before.some((file) => /\.zip$/i.test(file.name));
  return unpacked ? finding.label : (files[place - 1]?.name ?? finding.label);
}
