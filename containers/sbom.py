"""Write down what an image is made of: a CycloneDX list of its packages, and their licences.

    python containers/sbom.py --image cpu --packages /opt/brainmvp --lock locks/cpu.txt --out DIR

Called in the image's build and by ``make sbom``. DIR/sbom.cdx.json is CycloneDX 1.6, held against
its strict schema; DIR/licences.txt has a line a package: name, version, licence, and where the
text lies. Python packages are those that are installed, each of which must be in the lock file,
whose digests it gets; Debian's are those of ``--system``, a root folder. The same packages give
the same list, but for its time.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import tomllib
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import fixup_id, is_expression
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

UNKNOWN = "unknown"
UNNAMED = "as its copyright file says"
"""Of a package of Debian whose copyright file is prose."""
OWN = "brainmvp"
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Those that name one licence; "BSD License" names several."""


@dataclass(frozen=True)
class Package:
    """A package of an image.

    Attributes:
        licences: an SPDX identifier or expression, or Debian's short names.
        text: where the licence's text lies in the image.
        digests: SHA-256 in hex of the files that the lock allows, of which one was installed.
    """

    purl: PackageURL
    licences: tuple[str, ...]
    text: str
    digests: tuple[str, ...] = ()


class NotAsLocked(Exception):
    """An environment holds what its lock file does not."""


def locked(lock: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """The digests of each package and version of a lock file, as uv writes it."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    entry = re.compile(r"^([a-z0-9._-]+)==(\S+)(.*?)(?=^[a-z0-9]|\Z)", re.MULTILINE | re.DOTALL)
    for name, version, rest in entry.findall(lock.read_text(encoding="utf-8")):
        found[name, version] = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
    return found


def python_packages(
    root: Path, told: Mapping[str, str], lock: Mapping[tuple[str, str], tuple[str, ...]] | None
) -> Iterator[Package]:
    """The packages that are installed below ``root``, by name.

    Args:
        told: licences by package, where its own metadata does not say.
        lock: None for packages of the base image, which come with it.

    Raises:
        NotAsLocked: one is not in the lock file.
    """
    folders = [str(path) for path in sorted(root.glob("lib/python3*/site-packages"))]
    seen: dict[str, Distribution] = {}
    for one in distributions(path=folders):
        seen.setdefault(re.sub(r"[-_.]+", "-", one.name).lower(), one)
    for name, one in sorted(seen.items()):
        digests: tuple[str, ...] = ()
        if lock is not None and name != OWN:
            if (name, one.version) not in lock:
                raise NotAsLocked(f"{name} {one.version} is installed and not in the lock file")
            digests = lock[name, one.version]
        yield Package(
            PackageURL("pypi", None, name, one.version),
            (licence_of(one, told.get(name)),),
            _text_of(one),
            digests,
        )


def licence_of(package: Distribution, told: str | None) -> str:
    """An SPDX identifier or expression; ``UNKNOWN`` where nothing says."""
    fields = package.metadata
    for value in (told, fields.get("License-Expression"), fields.get("License")):
        if value and (known := fixup_id(value)):
            return known
        if value and len(value) < 200 and (value.startswith("LicenseRef-") or is_expression(value)):
            return value
    names = {line.split(" :: ")[-1] for line in fields.get_all("Classifier") or []}
    named = {CLASSIFIERS[name] for name in names if name in CLASSIFIERS}
    return named.pop() if len(named) == 1 else UNKNOWN


def _text_of(package: Distribution) -> str:
    files = [
        file for file in package.files or [] if re.search("licen[cs]e|copying", str(file), re.I)
    ]
    there = [file for file in files if not str(file).endswith((".py", ".pyc"))]
    return str(Path(str(package.locate_file(there[0]))).resolve()) if there else ""


def debian_packages(system: Path) -> Iterator[Package]:
    """The packages that dpkg knows below the root folder ``system``, by name."""
    status = system / "var/lib/dpkg/status"
    if not status.is_file():
        return
    distro = _release(system)
    for stanza in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            name = fields["Package"]
            path = system / "usr/share/doc" / name / "copyright"
            about = {"arch": fields["Architecture"], "distro": "-".join(distro)}
            yield Package(
                PackageURL("deb", distro[0], name, fields["Version"], about),
                _debian_licences(path),
                f"/usr/share/doc/{name}/copyright" if path.is_file() else "",
            )


def _release(system: Path) -> tuple[str, str]:
    text = (system / "usr/lib/os-release").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return fields["ID"], fields.get("VERSION_ID", "")


def _debian_licences(copyright_file: Path) -> tuple[str, ...]:
    """Short names of a machine-readable copyright file, else the common licences it names."""
    if not copyright_file.is_file():
        return (UNKNOWN,)
    text = copyright_file.read_text(encoding="utf-8", errors="replace")
    named = re.findall(r"^License: *(\S.*?) *$", text, re.MULTILINE)
    if not named:
        named = re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])", text)
    return tuple(sorted(set(named))) or (UNNAMED,)


def python_itself(root: Path) -> Package | None:
    """The interpreter of the environment below ``root``, which no package manager may know."""
    config = (root / "pyvenv.cfg").read_text(encoding="utf-8")
    found = re.search(r"^version = (\S+)$", config, re.MULTILINE)
    if found is None:
        return None
    return Package(PackageURL("generic", None, "python", found[1]), ("PSF-2.0",), "")


def bom_of(image: str, packages: list[Package]) -> Bom:
    """The list of an image's packages; its serial number says what is in it."""
    own = next((one.purl.version for one in packages if one.purl.name == OWN), None)
    bom = Bom(components=[_component(one) for one in packages])
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER, name=f"{OWN}-server-{image}", version=own, bom_ref="image"
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    content = "\n".join(sorted(str(one) for one in packages))
    bom.serial_number = uuid5(NAMESPACE_URL, f"{image}\n{content}")
    return bom


def _component(package: Package) -> Component:
    purl = package.purl
    references = []
    if package.digests:
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=one) for one in package.digests]
        kind = ExternalReferenceType.DISTRIBUTION
        references = [ExternalReference(type=kind, url=XsUri(purl.to_string()), hashes=hashes)]
    kind = ComponentType.PLATFORM if purl.type == "generic" else ComponentType.LIBRARY
    return Component(
        type=kind,
        name=purl.name,
        version=purl.version,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=list(_licences(package.licences)),
        external_references=references,
    )


