"""A private name stays in its module, and differs from a public one by more than its underscore."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("worker", "config", "location_client", "simulator", "chaos", "benchmarks", "examples")
# redis-py's own: the transport of a connection, and the method that `connect` calls for every attempt.
FOREIGN = {"_writer", "_connect"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in FOREIGN


def complaints(tree: ast.Module) -> list[str]:
    functions, stored, of_self, imported = set[str](), set[str](), set[str](), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions.add(name)
            case ast.Attribute(attr=name, value=ast.Name(id="self"), ctx=context):
                (stored if isinstance(context, ast.Store) else of_self).add(name)
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in FOLDERS:
                imported.update(alias.name for alias in names)
    return [
        *(f"imports {name}" for name in imported if is_private(name)),
        # Ruff's SLF001 finds the private names of any object but `self`.
        *(f"uses {name} of a base" for name in of_self - functions - stored if is_private(name)),
        *(f"has {name} and {name[1:]}" for name in functions if is_private(name) and name[1:] in functions),
    ]


def test_a_breach_is_found() -> None:
    module = ast.parse("from worker.x import _y\nclass A(B):\n def f(self): self._g\n def _f(self): self.a = 1")
    assert sorted(complaints(module)) == ["has _f and f", "imports _y", "uses _g of a base"]


def test_private_names_stay_in_their_module() -> None:
    modules = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts]
    found = {str(path.relative_to(ROOT)): complaints(ast.parse(path.read_text())) for path in modules}
    assert {name: told for name, told in found.items() if told} == {}
    assert len(found) > 100, "the modules were found"
