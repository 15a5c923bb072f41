"""The demonstration: start the server, send it a real scan with three of four modalities missing.

    make demo

It writes ``demo-output/`` (mask, preview, summary) and stops the server again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_clients import Client, ClientError
from brainmvp_clients.cli.progress import progress
from brainmvp_clients.cli.show import show_summary

EXAMPLES = Path(__file__).parent
SCAN = EXAMPLES / "colin27" / "colin27_t1.nii.gz"


@contextmanager
def server(models: Path) -> Iterator[str]:
    """A server on a free port of 127.0.0.1, stopped at the end; gives its address."""
    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(models)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
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
    parser.add_argument("--model", default="demo-tissue")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    print("Starting the server")
    with server(options.models) as address, Client(address) as client:
        print("Sending Colin27's T1; T1c, T2 and FLAIR are missing")
        with progress(shown=sys.stderr.isatty()) as bar:
            summary = client.results(
                options.model,
                {"t1": SCAN},
                options.out,
                overwrite=True,
                on_upload=bar.upload,
            )
    show_summary(summary, options.out)


if __name__ == "__main__":
    try:
        main()
    except ClientError as error:
        sys.exit(f"demo: {error}")
