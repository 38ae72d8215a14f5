"""The finder: machine code of exactly these sources or none, and everything can be imported either way."""

from pathlib import Path

import pytest

from openai_proxy.compiled import MODULES, library, sources
from tests.compiled import trees


def interpreted(tree: Path) -> set[Path]:
    return {tree / "openai_proxy" / f"{name.replace('.', '/')}.py" for name in MODULES}


def test_every_module_exists_and_has_a_unique_last_name() -> None:
    assert [source for source in sources() if not source.is_file()] == []
    assert len({name.rpartition(".")[2] for name in MODULES}) == len(MODULES)


def test_without_a_library_the_sources_are_run(tmp_path: Path) -> None:
    tree = trees.whole(tmp_path)
    assert trees.origins(tree, *MODULES) == interpreted(tree)


@trees.needs_library
def test_every_module_is_loaded_from_the_library(tmp_path: Path) -> None:
    tree = trees.whole(tmp_path, with_library=True)
    assert trees.origins(tree, MODULES[0]) == {tree / "openai_proxy/compiled" / library().name}
    # Modules imported by the library's own code have a file name invented by mypyc, below the library's directory.
    assert {path.suffix for path in trees.origins(tree, *MODULES)} == {".so"}


@trees.needs_library
@pytest.mark.parametrize("name", [MODULES[0], MODULES[-1], "compiled.build"])
def test_after_an_edit_the_sources_are_run(name: str, tmp_path: Path) -> None:
    tree = trees.whole(tmp_path, with_library=True)
    with (tree / "openai_proxy" / f"{name.replace('.', '/')}.py").open("a") as source:
        source.write("\n")
    assert trees.origins(tree, *MODULES) == interpreted(tree)


@pytest.mark.parametrize("content", [b"", b"no library at all\n" * 1000], ids=["empty", "garbage"])
def test_if_the_library_does_not_load_the_sources_are_run(content: bytes, tmp_path: Path) -> None:
    tree = trees.whole(tmp_path)
    (tree / "openai_proxy/compiled" / library().name).write_bytes(content)
    assert trees.origins(tree, *MODULES) == interpreted(tree)


@trees.needs_library
def test_a_library_removed_while_in_use_still_works(tmp_path: Path) -> None:
    """For example by `make test` after an edit, beside a daemon that has not yet imported everything."""
    tree = trees.whole(tmp_path, with_library=True)
    removing = trees.ORIGINS + "    openai_proxy.compiled.library().unlink(missing_ok=True)\n"
    done = trees.python(
        tree, "-c", "import openai_proxy.compiled\n" + removing, "protocols.http1", *MODULES
    )  # one module is imported before the library is removed
    assert {Path(line).suffix for line in done.stdout.splitlines()} == {".so"}, done.stderr
    assert not list(tree.rglob("hot-*"))
