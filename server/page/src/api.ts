import { Cancelled, Problem, unreachable } from "./problem";
import type { Findings, Job, Model, Models } from "./wire";
import { isOver } from "./state";

const KEY = "brainmvp.key";
const RECONNECT_MS = 1000;

/** Asks the user for a key; null if they have none. */
export type AskKey = (problem: Problem) => Promise<string | null>;

/**
 * The service, as the page uses it. A key lives in the tab's session storage and nowhere else.
 * Addresses are relative to the page's: a proxy may show it under a path of its own.
 */
export class Api {
  constructor(private readonly askKey: AskKey) {}

  get hasKey(): boolean {
    return sessionStorage.getItem(KEY) !== null;
  }

  setKey(key: string | null): void {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  }

  models(): Promise<Models> {
    return this.json("v1/models");
  }

  model(name: string): Promise<Model> {
    return this.json(`v1/models/${encodeURIComponent(name)}`);
  }

  job(id: string): Promise<Job> {
    return this.json(`v1/jobs/${id}`);
  }

  /** Whether the service keeps jobs, and lets this caller post them. */
  async jobsProblem(): Promise<Problem | null> {
    try {
      await this.json("v1/jobs?limit=1");
      return null;
    } catch (error) {
      const problem = Problem.from(error);
      if (problem.status !== 404) return problem;
      return new Problem(
        "This server keeps no jobs",
        "The page runs studies as jobs, and the server was started without a place for them.",
        "Start it with --jobs-storage FOLDER.",
      );
    }
  }

  /** Cancel a job that is not over; forget one that is. */
  async drop(id: string): Promise<void> {
    await this.fetch(`v1/jobs/${id}`, { method: "DELETE" });
  }

  async file(job: string, name: string): Promise<Blob> {
    return (await this.fetch(`v1/jobs/${job}/results/${name}`)).blob();
  }

  resultJson<T>(job: string, name: string): Promise<T> {
    return this.json(`v1/jobs/${job}/results/${name}`);
  }

  async allFiles(job: string): Promise<Blob> {
    return (await this.fetch(`v1/jobs/${job}/results`)).blob();
  }

  identify(files: File[], query: URLSearchParams, upload: Upload): Promise<Findings> {
    const series = files.map(headOf);
    return this.send("v1/studies/identify", { series, brain: null }, query, upload);
  }

  post(model: string, study: Sent, query: URLSearchParams, upload: Upload): Promise<Job> {
    const path = `v1/models/${encodeURIComponent(model)}/jobs`;
    return this.send(path, study, query, upload);
  }

  /** Follow a job until it is over; every state of it is told. */
  async follow(id: string, tell: (job: Job) => void, signal: AbortSignal): Promise<Job> {
    for (;;) {
      try {
        const answer = await this.fetch(`v1/jobs/${id}/events`, { signal });
        for await (const job of events(answer)) {
          tell(job);
          if (isOver(job.state)) return job;
        }
      } catch (error) {
        if (signal.aborted) throw new Cancelled();
        if (error instanceof Problem && error.status !== 0) throw error;
      }
      if (signal.aborted) throw new Cancelled();
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  private async json<T>(path: string): Promise<T> {
    return (await this.fetch(path)).json() as Promise<T>;
  }

  private async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    for (;;) {
      let answer: Response;
      try {
        answer = await fetch(path, { ...init, headers: this.headers() });
      } catch (error) {
        if (init.signal?.aborted) throw new Cancelled();
        throw unreachable();
      }
      if (answer.ok) return answer;
      await this.refused(await Problem.of(answer));
    }
  }

  /** A multipart upload with its progress, which fetch cannot tell. */
  private async send<T>(
    path: string,
    study: Sent,
    query: URLSearchParams,
    upload: Upload,
  ): Promise<T> {
    const url = query.size ? `${path}?${query}` : path;
    for (;;) {
      const { status, text } = await posted(url, study, this.headers(), upload);
      if (status >= 200 && status < 300) return JSON.parse(text) as T;
      await this.refused(Problem.parsed(status, text));
    }
  }

  private headers(): Record<string, string> {
    const key = sessionStorage.getItem(KEY);
    return key ? { authorization: `Bearer ${key}` } : {};
  }

  /** Ask for a key where one is demanded; anything else is thrown. */
  private async refused(problem: Problem): Promise<void> {
    if (problem.status !== 401) throw problem;
    const key = await this.askKey(problem);
    if (key === null) throw problem;
    this.setKey(key);
  }
}

/** What is sent: files to be told apart, and a mask of the brain. */
export interface Sent {
  series: File[];
  brain: File | null;
}

export interface Upload {
  progress: (share: number) => void;
  signal: AbortSignal;
}

/** Of a volume in one file, what tells that it is one: its modality is told by its name alone. */
function headOf(file: File): File {
  if (!/\.(nii(\.gz)?|mg[hz]|nrrd)$/i.test(file.name)) return file;
  return new File([file.slice(0, 4096)], file.name);
}

function posted(
  url: string,
  { series, brain }: Sent,
  headers: Record<string, string>,
  upload: Upload,
): Promise<{ status: number; text: string }> {
  const form = new FormData();
  for (const file of series) form.append("files", file, file.name);
  if (brain !== null) form.append("brain", brain, "brain");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = (): void => request.abort();
    request.open("POST", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => upload.progress(event.loaded / event.total);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new Cancelled());
    request.onloadend = () => upload.signal.removeEventListener("abort", abort);
    upload.signal.addEventListener("abort", abort);
    if (upload.signal.aborted) reject(new Cancelled());
    else request.send(form);
  });
}

/** The jobs in a stream of server-sent events; EventSource could send no key. */
async function* events(answer: Response): AsyncGenerator<Job> {
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5));
      if (data.length) yield JSON.parse(data.join("\n")) as Job;
    }
  }
}
