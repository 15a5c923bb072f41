"""Hooks of mkdocs: pages that lie elsewhere in the repository become pages of the site.

A link from one page to another leads to it wherever either lies. A link to a file that is no page,
such as a module, becomes its path: the site has no copy of the source.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# What a page is called on the site, and where it lies.
ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reporting.md": "SECURITY.md",
    "chart.md": "helm/brainmvp/README.md",
    "orthanc.md": "clients/orthanc/README.md",
    "demo-glioma.md": "examples/bundles/demo-glioma/1/card.md",
    "demo-grade.md": "examples/bundles/demo-grade/1/card.md",
}
_NAMES = {place: name for name, place in ELSEWHERE.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for name, place in ELSEWHERE.items():
        text = (ROOT / place).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links within the repository into links within the site."""
    name = page.file.src_uri
    place = PurePosixPath(ELSEWHERE.get(name, f"docs/{name}"))

    def turned(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups(default="")
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = posixpath.normpath(str(place.parent / target))
        if path in _NAMES:
            return f"{mark}[{text}]({_NAMES[path]}{anchor})"
        if path.startswith("docs/"):
            return f"{mark}[{text}]({path.removeprefix('docs/')}{anchor})"
        if not (ROOT / path).exists():
            return link[0]  # mkdocs says that it leads nowhere
        return f"{text} (`{path}`)"

    return _LINK.sub(turned, markdown)
