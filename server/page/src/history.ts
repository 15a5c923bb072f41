import type { Api } from "./api";
import { byId, fill, h } from "./dom";
import { Problem } from "./problem";
import type { Job, State } from "./wire";
import { isOver } from "./state";

const STORED = "brainmvp.jobs";
const MOST = 30;

const WORDS: Record<State, string> = {
  queued: "waiting",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
};

/** The jobs that were posted from this tab; it keeps their ids, the server all the rest. */
export class History {
  private jobs: Job[] = [];
  private open = "";

  constructor(
    private readonly api: Api,
    private readonly choose: (job: Job) => void,
    private readonly fail: (error: unknown) => void,
  ) {}

  /** Ask again for what this tab has posted; what the server has forgotten is gone. */
  async load(): Promise<void> {
    const ids = JSON.parse(sessionStorage.getItem(STORED) ?? "[]") as string[];
    const found = await Promise.all(
      ids.map((id) =>
        this.api.job(id).catch((error: unknown) => {
          if (error instanceof Problem && error.status === 404) return null;
          throw error;
        }),
      ),
    );
    this.jobs = found.filter((job) => job !== null);
    this.keep();
  }

  /** Note how a job is now; a new one comes first. */
  note(job: Job): void {
    const place = this.jobs.findIndex(({ id }) => id === job.id);
    if (place < 0) this.jobs.unshift(job);
    else this.jobs[place] = job;
    this.keep();
  }

  find(id: string): Job | undefined {
    return this.jobs.find((job) => job.id === id);
  }

  show(id: string): void {
    this.open = id;
    this.draw();
  }

  private async forget(job: Job): Promise<void> {
    try {
      if (isOver(job.state)) await this.api.drop(job.id);
      this.jobs = this.jobs.filter(({ id }) => id !== job.id);
      this.keep();
    } catch (error) {
      this.fail(error);
    }
  }

  private keep(): void {
    this.jobs = this.jobs.slice(0, MOST);
    sessionStorage.setItem(STORED, JSON.stringify(this.jobs.map(({ id }) => id)));
    this.draw();
  }

  private draw(): void {
    const rows = this.jobs.map((job) => this.row(job));
    byId("history-panel").hidden = rows.length === 0;
    fill(byId("history"), ...rows);
  }

  private row(job: Job): HTMLElement {
    const time = new Date(job.created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return h(
      "li",
      {},
      h(
        "button",
        {
          id: `job-${job.id}`,
          type: "button",
          class: "job",
          "aria-current": job.id === this.open ? "true" : null,
          onclick: () => this.choose(job),
        },
        h("span", { class: "time" }, time),
        h("span", { class: "grow" }, job.model),
        h("span", { class: `state ${job.state}` }, WORDS[job.state]),
      ),
      isOver(job.state) &&
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": `Delete the job of ${time} and its results`,
            title: "Delete the job and its results",
            onclick: () => void this.forget(job),
          },
          "✕",
        ),
      job.error !== null && h("p", { class: "reason" }, job.error.detail || job.error.title),
    );
  }
}
