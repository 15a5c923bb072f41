import type { Api } from "./api";
import { h } from "./dom";
import { tell } from "./notices";
import type { Job } from "./wire";

const FILES: [string, string][] = [
  ["mask.nii.gz", "Mask, NIfTI"],
  ["segmentation.dcm", "DICOM SEG"],
  ["report.dcm", "DICOM SR"],
  ["summary.json", "Summary, JSON"],
  ["preview.png", "Picture, PNG"],
  ["preparation.png", "Preparation, PNG"],
];
const REPORT = "report.html";
const LIFE_MS = 60_000;

/** The files of a job's result, to be kept. */
export function downloads(api: Api, job: Job): HTMLElement {
  const files = FILES.filter(([name]) => job.results.includes(name)).map(([name, words]) =>
    button(words, async () => save(await api.file(job.id, name), name)),
  );
  return h(
    "section",
    {},
    h("h3", {}, "Take with you"),
    h(
      "div",
      { class: "downloads" },
      job.results.includes(REPORT) &&
        button("Open the report", () => openReport(api, job), "primary"),
      ...files,
      button("Everything, zip", async () => save(await api.allFiles(job.id), "results.zip")),
    ),
  );
}

function button(words: string, work: () => Promise<void>, kind = ""): HTMLElement {
  const element = h(
    "button",
    {
      type: "button",
      class: kind || null,
      onclick: async () => {
        element.disabled = true;
        try {
          await work();
        } catch (error) {
          tell(error);
        } finally {
          element.disabled = false;
        }
      },
    },
    words,
  );
  return element;
}

/** The report in a tab of its own, from where it is printed; saved, where no tab may be opened. */
async function openReport(api: Api, job: Job): Promise<void> {
  const tab = window.open("about:blank", "_blank");
  const report = await api.file(job.id, REPORT).catch((error: unknown) => {
    tab?.close();
    throw error;
  });
  if (tab === null) return save(report, REPORT);
  tab.location.href = address(new Blob([report], { type: "text/html" }));
}

function save(content: Blob, name: string): void {
  h("a", { href: address(content), download: name }).click();
}

function address(content: Blob): string {
  const url = URL.createObjectURL(content);
  setTimeout(() => URL.revokeObjectURL(url), LIFE_MS);
  return url;
}
