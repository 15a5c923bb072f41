"""Export a trained demonstration, evaluate the bundle, and put the figures into its card.

python examples/demo_tissue/publish.py runs/demo-tissue
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from evaluate import evaluate_colin27, evaluate_synthetic, report, subset_card

from brainmvp_export.export import Order, export_bundle
from brainmvp_models.task import load_task
from brainmvp_server.inference.predictor import Predictor

BUNDLES = Path(__file__).parents[1] / "bundles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=BUNDLES)
    parser.add_argument("--studies", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        order = Order(
            checkpoint=options.run / "checkpoint.pt",
            out=Path(scratch),
            task=load_task(Path(__file__).with_name("task.yaml")),
            name="demo-tissue",
            version="1",
            templates=options.run / "templates",
            demo=True,
            overwrite=True,
            command="python examples/demo_tissue/publish.py",
        )
        predictor = Predictor.load(export_bundle(order, say=print))
        synthetic = evaluate_synthetic(predictor, options.studies)
        colin27 = evaluate_colin27(predictor)
    text = report(synthetic, colin27, options.studies)
    order = replace(order, out=options.out, notes=text, subset_card=subset_card(synthetic))
    bundle = export_bundle(order, say=print)
    print(text)
    print(f"wrote {bundle.root}")


if __name__ == "__main__":
    main()
