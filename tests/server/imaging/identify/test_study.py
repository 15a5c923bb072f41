"""A whole study: which series is chosen, which is not, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.errors import InvalidRules, NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_models.task import load_task
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.dicom.series import SetAside, Sorted, Stack, sort_series
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.identify.decide import Confidence
from brainmvp_server.imaging.identify.identify_study import (
    Identified,
    IdentifiedStudy,
    identify_study,
)
from brainmvp_server.imaging.identify.rules import load_rules
from dicom_studies import CONTRASTS, PLANTED, VENDORS, write_study

MPRAGE = SeriesHeader(
    description="t1_mprage", image_type=("ORIGINAL", "PRIMARY", "M"), sequence=("GR", "IR"),
    variant=("SP", "MP"), acquisition="3D", echo_time=2.3, repetition_time=2300,
    inversion_time=900, flip_angle=8, slices=160, spacing=(1, 1, 1), plane="axial",
)  # fmt: skip


def stack(number: int, **changes: object) -> Stack:
    header = replace(MPRAGE, number=number, uid=f"1.{number}", **changes)  # type: ignore[arg-type]
    return Stack(str(number), header, "1.2.3", (), Grid((4, 4, header.slices), np.eye(4)))


def identified(*stacks: Stack | SetAside, **options: object) -> IdentifiedStudy:
    good = tuple(one for one in stacks if isinstance(one, Stack))
    bad = tuple(one for one in stacks if isinstance(one, SetAside))
    return identify_study(Sorted("1.9", good, bad), load_rules(), **options)  # type: ignore[arg-type]


def by_label(study: IdentifiedStudy) -> dict[str, Identified]:
    return {one.label: one for one in study.series}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_vendors_whole_study_is_told_apart(tmp_path: Path, vendor: str, enhanced: bool) -> None:
    study = write_study(tmp_path, vendor, CONTRASTS, enhanced=enhanced)
    found = identify_study(sort_series(scan(study.files).instances), load_rules())
    chosen = {modality.value: stack.header.uid for modality, stack in found.chosen.items()}
    wanted = ("t1", "t1c", "t2", "flair", "dwi", "adc")
    assert chosen == {name: study.series[name].uid for name in wanted}
    assert found.chosen[Modality.DWI].header.b_value == 1000
    never = {study.series[name].uid for name in ("localizer", "mip", "swi", "subtraction")}
    assert {one.header.uid for one in found.series if not one.answer.modality} - {
        study.series["dwi"].uid
    } == never
    assert all(one.reason for one in found.series)
    assert not any(word in repr(found.series) for word in PLANTED)


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        ({"acquisition": "2D"}, "3-D before 2-D"),
        ({"spacing": (1, 1, 3)}, "finer"),
        ({"plane": "sagittal"}, "axial"),
        ({"slices": 120}, "more slices"),
        ({"description": "series"}, "surer"),
    ],
)
def test_the_best_of_several_is_chosen_and_the_reason_given(
    worse: dict[str, object], why: str
) -> None:
    kwargs = {"description": "t1_mprage nativ"} | worse
    for order in ((1, 2), (2, 1)):
        good, bad = order
        study = identified(stack(good, description="t1_mprage nativ"), stack(bad, **kwargs))
        assert study.chosen[Modality.T1].label == str(good)
        loser = by_label(study)[str(bad)]
        assert not loser.used and f"series {good} is used" in loser.reason and why in loser.reason


def test_no_finer_series_beats_the_users_word_and_the_loser_is_told_what_decided() -> None:
    finer = stack(2, description="t1_mprage nativ", spacing=(0.5, 0.5, 0.5))
    study = identified(stack(1, description="t1_mprage nativ"), finer, assigned={"1": Modality.T1})
    assert study.chosen[Modality.T1].label == "1"
    assert by_label(study)["2"].reason == "series 1 is used: assigned by the user"
    twins = identified(stack(1), stack(2))
    assert by_label(twins)["2"].reason == "series 1 is used: it comes first"


def test_a_t1_after_contrast_agent_is_t1c_even_where_its_header_is_silent() -> None:
    study = identified(
        stack(2, time="20240101100000"),
        stack(5, time="20240101102000", contrast_agent="Gadovist", description="t1_mprage_KM"),
        stack(6, time="20240101103000", plane="coronal"),
    )
    answers = {label: one.answer for label, one in by_label(study).items()}
    assert (answers["2"].modality, answers["2"].confidence) == (Modality.T1, Confidence.HIGH)
    assert answers["5"].confidence == Confidence.HIGH
    assert (answers["6"].modality, answers["6"].confidence) == (Modality.T1C, Confidence.MEDIUM)
    assert "acquired after contrast agent was given" in answers["6"].evidence


def test_the_configured_b_value_is_chosen() -> None:
    dwi = {
        "description": "DWI", "sequence": ("EP", "SE"), "variant": (), "echo_time": 80.0,
        "repetition_time": 8000.0, "inversion_time": None, "acquisition": "2D",
    }  # fmt: skip
    stacks = [stack(n, b_value=b, **dwi) for n, b in ((1, 0.0), (2, 800.0), (3, 2000.0))]
    assert identified(*stacks).chosen[Modality.DWI].label == "2"
    assert identified(*stacks, b_value=2000).chosen[Modality.DWI].label == "3"
    assert by_label(identified(*stacks))["1"].answer.modality is None


def test_the_users_word_is_final() -> None:
    stacks = stack(1), stack(2, plane="sagittal"), stack(3, description="AAHead_Scout")
    study = identified(*stacks, assigned={"2": Modality.T1, "1": None, "1.3": Modality.T2})
    assert {m: s.label for m, s in study.chosen.items()} == {Modality.T1: "2", Modality.T2: "3"}
    with pytest.raises(NothingIdentified, match="no series is called '9'"):
        identified(*stacks, assigned={"9": Modality.T1})


def test_a_damaged_series_is_known_for_what_it_would_be() -> None:
    gap = SetAside("4", replace(MPRAGE, number=4, uid="1.4"), "a gap of 10 mm", damaged=True)
    study = identified(gap)
    (damaged,) = study.missed(Modality.T1)
    assert damaged.reason == "a gap of 10 mm"
    with pytest.raises(NothingIdentified, match="a gap of 10 mm"):
        identified(gap, assigned={"4": Modality.T1})


def test_a_sites_own_rules_come_first(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "exclusions: [{reason: the old protocol, when: [{text: 'alt'}]}]\n"
        "modalities: [{modality: t2, header: [{text: 'kopf 7'}], text: 'kopf 7'}]\n"
    )
    rules = load_rules(site)
    study = identify_study(
        Sorted("1", (stack(1, description="Kopf 7"), stack(2, description="t1 alt")), ()), rules
    )
    assert {m: s.label for m, s in study.chosen.items()} == {Modality.T2: "1"}
    assert by_label(study)["2"].reason == "the old protocol"
    site.write_text("exclusions: [{reason: x, when: [{text: '('}]}]")
    with pytest.raises(InvalidRules, match="not a regular expression"):
        load_rules(site)
    site.write_text("nonsense: 1")
    with pytest.raises(InvalidRules, match="nonsense"):
        load_rules(site)


PHILIPS_SE = {
    "description": "Brain", "protocol": "Brain", "image_type": ("ORIGINAL", "PRIMARY", "M_SE"),
    "sequence": ("SE",), "variant": ("SK",), "acquisition": "2D", "echo_time": 86.0,
    "repetition_time": 4549.0, "inversion_time": None,
}  # fmt: skip
GRE = {
    "description": "gre", "protocol": "gre", "sequence": ("GR",), "variant": ("SP",),
    "acquisition": "3D", "repetition_time": 10.0, "inversion_time": None, "flip_angle": 15.0,
}  # fmt: skip
PHASE = ("ORIGINAL", "PRIMARY", "P")


@pytest.mark.parametrize(
    ("scan", "reason"),
    [
        (
            (PHILIPS_SE | {"b_value": 0.0}, PHILIPS_SE | {"b_value": 1000.0}),
            "no diffusion weighting",
        ),
        (
            (GRE | {"echo_time": 4.9}, GRE | {"echo_time": 4.95, "image_type": PHASE}),
            "a field map",
        ),
        (
            tuple(GRE | {"echo_time": t} for t in (4.9, 7.4, 9.9)),
            "susceptibility weighting or T2*",
        ),
    ],
    ids=["b0 beside b1000", "echoes beside phase images", "three echoes"],
)
def test_what_lies_beside_a_volume_in_its_scan_counts(
    scan: tuple[dict[str, object], ...], reason: str
) -> None:
    alone = identified(stack(1, **scan[0]))
    assert by_label(alone)["1"].used
    stacks = [stack(n, **volume) for n, volume in enumerate(scan, start=1)]
    one = by_label(identified(*stacks))["1"]
    assert not one.used and one.reason.startswith(reason)
    elsewhere = [replace(s, header=replace(s.header, protocol=str(s.label))) for s in stacks]
    assert by_label(identified(*elsewhere))["1"].used
    same_series = [replace(s, header=replace(s.header, uid="1.9", protocol="")) for s in stacks]
    assert not by_label(identified(*same_series))["1"].used


AGENT = {"contrast_agent": "Gadovist"}
SPIN_ECHO = {"acquisition": "2D", "sequence": ("SE",), "inversion_time": None}


@pytest.mark.parametrize(
    ("first", "second", "t1c", "t1"),
    [
        (AGENT, AGENT, "2", None),
        (AGENT, AGENT | {"description": "t1_mprage KM"}, "2", None),
        (AGENT | {"time": ""}, AGENT, None, None),
        (AGENT | {"time": ""}, AGENT | {"time": ""}, None, None),
        ({}, AGENT, "2", "1"),
        (AGENT | {"description": "t1_mprage +C"}, AGENT, "1", None),
        (AGENT, AGENT | SPIN_ECHO, "1", None),
        (AGENT, AGENT | {"time": "20240101100000"}, "1", None),
    ],
    ids=[
        "both by the agent alone", "the later says so", "one time unknown", "no time known",
        "the earlier is silent", "the earlier says so", "acquired differently", "one acquisition",
    ],
)  # fmt: skip
def test_an_agent_recorded_on_a_t1_that_is_repeated_makes_the_later_one_t1c_or_nobody(
    first: dict[str, object], second: dict[str, object], t1c: str | None, t1: str | None
) -> None:
    one, two = {"time": "20240101100000"} | first, {"time": "20240101102000"} | second
    chosen = identified(stack(1, **one), stack(2, **two)).chosen
    labels = {modality: s.label for modality, s in chosen.items()}
    assert (labels.get(Modality.T1C), labels.get(Modality.T1)) == (t1c, t1)


@pytest.mark.parametrize(
    "scan",
    [
        {"description": "t2_ci3d_tra CISS"},
        {"description": "Ax FIESTA-C"},
        {"description": "inner ear", "sequence_name": "*ci3d1"},
        {"description": "BFFE"},
    ],
    ids=lambda scan: str(scan["description"]),
)
def test_steady_state_images_are_t2_for_a_model_that_was_trained_on_them_and_for_no_other(
    scan: dict[str, object],
) -> None:
    steady = stack(2, **(GRE | {"echo_time": 2.5, "variant": ("SS",)} | scan))
    t2 = stack(1, **(PHILIPS_SE | {"description": "T2"}))
    assert identified(steady).chosen == {}
    assert identified(steady, t2).chosen[Modality.T2].label == "1"
    wanted = load_task("vsseg").steady_states
    study = identified(t2, steady, stand_ins=wanted)
    assert study.chosen[Modality.T2].label == "2"
    assert "trained on such series" in by_label(study)["1"].reason
    assert identified(steady, stand_ins=load_task("upenn-gbm").steady_states).chosen == {}


@pytest.mark.parametrize(
    ("sample", "modality"),
    [
        ("siemens-xa30-enhanced-t1", "t1"),
        ("siemens-xa30-adc", "adc"),
        ("siemens-xa30-trace", "dwi"),
        ("siemens-xa30-field-map", None),
        ("philips-classic-t1", "t1"),
        ("ge-jitter-t1", "t1"),
    ],
)
def test_real_series_are_known_for_what_they_are(
    real_data: Callable[[str], Path], sample: str, modality: str | None
) -> None:
    files = sorted(path for path in (real_data("dicom") / sample).rglob("*") if path.is_file())
    study = identify_study(sort_series(scan(files).instances), load_rules())
    answers = {one.answer.modality and one.answer.modality.value for one in study.series}
    assert answers - {None} == ({modality} - {None}), [one.reason for one in study.series]
