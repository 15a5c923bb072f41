"""What ANTs makes of pairs of files: ``python benchmarks/ants_rigid.py FIXED MOVING …``.

For an environment with antspyx in it, which the project's own has no need of. Prints a JSON list:
for each pair the 4 × 4 matrix, from the fixed file's world to the moving one's in R-A-S mm, and the
CPU seconds that took, without reading the files.
"""

from __future__ import annotations

import json
import sys
import time

import ants
import numpy as np


def main() -> None:
    results = []
    for fixed_path, moving_path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        fixed, moving = (ants.image_read(path) for path in (fixed_path, moving_path))
        begin = time.process_time()
        found = ants.registration(fixed, moving, type_of_transform="Rigid", random_seed=1)
        seconds = time.process_time() - begin
        transform = ants.read_transform(found["fwdtransforms"][0])
        lps = np.eye(4)
        corners = np.vstack([np.zeros(3), np.eye(3)])
        moved = np.array([transform.apply_to_point(tuple(corner)) for corner in corners])
        lps[:3, :3], lps[:3, 3] = (moved[1:] - moved[0]).T, moved[0]
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        results.append({"matrix": (turn @ lps @ turn).tolist(), "cpu_s": seconds})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
