"""The demonstration: start the server, send it two studies with modalities missing.

    make demo

One study is a synthetic glioma without its FLAIR, the other a real, healthy T1 and nothing else.
Each goes to a segmentation and to a classification. Masks, previews, summaries and reports go to
``demo-output/``; the server is stopped again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainmvp_clients import Client, ClientError
from brainmvp_clients.cli.progress import progress
from brainmvp_clients.cli.show import show_summary

EXAMPLES = Path(__file__).parent
GLIOMA = EXAMPLES / "glioma_study"
GLIOMA_SCANS = {name: GLIOMA / f"{name}.nii.gz" for name in ("t1", "t1c", "t2")}
COLIN27 = {"t1": EXAMPLES / "colin27" / "colin27_t1.nii.gz"}


@dataclass(frozen=True)
class Showing:
    """A study, what it is in words, and the models that it is sent to."""

    name: str
    scans: Mapping[str, Path]
    words: str
    models: tuple[str, ...]


SHOWINGS = (
    Showing(
        "glioma",
        GLIOMA_SCANS,
        "a synthetic glioma: T1, T1c and T2; its FLAIR is missing",
        ("demo-glioma", "demo-grade"),
    ),
    Showing(
        "colin27",
        COLIN27,
        "Colin27, a real and healthy brain: its T1; T1c, T2 and FLAIR are missing",
        ("demo-glioma", "demo-grade"),
    ),
)


@contextmanager
def server(models: Path) -> Iterator[str]:
    """A server on a free port of 127.0.0.1, stopped at the end; gives its address."""
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(models),
        "--port", "0", "--log-level", "warning",
    ]  # fmt: skip
    # What goes wrong is seen; a line for each request would stand between the tables.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"  {line.rstrip()}")
                if line.startswith("listening on "):
                    yield line.split()[-1]
                    break
            else:
                raise SystemExit("the server did not start; its message is above")
        finally:
            process.terminate()
            process.wait(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=EXAMPLES / "bundles")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    print("Starting the server")
    with server(options.models) as address, Client(address) as client:
        for showing in SHOWINGS:
            print(f"\nSending {showing.words}")
            for model in showing.models:
                out = options.out / showing.name / model
                with progress(shown=sys.stderr.isatty()) as bar:
                    summary = client.results(
                        model, showing.scans, out, overwrite=True, on_upload=bar.upload
                    )
                show_summary(summary, out)


if __name__ == "__main__":
    try:
        main()
    except ClientError as error:
        sys.exit(f"demo: {error}")
