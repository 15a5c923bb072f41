"""The experiments' answers as a page of documentation.

python examples/experiments/report.py RUNS/experiments docs/experiments.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SEEDS = (0, 1, 2)
OUTPUTS = ("WT", "TC", "ET")
FULL = frozenset(("t1", "t1c", "t2", "flair"))
HEAD = """# Experiments at small scale

What of the paper's claims shows with a tiny network, synthetic gliomas and hours of two cores, not
with the published sizes. Reported as it came out. Mean Dice over eight studies of the held-out
anatomy (Colin27), on the served pipeline; then the mean over three seeds of fine-tuning, ± their
standard deviation. There is one pre-training run, so the spread does not hold its chance.

```sh
sh examples/demo_models.sh runs/demo
sh examples/experiments/run.sh runs/demo
```

Each arm: 120 steps of four 48³ windows of 2 mm voxels in two views (one, without mixing), AdamW
2e-3 with cosine, 120 training studies, no choice of checkpoint. The pre-training: 1,080 steps of
two 64³ windows of 1 mm voxels in two views.
"""


def dice(folder: Path, real: frozenset[str], output: str) -> float:
    """Mean Dice of one evaluation's setting; where it is yet to be made, the page has to wait."""
    measured = folder / "evaluation.json"
    if not measured.is_file():
        print(f"not all is measured yet: no {folder.name}")
        raise SystemExit(0)
    found = json.loads(measured.read_text())
    for figure in found["figures"]:
        if (
            frozenset(figure["real"]) == real
            and figure["output"] == output
            and figure["metric"] == "dice"
        ):
            return float(figure["value"])
    raise SystemExit(f"{folder} has no Dice of {output} from {sorted(real)}")


def seeds(runs: Path, arm: str, filling: str, real: frozenset[str], output: str) -> str:
    values = [dice(runs / f"{arm}-{seed}-{filling}", real, output) for seed in SEEDS]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arms(runs: Path, first: str, second: str, missing_too: Iterable[str] = ()) -> str:
    """Two ways to train, with all modalities and with some missing (template filling)."""
    rows = []
    for missing in ("nothing", *sorted(missing_too)):
        real = FULL - {missing}
        for output in OUTPUTS:
            cells = (seeds(runs, arm, "template", real, output) for arm in (first, second))
            rows.append((missing, output, *cells))
    return table(("missing", "output", first, second), rows)


def fillings(runs: Path) -> str:
    ways = ("template", "mean", "zeros")
    rows = []
    for missing in sorted(FULL):
        for output in OUTPUTS:
            cells = (seeds(runs, "pretrained", way, FULL - {missing}, output) for way in ways)
            rows.append((missing, output, *cells))
    return table(("missing", "output", "distilled template", "plain mean", "zeros"), rows)


def main() -> None:
    runs, page = Path(sys.argv[1]), Path(sys.argv[2])
    notes = Path(__file__).with_name("notes.md")
    parts = [
        HEAD,
        "## (a) From pre-training against from scratch\n",
        arms(runs, "pretrained", "scratch"),
        "\n## (b) What fills a missing modality\n",
        "Networks of arm `pretrained`, which saw distilled templates as fillers in training.\n",
        fillings(runs),
        "\n## (c) With template mixing against without\n",
        arms(runs, "pretrained", "unmixed", FULL),
        "\n" + notes.read_text() if notes.is_file() else "",
    ]
    page.write_text("\n".join(parts).rstrip() + "\n")
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