def _licences(names: tuple[str, ...]) -> Iterator[License]:
    """One is what it says; of several, none may be an expression."""
    for name in names:
        if len(names) == 1 and not name.startswith("LicenseRef-"):
            yield LicenseFactory().make_from_string(name)
        elif known := fixup_id(name):
            yield DisjunctiveLicense(id=known)
        else:
            yield DisjunctiveLicense(name=name)


def lines_of(packages: list[Package]) -> str:
    """licences.txt."""
    rows = [("package", "version", "licence", "text")]
    for one in packages:
        rows.append((one.purl.name, one.purl.version or "", ", ".join(one.licences), one.text))
    return "".join("\t".join(row) + "\n" for row in rows)


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", required=True, help="what the list calls the image")
    parser.add_argument("--packages", type=Path, required=True, help="the virtual environment")
    parser.add_argument("--lock", type=Path, required=True, help="what it was installed from")
    parser.add_argument("--system", type=Path, help="root folder of the image without it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    return parser.parse_args()


def main() -> int:
    """Write both files; 1 where a package is not as locked or the list not as its schema says."""
    given = arguments()
    told_file = Path(__file__).with_name("licences.toml")
    told = {
        name: entry["licence"]
        for name, entry in tomllib.loads(told_file.read_text(encoding="utf-8")).items()
    }
    try:
        packages = list(python_packages(given.packages, told, locked(given.lock)))
    except NotAsLocked as error:
        print(f"sbom: {error}. Install from the lock file alone.", file=sys.stderr)
        return 1
    if given.system is not None:
        packages += python_packages(given.system / "usr/local", told, None)
        packages += debian_packages(given.system)
        if itself := python_itself(given.packages):
            packages.append(itself)
    text = JsonV1Dot6(bom_of(given.image, packages)).output_as_string(indent=1)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        print(f"sbom: not as its schema says: {problem}", file=sys.stderr)
        return 1
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "sbom.cdx.json").write_text(text + "\n", encoding="utf-8")
    (given.out / "licences.txt").write_text(lines_of(packages), encoding="utf-8")
    unknown = [one.purl.name for one in packages if UNKNOWN in one.licences]
    print(f"{len(packages)} packages; licence unknown: {', '.join(unknown) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
