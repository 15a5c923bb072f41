/** A failure in words for whoever reads it: what is wrong, and what helps. */
export class Problem extends Error {
  constructor(
    readonly title: string,
    readonly detail: string,
    readonly remedy: string,
    readonly status = 0,
  ) {
    super(title);
  }

  /** The problem that an answer of the service is (RFC 9457). */
  static async of(answer: Response): Promise<Problem> {
    return Problem.parsed(answer.status, await answer.text());
  }

  static parsed(status: number, text: string): Problem {
    try {
      const body = JSON.parse(text) as Partial<Record<"title" | "detail" | "remedy", string>>;
      return new Problem(
        body.title ?? `The server answered ${status}`,
        body.detail ?? "",
        body.remedy ?? "",
        status,
      );
    } catch {
      return new Problem(
        `The server answered ${status}`,
        "Its answer could not be read.",
        "Try again; if it stays so, tell whoever runs the server.",
        status,
      );
    }
  }

  /** Whatever was thrown, as a problem. */
  static from(error: unknown): Problem {
    if (error instanceof Problem) return error;
    return new Problem(
      "The page could not go on",
      error instanceof Error ? error.message : String(error),
      "Load the page again; jobs that were posted are not lost.",
    );
  }
}

export function unreachable(): Problem {
  return new Problem(
    "The server cannot be reached",
    "No answer came.",
    "Check the network and try again; jobs that were posted are not lost.",
  );
}

/** Thrown where the user has changed their mind; nothing to tell anyone. */
export class Cancelled extends Error {}
