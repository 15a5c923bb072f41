"""``python -m brainmvp_export.brain WHEEL OUT HEAD...``: the bundles that find brains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmvp_export.brain.build import build


def main(
    wheel: Annotated[Path, typer.Argument(help="deepbet's wheel, from PyPI.")],
    out: Annotated[Path, typer.Argument(help="Folder to write brain-box and brain-extraction in.")],
    heads: Annotated[list[Path], typer.Argument(help="T1 series of whole heads, NIfTI.")],
    program: Annotated[
        bool, typer.Option("--program", help="PyTorch programs too, for the engine torch.")
    ] = False,
) -> None:
    """Write the two bundles that find brains, proved on real heads."""
    words = ("python -m brainmvp_export.brain", wheel.name, out.name, "HEAD...")
    shown = " ".join((*words, "--program") if program else words)
    for bundle in build(wheel, heads, out, shown, program):
        for parity in bundle.manifest.parity:
            print(f"{bundle.manifest.name} in {parity.engine}: {parity.max_error:.1e} of a")
            print(f"  deviation off, Dice {parity.agreement:.5f}, {parity.windows} heads")


if __name__ == "__main__":
    typer.run(main)
