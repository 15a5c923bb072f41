import { h } from "./dom";

export interface Choice {
  value: string;
  words: string;
  note?: string;
}

/** A row of choices of which one holds; the first is chosen. Arrow keys move between them. */
export function radios(
  title: string,
  name: string,
  choices: Choice[],
  chosen: (value: string) => void,
): HTMLElement {
  return h(
    "fieldset",
    { class: "tool" },
    h("legend", {}, title),
    h(
      "div",
      { class: "segments" },
      ...choices.map(({ value, words, note }, place) =>
        h(
          "label",
          { class: note ? "noted" : null },
          h("input", {
            type: "radio",
            id: `${name}-${value}`,
            name,
            value,
            checked: place === 0,
            onchange: () => chosen(value),
          }),
          h("span", {}, words, note && h("small", {}, note)),
        ),
      ),
    ),
  );
}
