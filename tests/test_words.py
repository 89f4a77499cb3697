"""Documents, messages and source say what the field says: words of `private_words.txt` are not met."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RENDERED = re.compile(r"<!-- record: .*?<!-- end of record -->", re.DOTALL)  # their words are the source's


def rules() -> list[tuple[str, str, str]]:
    """Where, pattern, and what to say instead."""
    lines = (Path(__file__).parent / "private_words.txt").read_text(encoding="utf-8").splitlines()
    split = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(where, pattern, instead) for where, pattern, instead in split]


def documents() -> list[Path]:
    """All that is read as a page; notes keep the words of their day."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "benchmarks/README.md"]
    return found + [path for path in sorted((ROOT / "docs").rglob("*.md")) if "lab-notes" not in path.parts]


def places(where: str) -> list[Path]:
    """The files in which a word must not be."""
    if where == "docs":
        return documents()
    source = [path for folder in ("src", "benchmarks", "recipes") for path in sorted((ROOT / folder).rglob("*"))]
    return documents() + [path for path in source if path.suffix in (".py", ".toml", ".md")]


def met(pattern: str, paths: list[Path]) -> Iterator[str]:
    """File, line and words of each match."""
    for path in paths:
        text = RENDERED.sub(lambda table: "\n" * table[0].count("\n"), path.read_text(encoding="utf-8"))
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.search(pattern, line, re.IGNORECASE):
                yield f"{path.relative_to(ROOT)}:{number}: {found[0]!r}"


def test_the_list_is_sound() -> None:
    assert len(rules()) == len({pattern for _, pattern, _ in rules()}) > 10
    assert {where for where, *_ in rules()} <= {"docs", "all"}


@pytest.mark.parametrize(("where", "pattern", "instead"), rules())
def test_no_private_words(where: str, pattern: str, instead: str) -> None:
    found = list(met(pattern, places(where)))
    assert not found, f"say {instead!r}:\n" + "\n".join(found)


# Noun clauses, which say what something is about instead of what it does or is.
NOUN_CLAUSE = re.compile(r"(What|Where|Whether|Of|How|Which|Those|Who|As)\b")


def summaries(path: Path) -> Iterator[tuple[int, str]]:
    """Line and first line of each docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            yield getattr(node, "lineno", 1), (text or "").partition("\n")[0]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    source = list((ROOT / "src" / "lightcrcf").rglob("*.py"))
    benchmarks = list((ROOT / "benchmarks").rglob("*.py"))
    assert len(source) > 80
    assert len(benchmarks) > 60
    found = [
        f"{path.relative_to(ROOT)}:{line}: {summary}"
        for path in (*source, *benchmarks)
        for line, summary in summaries(path)
        if NOUN_CLAUSE.match(summary)
    ]
    assert not found, "say what it does (Return ..., Compute ...) or what it is (A ..., Options of ...):\n" + "\n".join(
        found
    )


def test_a_noun_clause_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Parts."""\n\ndef f():\n    """Whether it rains.\n\n    More.\n    """\n', encoding="utf-8")
    found = list(summaries(module))
    assert found == [(1, "Parts."), (3, "Whether it rains.")]
    assert [bool(NOUN_CLAUSE.match(summary)) for _, summary in found] == [False, True]


def test_a_private_word_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("a\nFour looks and one.\n", encoding="utf-8")
    assert list(met(rules()[0][1], [page])) == ["page.md:2: 'Four looks'"]
