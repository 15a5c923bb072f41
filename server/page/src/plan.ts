import type { Model, SubsetQuality, UndecidedOutput } from "./wire";
import { type Fill, modality } from "./words";

export type ChannelState = "real" | "template" | "empty" | "missing";

/** What a run with these modalities would be. */
export interface Plan {
  channels: { modality: string; state: ChannelState }[];
  /** Why it cannot be run; null if it can. */
  obstacle: string | null;
  /** Measured quality for just these modalities; empty where nobody measured it. */
  expected: SubsetQuality[];
  /** What just these modalities cannot decide. */
  open: UndecidedOutput[];
}

export function planned(model: Model, real: ReadonlySet<string>, fill: Fill): Plan {
  const channels = model.channels.map((channel) => {
    let state: ChannelState = "real";
    if (!real.has(channel.modality)) {
      if (channel.required || fill === "none") state = "missing";
      else state = fill === "zeros" || channel.template === null ? "empty" : "template";
    }
    return { modality: channel.modality, state };
  });
  const given = channels.filter(({ state }) => state === "real").map((c) => c.modality);
  const complete = given.length === channels.length;
  return {
    channels,
    obstacle: obstacle(channels, given),
    expected: model.subset_card.filter(
      (line) => same(line.real, given) && (complete || line.fill === fill),
    ),
    open:
      model.open_with.find(
        (one) => same(one.real, given) && (complete || one.fills.some((by) => by === fill)),
      )?.outputs ?? [],
  };
}

function obstacle(channels: Plan["channels"], given: string[]): string | null {
  if (given.length === 0) {
    const takes = channels.map((c) => modality(c.modality)).join(", ");
    return `Say of at least one volume what it is: the model takes ${takes}.`;
  }
  const missing = channels.filter(({ state }) => state === "missing");
  if (missing.length === 0) return null;
  return `${missing.map((c) => modality(c.modality)).join(", ")} missing, and cannot be filled.`;
}

function same(one: string[], other: string[]): boolean {
  return one.length === other.length && one.every((entry) => other.includes(entry));
}
