"""The public names, held in tests/api_surface.txt: none appears, moves or goes without being seen in a diff.

Read from the source, so nothing is imported: a module's ``__all__`` if it has one, else what it defines (and, in an
``__init__.py``, re-exports) under a name without a leading underscore.
"""

import ast
import pydoc
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "diffmix"
INVENTORY = Path(__file__).with_name("api_surface.txt")
HEADER = """\
# Every public name of diffmix. After a change that is meant, write it anew:
#   python tests/test_api_surface.py
"""


def targets(node: ast.stmt) -> list[str]:
    """The names that a definition or an assignment binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [name.id for t in node.targets for name in ast.walk(t) if isinstance(name, ast.Name)]
    return []


def declared_all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if targets(node) == ["__all__"]:
            return [str(c.value) for c in ast.walk(node) if isinstance(c, ast.Constant)]
    return None


def public(name: str) -> bool:
    return not name.startswith("_")


def names(path: Path) -> list[str]:
    """Public names of one module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = declared_all(tree)
    if found is None:
        found = [name for node in tree.body for name in targets(node) if public(name)]
        if path.name == "__init__.py":
            blocks = [tree.body, *(n.body for n in tree.body if isinstance(n, ast.If))]
            imported = (
                n for block in blocks for n in block if isinstance(n, ast.ImportFrom) and "diffmix" in (n.module or "")
            )
            found += [
                a.asname or a.name for n in imported for a in n.names if public(a.asname or a.name) and a.name != "*"
            ]
    return found


def inventory() -> list[str]:
    """Every public name, ``diffmix.module.name``, sorted."""
    lines = set()
    for path in PACKAGE.rglob("*.py"):
        parts = ["diffmix", *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if all(map(public, parts)):
            lines |= {".".join([*parts, name]) for name in names(path)}
    return sorted(lines)


def test_the_public_names_are_those_of_the_inventory() -> None:
    stored = [line for line in INVENTORY.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    now = inventory()
    changed = [f"+ {n}" for n in now if n not in stored] + [f"- {n}" for n in stored if n not in now]
    assert not changed, "the public names changed (api_surface.txt says how to accept it):\n" + "\n".join(changed)


def test_the_names_offered_at_the_top_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffmix
    import diffmix.export

    monkeypatch.delattr(diffmix, "export")  # as if nobody had imported it yet
    assert callable(diffmix.export.preset_of)

    missing = [name for name in dir(diffmix) if not hasattr(diffmix, name)]
    assert not missing
    assert {"automix", "Console", "Compressor", "Delay", "SettingsError"} <= set(dir(diffmix))
    shown = pydoc.render_doc(diffmix, renderer=pydoc.plaintext)
    assert all(f"\n    {name}(" in shown for name in diffmix.__all__)
    assert len(shown) < 25_000
    assert diffmix.Compressor is diffmix.processors.Compressor
    assert diffmix.Mix is diffmix.mix.Mix
    with pytest.raises(AttributeError, match="no attribute 'compressor'"):
        _ = diffmix.compressor


def test_checkers_of_types_know_what_the_package_offers() -> None:
    """A name that is imported "as" itself is passed on, in a package with types; another one is private to it."""
    import diffmix

    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = [alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in imported if alias.name not in ("*", alias.asname)] == []
    assert {alias.name for alias in imported} - {"*"} == set(diffmix._WHERE)


if __name__ == "__main__":
    INVENTORY.write_text(HEADER + "\n".join(inventory()) + "\n", encoding="utf-8")
