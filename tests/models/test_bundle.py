"""Opening bundles: what is verified, what is refused and how it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainmvp_models.bundle import (
    MOST_MANIFEST_BYTES,
    Bundle,
    digest_of,
    find_bundles,
    version_key,
)
from brainmvp_models.errors import InvalidBundle

Write = Callable[..., Path]


def _edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle / "manifest.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    change(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def test_name_folder_opens_its_latest_version_as_people_count(
    write_bundle: Write, tmp_path: Path
) -> None:
    for version in ("2", "10", "9"):
        write_bundle(tmp_path, version=version)
    assert Bundle.open(tmp_path / "tiny").manifest.version == "10"
    assert Bundle.open(tmp_path / "tiny" / "2").manifest.version == "2"


@pytest.mark.parametrize(
    ("older", "newer"),
    [("9", "10"), ("1.9", "1.10"), ("1", "1.1"), ("1.0-rc1", "1.0-1"), ("beta", "1"), ("²", "1")],
)
def test_versions_sort_as_people_read_them(older: str, newer: str) -> None:
    assert version_key(older) < version_key(newer)


def test_opened_bundle_gives_its_task_network_and_digest(
    write_bundle: Write, tmp_path: Path
) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    assert bundle.task.name == "vsseg"
    assert bundle.network.read_bytes() == b"network of tiny 1"
    assert bundle.digest == digest_of(bundle.root / "manifest.json")
    assert bundle.templates().modalities == ()


def test_bundle_from_before_there_were_kinds_is_a_model(
    write_bundle: Write, tmp_path: Path
) -> None:
    root = write_bundle(tmp_path)
    _edit(root, lambda fields: fields.pop("kind", None))
    assert Bundle.open(root).manifest.kind == "model"


@pytest.mark.parametrize("file", ["model.onnx", "card.md"])
@pytest.mark.parametrize("longer", [True, False])
def test_changed_file_is_refused_by_name(
    write_bundle: Write, tmp_path: Path, file: str, longer: bool
) -> None:
    path = write_bundle(tmp_path) / file
    content = path.read_bytes()
    path.write_bytes(content + b"!" if longer else bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(InvalidBundle, match=rf"{file} is not the file that was exported"):
        Bundle.open(tmp_path / "tiny")


def test_missing_file_is_refused_by_name(write_bundle: Write, tmp_path: Path) -> None:
    (write_bundle(tmp_path) / "model.onnx").unlink()
    with pytest.raises(InvalidBundle, match=r"lacks model\.onnx"):
        Bundle.open(tmp_path / "tiny")


def test_a_manifest_of_any_size_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"[" + b"0," * (MOST_MANIFEST_BYTES // 2) + b"0]")
    with pytest.raises(InvalidBundle, match=r"manifest\.json is larger than 4 MiB"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\x00\xff\xfe", b"{}"])
def test_manifest_of_garbage_is_refused_in_one_line(
    write_bundle: Write, tmp_path: Path, content: bytes
) -> None:
    folder = write_bundle(tmp_path)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidBundle, match=r"manifest\.json does not validate") as caught:
        Bundle.open(folder)
    assert "\n" not in str(caught.value)


def test_network_that_no_digest_vouches_for_is_refused(write_bundle: Write, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    (folder / "other.onnx").write_bytes(b"swapped")
    _edit(folder, lambda fields: fields["network"].update(file="other.onnx"))
    with pytest.raises(InvalidBundle, match=r"without a digest: other\.onnx"):
        Bundle.open(folder)


def test_templates_that_no_digest_vouches_for_are_refused(
    write_bundle: Write, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path)
    entry = {"file": "templates.nii.gz", "modalities": ["t2"], "origin": "elsewhere"}
    _edit(folder, lambda fields: fields.update(templates=entry))
    with pytest.raises(InvalidBundle, match=r"without a digest: templates\.nii\.gz"):
        Bundle.open(folder)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "..", "a\\b", ""])
def test_file_outside_the_bundle_is_refused(write_bundle: Write, tmp_path: Path, path: str) -> None:
    folder = write_bundle(tmp_path)
    _edit(folder, lambda fields: fields["files"][0].update(path=path))
    with pytest.raises(InvalidBundle, match=r"files\.0\.path"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: f.update(schema_version=2), "schema_version"),
        (lambda f: f.update(surprise=1), "surprise"),
        (lambda f: f.update(name="../up"), "name"),
        (lambda f: f.update(parity=[]), "parity"),
        (lambda f: f["files"][0].update(digest="md5:0"), r"files\.0\.digest"),
        (lambda f: f["task"].pop("channels"), r"task\.channels"),
    ],
)
def test_message_about_a_bad_manifest_names_the_field(
    write_bundle: Write, tmp_path: Path, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    folder = write_bundle(tmp_path)
    _edit(folder, change)
    with pytest.raises(InvalidBundle, match=named):
        Bundle.open(folder)


def test_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidBundle, match=r"has no manifest\.json"):
            Bundle.open(path)


def test_good_bundles_are_found_beside_refused_ones(write_bundle: Write, tmp_path: Path) -> None:
    write_bundle(tmp_path, "a")
    (write_bundle(tmp_path, "b") / "manifest.json").write_text("{}", encoding="utf-8")
    write_bundle(tmp_path, "c")
    found = list(find_bundles(tmp_path))
    assert [b.manifest.name for b in found if isinstance(b, Bundle)] == ["a", "c"]
    assert [e.subject for e in found if isinstance(e, InvalidBundle)] == ["b/1"]


def test_bundles_are_found_in_name_and_version_order(write_bundle: Write, tmp_path: Path) -> None:
    for name, version in (("b", "1"), ("a", "10"), ("a", "9"), ("a", "2")):
        write_bundle(tmp_path, name, version)
    found = [b.manifest for b in find_bundles(tmp_path) if isinstance(b, Bundle)]
    assert [(m.name, m.version) for m in found] == [("a", "2"), ("a", "9"), ("a", "10"), ("b", "1")]


def test_bundle_that_is_still_being_written_is_not_found(
    write_bundle: Write, tmp_path: Path
) -> None:
    write_bundle(tmp_path).parent.rename(tmp_path / ".export-abc123")
    assert list(find_bundles(tmp_path)) == []


def test_empty_or_absent_model_folder_holds_no_bundles(tmp_path: Path) -> None:
    assert list(find_bundles(tmp_path)) == []
    assert list(find_bundles(tmp_path / "absent")) == []


def test_a_calibration_of_other_outputs_than_the_tasks_is_refused(
    write_bundle: Write, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"] = {
        "outputs": [{"output": "WT", "temperature": 1.5}],
        "settings": [{"real": ["t1"], "fill": "zeros"}],
        "studies": 3, "command": "", "datalist": "", "section": "", "created": "",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidBundle, match="calibrates WT, but the outputs are"):
        Bundle.open(folder)
