import { byId, h } from "./dom";
import type { Problem } from "./problem";

/** Ask for an API key or token; null where the user has none, or wants to forget theirs. */
export function askKey(problem: Problem | null): Promise<string | null> {
  const dialog = byId("key-dialog") as HTMLDialogElement;
  const input = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  dialog.replaceChildren(
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "key-title" }, "API key"),
      h("p", {}, problem?.detail ? `The server says: ${problem.detail}.` : ""),
      h("label", { for: "key" }, "Key or token"),
      input,
      h("p", { class: "hint" }, "Kept in this tab until it is closed, and sent to this server alone."),
      h(
        "div",
        { class: "row end" },
        h("button", { type: "submit", value: "", formnovalidate: true }, "Go on without"),
        h("button", { type: "submit", value: "use", class: "primary" }, "Use this key"),
      ),
    ),
  );
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  input.focus();
  // Enter presses the first button of a form; here it means the second one.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !input.value) return;
    event.preventDefault();
    dialog.close("use");
  });
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "use" ? input.value.trim() || null : null),
      { once: true },
    );
  });
}
