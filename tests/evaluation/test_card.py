"""What was measured gets into the bundle, whole, and from there into the service's answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainmvp_evaluation.amend import amended
from brainmvp_evaluation.amend import main as amend
from brainmvp_evaluation.evaluate import EvaluationOptions, content_digest, evaluate
from brainmvp_evaluation.schema import Evaluation
from brainmvp_evaluation.subset_card import refuse_card, with_quality, write_subset_card
from brainmvp_models.bundle import Bundle, find_bundles
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import OutputAgreement, SpeedProof
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs, Task, Window
from limited_bundle import PEOPLE


@pytest.fixture
def copy(small_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle of one's own to write into."""
    folder = tmp_path / "models" / "small" / "1"
    shutil.copytree(small_bundle.root, folder)
    return Bundle.open(folder)


def test_the_card_is_written_and_nothing_else_of_the_bundle_changes(
    copy: Bundle, evaluation: Evaluation
) -> None:
    before, digest = copy.network.stat(), copy.digest
    written = write_subset_card(copy, evaluation)
    (found,) = find_bundles(copy.root.parents[1])
    assert isinstance(found, Bundle) and found.digest == written.digest
    assert [path.name for path in copy.root.parents[1].iterdir()] == ["small"]
    manifest = written.manifest
    assert (manifest.name, manifest.version) == (copy.manifest.name, copy.manifest.version)
    assert content_digest(written) == content_digest(copy)
    assert written.digest != digest
    assert written.network.stat().st_ino == before.st_ino
    assert {q.metric for q in manifest.subset_card} == {"dice", "hd95_mm", "volume_error_ml"}
    assert len(manifest.subset_card) == 2 * 3 * 3
    assert manifest.evaluated is not None
    assert manifest.evaluated.datalist == evaluation.subject.datalist
    best = next(q for q in manifest.subset_card if (q.output, q.metric) == ("ET", "dice"))
    assert (len(best.real), best.fill) == (4, "none")
    assert (best.value, best.low, best.high, best.studies) == (1, 1, 1, 2)
    card = (written.root / "card.md").read_text(encoding="utf-8")
    assert card.count("## Measured quality") == 1 and "| t1, flair | zeros | 2 |" in card


def test_an_evaluation_can_go_on_after_its_card_was_written(
    copy: Bundle, options: EvaluationOptions
) -> None:
    own = replace(options, bundle=copy, limit=1)
    written = write_subset_card(copy, evaluate(own))
    assert evaluate(replace(own, bundle=written, limit=2)).figures


def test_a_second_card_takes_the_place_of_the_first(copy: Bundle, evaluation: Evaluation) -> None:
    once = write_subset_card(copy, evaluation)
    part = evaluation.model_copy(update={"figures": evaluation.figures[:5]})
    twice = write_subset_card(once, part)
    assert len(twice.manifest.subset_card) == 3
    text = (twice.root / "card.md").read_text(encoding="utf-8")
    assert text.count("## Measured quality") == 1 and "| t1, flair |" not in text


def test_other_sections_of_a_card_stay(evaluation: Evaluation) -> None:
    card = "# A\n\n## Measured quality\n\nold\n\n## Templates\n\nkept\n"
    changed = with_quality(card, evaluation)
    assert "old" not in changed
    assert changed.startswith("# A\n\n## Measured quality\n\nOn the served")
    assert changed.endswith("\n\n## Templates\n\nkept\n")


def test_a_card_for_other_templates_or_with_failures_is_refused(copy: Bundle) -> None:
    refuse_card(copy)
    with pytest.raises(InvalidBundle, match="other templates are used"):
        refuse_card(copy, other_templates=True)
    with pytest.raises(InvalidBundle, match="3 measurements failed"):
        refuse_card(copy, failures=3)


def test_the_service_reports_the_cards_quality_of_the_very_subset(
    copy: Bundle, evaluation: Evaluation, studies: Path
) -> None:
    written = write_subset_card(copy, evaluation)
    card = {(q.real, q.output, q.metric): q for q in written.manifest.subset_card}
    files = {name: (studies / f"p1_{name}.nii.gz").read_bytes() for name in ("t1", "flair", "t2")}
    with _served(copy.root.parents[1]) as client:
        known = _summary(client, {name: files[name] for name in ("t1", "flair")})
        unknown = _summary(client, files)
    assert len(known["expected_quality"]) == 9
    for entry in known["expected_quality"]:
        line = card[evaluation.rows[1].real, entry["output"], entry["metric"]]
        assert (entry["value"], entry["low"], entry["high"], entry["studies"]) == (
            line.value, line.low, line.high, 2,
        )  # fmt: skip
    assert not any("not known" in warning for warning in known["warnings"])
    assert unknown["expected_quality"] == []
    assert any("no measurement of t1, t2, flair" in warning for warning in unknown["warnings"])


def test_the_card_says_of_whom_it_is_and_what_it_cannot_decide(
    copy: Bundle, evaluation: Evaluation
) -> None:
    unknown = write_subset_card(copy, evaluation)
    assert unknown.manifest.evaluated is not None
    assert unknown.manifest.evaluated.population is None
    text = (unknown.root / "card.md").read_text(encoding="utf-8")
    assert "## Measured on\n\nWhat is not recorded (2 studies).\n" in text
    assert "## Not determinable\n\nNothing of what was measured.\n" in text
    known = write_subset_card(unknown, evaluation.model_copy(update={"population": PEOPLE}))
    assert known.manifest.evaluated is not None
    assert known.manifest.evaluated.population == PEOPLE
    text = (known.root / "card.md").read_text(encoding="utf-8")
    assert text.count("## Measured on") == 1
    assert f"2 patient studies: {PEOPLE.sentence}." in text


