import { byId, h } from "./dom";
import { Cancelled, Problem } from "./problem";

/** Tell what went wrong: in words, with what helps, until the user has read it. */
export function tell(error: unknown): void {
  if (error instanceof Cancelled) return;
  const problem = Problem.from(error);
  const notice: HTMLElement = h(
    "div",
    { class: "notice", role: "alert" },
    h(
      "div",
      {},
      h("strong", {}, problem.title),
      problem.detail && h("p", {}, sentence(problem.detail)),
      problem.remedy && h("p", { class: "remedy" }, sentence(problem.remedy)),
    ),
    h(
      "button",
      { class: "quiet", type: "button", "aria-label": "Dismiss", onclick: () => notice.remove() },
      "✕",
    ),
  );
  byId("notices").replaceChildren(notice);
}

export function quiet(): void {
  byId("notices").replaceChildren();
}

/** Say something to those who listen to the page. */
export function say(text: string): void {
  byId("status").textContent = text;
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
