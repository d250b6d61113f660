"""The documents, run: their commands work, their links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _commands(document: Path) -> list[list[str]]:
    blocks = "\n".join(BLOCK.findall(document.read_text()))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def _id(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_link_leads_to_a_file(document: Path) -> None:
    targets = LINK.findall(document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", ROOT / "docs/batch.md", ROOT / "docs/training.md"], ids=_id
)
def test_the_offline_commands_run_as_they_stand(document: Path, tmp_path: Path) -> None:
    commands = [
        words for words in _commands(document) if words[0].endswith("churn-serving") and words[1] != "serve"
    ]
    assert commands
    for code in PYTHON.findall(document.read_text()):
        subprocess.run(
            [sys.executable, "-c", code.replace("/tmp/", f"{tmp_path}/")],  # noqa: S108 - of the document
            cwd=ROOT, check=True, timeout=1200,
        )  # fmt: skip
    for program, *arguments in commands:
        here = [argument.replace("/tmp/", f"{tmp_path}/") for argument in arguments]  # noqa: S108 - of the document
        program_here = Path(sys.executable).with_name(Path(program).name)
        done = subprocess.run(
            [program_here, *here], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200
        )
        assert done.returncode == 0, done.stderr


def test_every_make_target_that_is_named_exists() -> None:
    pages = [*DOCUMENTS, ROOT / "CHANGELOG.md"]
    named = {name for page in pages for name in re.findall(r"[`$] ?make ([a-z-]+)", page.read_text())}
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= defined