def test_a_bundle_is_amended_with_limits_and_population_and_keeps_all_else(
    copy: Bundle, evaluation: Evaluation
) -> None:
    written = write_subset_card(copy, evaluation)
    outputs = written.task.outputs
    assert isinstance(outputs, RegionOutputs)
    regions = tuple(r.model_copy(update={"needs": (Modality.T1C,)}) for r in outputs.regions[:1])
    limited = outputs.model_copy(
        update={"regions": (*regions, *outputs.regions[1:]), "lowest_dice": 0.99}
    )
    task = written.task.model_copy(update={"outputs": limited})
    network = written.network.stat()
    changed = amended(written, task, PEOPLE)
    assert changed.network.stat().st_ino == network.st_ino
    assert changed.manifest.subset_card == written.manifest.subset_card
    assert changed.task == task
    assert changed.manifest.evaluated is not None
    assert changed.manifest.evaluated.population == PEOPLE
    text = (changed.root / "card.md").read_text(encoding="utf-8")
    assert f"- without t1c, however it is filled: {regions[0].name}" in text
    assert "## Measured quality" in text
    assert amended(changed, task, None).manifest.evaluated == changed.manifest.evaluated


def test_other_masks_cost_a_bundle_its_figures_until_it_is_measured_anew(
    copy: Bundle, evaluation: Evaluation
) -> None:
    known = evaluation.model_copy(update={"population": PEOPLE})
    written = write_subset_card(copy, known)
    task = _with_high_threshold(written)
    changed = amended(written, task, None)
    assert changed.task == task
    assert changed.manifest.subset_card == () and changed.manifest.evaluated is None
    text = (changed.root / "card.md").read_text(encoding="utf-8")
    assert "| t1, flair | zeros | 2 |" not in text and PEOPLE.sentence not in text
    assert content_digest(changed) != content_digest(written)
    again = (write_subset_card(changed, known).root / "card.md").read_text(encoding="utf-8")
    headings = [line for line in again.splitlines() if line.startswith("## ")]
    assert headings[-3:] == ["## Measured quality", "## Measured on", "## Not determinable"]
    assert "masks became others" not in again


def test_a_bundle_with_a_proof_of_its_masks_gets_no_others(copy: Bundle) -> None:
    proof = SpeedProof(
        runtime="onnxruntime 1",
        scans="given",
        studies=1,
        agreement=(OutputAgreement(real=(Modality.T1,), output="WT", studies=1, dice=1),),
        reference_windows=8,
        windows=2,
        command="brainmvp prove",
        created="2026-01-01T00:00:00+00:00",
    )
    proved = replace(copy, manifest=copy.manifest.model_copy(update={"speed_proof": proof}))
    with pytest.raises(InvalidBundle, match="proofs of the masks"):
        amended(proved, _with_high_threshold(copy), None)
    limited = copy.task.outputs.model_copy(update={"lowest_dice": 0.1})
    assert amended(proved, copy.task.model_copy(update={"outputs": limited}), None)


def _with_high_threshold(bundle: Bundle) -> Task:
    outputs = bundle.task.outputs
    assert isinstance(outputs, RegionOutputs)
    first, *others = outputs.regions
    sure = first.model_copy(update={"high_threshold": 0.9})
    changed = outputs.model_copy(update={"regions": (sure, *others)})
    return bundle.task.model_copy(update={"outputs": changed})


def test_sections_of_a_text_take_the_place_of_the_cards(copy: Bundle, tmp_path: Path) -> None:
    prose = tmp_path / "card.md"
    prose.write_text("kept out\n\n## Inputs\n\nnone\n\n## How it was made\n\nby hand\n")
    assert amend([str(copy.root), "--card", str(prose)]) == 0
    text = (copy.root / "card.md").read_text(encoding="utf-8")
    assert text.count("## Inputs\n\nnone\n\n## Outputs") == 1
    assert "## How it was made\n\nby hand\n" in text and "kept out" not in text
    assert Bundle.open(copy.root).task == copy.task


def test_an_amendment_cannot_make_another_model_of_a_bundle(copy: Bundle) -> None:
    other = copy.task.model_copy(update={"title": "Another", "window": Window(size=(64, 64, 64))})
    with pytest.raises(InvalidBundle, match="another task: title, window differ"):
        amended(copy, other, None)
    with pytest.raises(InvalidBundle, match="no card that could be of anybody"):
        amended(copy, None, PEOPLE)
    assert Bundle.open(copy.root).digest == copy.digest


def test_the_command_that_amends_says_in_one_line_what_is_wrong(
    copy: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert amend([str(copy.root), "--task", "no-such-task"]) == 2
    assert amend([str(copy.root), "--population", str(tmp_path / "absent.yaml")]) == 2
    assert amend([str(copy.root), "--card", str(tmp_path / "absent.md")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "neither a preset nor a file" in said[0] and "cannot be read" in said[1]
    assert "has no section" in said[2]
    assert amend([str(copy.root), "--task", "upenn-gbm"]) == 2  # its window is another
    assert "window differ" in capsys.readouterr().err


@contextmanager
def _served(models: Path) -> Iterator[httpx.Client]:
    """A real service over the folder."""
    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(models)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = next(line for line in server.stdout if line.startswith("listening on "))
            with httpx.Client(base_url=line.split()[-1], timeout=120) as client:
                yield client
        finally:
            server.terminate()


def _summary(client: httpx.Client, files: dict[str, bytes]) -> dict[str, Any]:
    answer = client.post("/v1/models/small/predict", params={"fill": "zeros"}, files=files)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
