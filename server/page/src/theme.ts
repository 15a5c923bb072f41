import { byId } from "./dom";

const STORED = "brainmvp.theme";

/** Light or dark as the system says, until the user says otherwise. */
export function installTheme(): void {
  const root = document.documentElement;
  const stored = localStorage.getItem(STORED);
  if (stored) root.dataset["theme"] = stored;
  byId("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset["theme"] ?? (dark ? "dark" : "light");
    root.dataset["theme"] = now === "dark" ? "light" : "dark";
    localStorage.setItem(STORED, root.dataset["theme"]);
  });
}
