import { byId, fill, h } from "./dom";
import type { Job } from "./wire";
import { duration, STAGES } from "./words";

/** Shares of the bar: what comes before and after the network is short. */
const UPLOADED = 0.1;
const PREPARED = 0.2;
const INFERRED = 0.92;

/** What is being done now, how far it is, and a way to stop it. */
export class ProgressPanel {
  private readonly panel = byId("progress-panel");
  private share = 0;

  begin(cancel: () => void): void {
    this.share = 0;
    fill(
      this.panel,
      h("h2", { id: "progress-title" }, "Progress"),
      h("progress", { id: "bar", max: "1", value: "0", "aria-labelledby": "progress-title" }),
      h(
        "div",
        { class: "row" },
        h("span", { id: "stage", class: "grow" }),
        h("button", { id: "cancel", type: "button", onclick: cancel }, "Cancel"),
      ),
    );
    this.panel.hidden = false;
  }

  uploading(share: number): void {
    this.draw(UPLOADED * share, share < 1 ? "Sending the study" : "The server looks at the study");
  }

  job(job: Job): void {
    const { progress } = job;
    if (job.state === "queued") return this.draw(UPLOADED, "Waiting for its turn");
    if (progress === null) return this.draw(UPLOADED, "Starting");
    const words = STAGES[progress.stage] ?? progress.stage;
    if (progress.windows === 0) return this.draw(PREPARED, words);
    const done = progress.windows_done / progress.windows;
    const share = PREPARED + (INFERRED - PREPARED) * done;
    if (progress.stage !== "infer") return this.draw(Math.max(share, INFERRED), words);
    const left = progress.seconds_left;
    const rest = left === null ? "" : `, about ${duration(left)} left`;
    this.draw(share, `${words}: window ${progress.windows_done} of ${progress.windows}${rest}`);
  }

  end(): void {
    this.panel.hidden = true;
  }

  private draw(share: number, words: string): void {
    this.share = Math.max(this.share, share);
    (byId("bar") as HTMLProgressElement).value = this.share;
    byId("stage").textContent = words;
  }
}
