"""Every link among the pages leads somewhere; so does every citation of a page in the code, and every name of a place
in the code on a page.
"""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REPOSITORY = "https://github.com/bus-watch/bus-watch/blob/main/"
SOURCES = ("worker", "tasks", "ops", "tests")

FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
CITATION = re.compile(r"(?:docs|ops)/[\w/.-]*?\.md(?:#[\w-]+)?")
PLACE = re.compile(r"(?<![\w/.~-])((?:worker|tasks|ops|tests|docs)/[\w./-]*\w)(?::(\w+))?")
UNNAMED = re.compile(
    r"\bwire contract\b|\b(?:the|this) design\b|\b(?:the|by) protocol\b|\bthe protocol's\b", re.IGNORECASE
)


def pages() -> list[Path]:
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [one for one in below if not one.startswith(".") and one not in {"node_modules", "build", "dist"}]
        found += [Path(folder, name) for name in names if name.endswith(".md") and not name.startswith(".")]
    return sorted(found)


def sources() -> Iterator[Path]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".md", ".json", ".pyc"}:
                yield path


@cache
def headings(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    for line in FENCE.sub("", page.read_text("utf-8")).splitlines():
        if match := re.fullmatch(r"#{1,6} +(.*?) *", line):
            words = re.sub(r"[^\w\- ]", "", match[1].lower().replace("`", "")).replace(" ", "-")
            found[words] = found.get(words, -1) + 1
    return frozenset(
        name if not number else f"{name}-{number}" for name, last in found.items() for number in range(last + 1)
    )


def leads_nowhere(target: str, folder: Path) -> str | None:
    """Why this link, met in a file of that folder, leads nowhere; None where it leads somewhere, or to another site."""
    if target.startswith(REPOSITORY):
        target, folder = target.removeprefix(REPOSITORY), ROOT
    elif re.match(r"[a-z]+:", target):
        return None
    path, _, heading = target.partition("#")
    file = (folder / path).resolve() if path else folder
    if not file.exists():
        return f"{target}: there is no such file"
    if heading and heading not in headings(file):
        return f"{target}: there is no such heading"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = SPAN.sub("", FENCE.sub("", page.read_text("utf-8")))
    targets = [f"{page.name}{one}" if one.startswith("#") else one for one in LINK.findall(text)]
    assert [why for one in targets if (why := leads_nowhere(one, page.parent))] == []


def test_the_readme_is_read_elsewhere_too_so_its_links_are_absolute() -> None:
    assert [
        one for one in LINK.findall((ROOT / "README.md").read_text("utf-8")) if not one.startswith("https://")
    ] == []


def test_there_are_links_to_follow() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    assert "recovery" in headings(ROOT / "docs" / "protocol.md")
    assert len(LINK.findall(text)) > 10
    assert leads_nowhere("docs/protocol.md#no-such-heading", ROOT)
    assert leads_nowhere("docs/no-such-page.md", ROOT)


def test_every_citation_in_the_code_leads_somewhere() -> None:
    lost = [
        f"{path.relative_to(ROOT)}: {why}"
        for path in sources()
        if path != Path(__file__)
        for citation in CITATION.findall(path.read_text("utf-8", "replace"))
        if (why := leads_nowhere(citation, ROOT))
    ]
    assert lost == []


def test_no_page_is_cited_without_saying_which() -> None:
    unnamed = []
    for path in sources():
        lines = path.read_text("utf-8", "replace").splitlines() if path != Path(__file__) else []
        for number, line in enumerate(lines):
            near = " ".join(lines[number : number + 2])
            if UNNAMED.search(line) and ".md" not in near and "https://" not in near:
                unnamed.append(f"{path.relative_to(ROOT)}:{number + 1}: {line.strip()}")
    assert unnamed == []


@cache
def names(module: Path) -> frozenset[str]:
    """Every function, class, method and module-level name of a Python file."""
    tree = ast.parse(module.read_text("utf-8"))
    defined = {
        one.name for one in ast.walk(tree) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    assigned = {
        target.id
        for one in tree.body
        if isinstance(one, (ast.Assign, ast.AnnAssign))
        for target in (one.targets if isinstance(one, ast.Assign) else [one.target])
        if isinstance(target, ast.Name)
    }
    return frozenset(defined | assigned)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_place_in_the_code_exists(page: Path) -> None:
    """`worker/ledger/claims.py:claim` and the like; a word in capitals stands for what a reader chooses."""
    lost = []
    for span in SPAN.findall(FENCE.sub("", page.read_text("utf-8"))):
        for place, name in PLACE.findall(span):
            if re.search(r"\b[A-Z]{4,}\b", place.removesuffix(".md")):
                continue
            if not (ROOT / place).exists():
                lost.append(f"{place} is not there")
            elif name and name not in names(ROOT / place):
                lost.append(f"{place} has no {name}")
    assert lost == []
