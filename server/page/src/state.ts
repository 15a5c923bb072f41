import type { State } from "./wire";

/** Whether nothing more will happen to a job. */
export function isOver(state: State): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
