import { Api } from "./api";
import { byId } from "./dom";
import { Draft } from "./draft";
import { chosen, dropped } from "./files";
import { History } from "./history";
import { askKey } from "./keyDialog";
import { quiet, say, tell } from "./notices";
import { Cancelled, Problem } from "./problem";
import { ProgressPanel } from "./progress";
import { ResultView } from "./result";
import type { Wishes } from "./study";
import { StudyPanel } from "./study";
import { installTheme } from "./theme";
import type { Job, Model } from "./wire";
import { isOver } from "./state";

/** The page: a study is dropped, looked at, run as a job, and its result is shown. */
class Page {
  private readonly api = new Api(askKey);
  private readonly study = new StudyPanel(
    (name) => void this.attempt(() => this.chooseModel(name)),
    (draft, wishes) => void this.attempt(() => this.run(draft, wishes)),
  );
  private readonly progress = new ProgressPanel();
  private readonly result = new ResultView(this.api);
  private readonly history = new History(this.api, (job) => this.go(job.id), tell);
  private loading = Promise.resolve();
  private model: Model | null = null;
  private wanted = "";
  private current: AbortController | null = null;
  private following = "";

  async start(): Promise<void> {
    installTheme();
    this.installDrop();
    byId("change-key").addEventListener("click", () => void this.changeKey());
    addEventListener("hashchange", () => void this.attempt(() => this.route()));
    await (this.loading = this.attempt(() => this.load()));
  }

  /** The models, and the first one's particulars; again, where it failed before. */
  private async load(): Promise<Model> {
    const { models, refused } = await this.api.models();
    byId("change-key").hidden = !this.api.hasKey;
    const first = models[0];
    if (first === undefined) {
      throw new Problem(
        "The server has no model",
        refused.map(({ name, problem }) => `${name}: ${problem}`).join("; ") || "None was found.",
        refused[0]?.remedy ?? "Put a bundle into its model folder.",
      );
    }
    this.study.models(models);
    const model = await this.chooseModel(first.name);
    const problem = await this.api.jobsProblem();
    if (problem !== null) throw problem;
    await this.history.load();
    await this.route();
    return model;
  }

  private async chooseModel(name: string): Promise<Model> {
    this.wanted = name;
    const model = await this.api.model(name);
    if (this.wanted === name) {
      // no other one was chosen meanwhile
      this.model = model;
      this.study.setModel(model);
    }
    return model;
  }

  private installDrop(): void {
    const zone = byId("drop");
    for (const id of ["files", "folder"]) {
      const input = byId(id) as HTMLInputElement;
      input.addEventListener("change", () => void this.attempt(() => this.take(chosen(input))));
    }
    addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) zone.classList.remove("over");
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const { dataTransfer } = event;
      if (dataTransfer) void this.attempt(async () => this.take(await dropped(dataTransfer)));
    });
  }

  /** Files came: ask the service which of them is which modality. */
  private async take(files: File[]): Promise<void> {
    if (files.length === 0) return;
    await this.loading; // files may come before the models are known
    const model = this.model ?? (await this.load());
    this.current?.abort();
    const current = (this.current = new AbortController());
    this.study.setDraft(null);
    this.progress.begin(() => current.abort());
    try {
      const findings = await this.api.identify(files, new URLSearchParams(), {
        progress: (share) => this.progress.uploading(share),
        signal: current.signal,
      });
      if (findings.volumes.length === 0) {
        throw new Problem(
          "No volume was found",
          "None of the files is a NIfTI or DICOM image that can be read.",
          "Drop NIfTI files, the DICOM files of a study, a folder or a zip of them.",
        );
      }
      this.study.setDraft(new Draft(files, findings, this.model ?? model));
      say(`${findings.volumes.length} volumes found`);
    } finally {
      if (this.current === current) this.progress.end();
    }
  }

  private async run(draft: Draft, wishes: Wishes): Promise<void> {
    const current = (this.current = new AbortController());
    const query = new URLSearchParams({
      version: wishes.model.version,
      fill: wishes.fill,
      channels: "true",
      priority: "interactive",
    });
    if (wishes.probabilities && wishes.model.kind === "segmentation") {
      query.set("probabilities", "true");
    }
    for (const assignment of draft.assignments) query.append("assign", assignment);
    this.study.setBusy(true);
    this.progress.begin(() => current.abort());
    try {
      const upload = {
        progress: (share: number) => this.progress.uploading(share),
        signal: current.signal,
      };
      const { series, brain } = draft;
      const job = await this.api.post(wishes.model.name, { series, brain }, query, upload);
      this.history.note(job);
      this.go(job.id);
    } catch (error) {
      this.progress.end();
      this.study.setBusy(false);
      throw error;
    }
  }

  private go(id: string): void {
    const hash = `#job=${id}`;
    if (location.hash === hash) void this.attempt(() => this.route());
    else location.hash = hash;
  }

  /** Show what the address names: a job's result, or how far it is. */
  private async route(): Promise<void> {
    const id = /^#job=([0-9a-f]{32})$/.exec(location.hash)?.[1];
    this.history.show(id ?? "");
    if (id === undefined) return this.result.close();
    const job = await this.api.job(id);
    if (!isOver(job.state)) return this.follow(job);
    await this.open(job);
  }

  private async follow(job: Job): Promise<void> {
    if (this.following === job.id) return;
    this.following = job.id;
    const current = (this.current = new AbortController());
    this.result.close();
    this.study.setBusy(true);
    this.progress.begin(() => void this.attempt(() => this.api.drop(job.id)));
    this.progress.job(job);
    try {
      const end = await this.api.follow(
        job.id,
        (now) => {
          this.history.note(now);
          if (this.current === current) this.progress.job(now);
        },
        current.signal,
      );
      if (location.hash === `#job=${job.id}`) await this.open(end);
    } finally {
      this.following = "";
      if (this.current === current) {
        this.progress.end();
        this.study.setBusy(false);
      }
    }
  }

  private async open(job: Job): Promise<void> {
    this.history.note(job);
    if (job.state === "done") {
      await this.result.open(job);
      say("The result is here");
      byId("result-title").focus({ preventScroll: true });
      return;
    }
    this.result.close();
    if (job.state === "cancelled") {
      say("The job was cancelled");
      byId("welcome-note").replaceChildren("The job was cancelled; nothing of it was kept.");
      return;
    }
    const error = job.error;
    throw new Problem(error?.title ?? "The job failed", error?.detail ?? "", error?.remedy ?? "");
  }

  private async changeKey(): Promise<void> {
    this.api.setKey(await askKey(null));
    location.reload();
  }

  /** Do something that may fail, and tell if it does. */
  private async attempt(work: () => Promise<unknown>): Promise<void> {
    quiet();
    byId("welcome-note").replaceChildren();
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Cancelled)) tell(error);
    }
  }
}

void new Page().start();
