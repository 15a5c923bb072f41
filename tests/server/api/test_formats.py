"""A study in the formats of other tools, sent as it lies on people's disks."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np

from .conftest import Service


def test_freesurfers_slicers_and_two_file_volumes_give_the_result_of_their_nifti(
    service: Service, scan: Path, tmp_path: Path
) -> None:
    image = nib.load(scan)
    voxels, affine = np.asarray(image.dataobj), image.affine
    plain = nib.Nifti1Image(voxels, affine)
    nib.save(nib.MGHImage(voxels.astype(np.float32), affine), tmp_path / "t1.mgz")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
    }
    nrrd.write(str(tmp_path / "t1c.nrrd"), voxels, header)
    nib.save(nib.Nifti1Pair(voxels, affine), tmp_path / "t2.img")
    pair = BytesIO()
    with zipfile.ZipFile(pair, "w") as archive:
        for name in ("t2.hdr", "t2.img"):
            archive.write(tmp_path / name, name)
    files = {
        "t1": (tmp_path / "t1.mgz").read_bytes(),
        "t1c": (tmp_path / "t1c.nrrd").read_bytes(),
        "t2": pair.getvalue(),
    }
    answers = [
        service.predict(params={"fill": "zeros"}, files=sent)
        for sent in (files, dict.fromkeys(files, plain.to_bytes()))
    ]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    found, expected = (answer.json()["structures"] for answer in answers)
    assert found == expected
