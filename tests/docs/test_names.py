"""A private name stays in its module, and differs from a public one by more than its underscore."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("worker", "config", "location_client", "simulator", "chaos", "benchmarks", "examples")
# redis-py's own: the transport of a connection, and what `connect` calls for every try.
FOREIGN = {"_writer", "_connect"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT)
            if ".venv" not in name.parts:  # the queues that the benchmarks install
                yield str(name), ast.parse(path.read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in FOREIGN


def functions(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_module_imports_a_private_name_of_another() -> None:
    assert [
        f"{name}: {alias.name}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in FOLDERS
        for alias in node.names
        if is_private(alias.name)
    ] == []


# Ruff's SLF001 holds it for every object but `self`.
def test_no_class_uses_a_private_name_of_a_base_in_another_module() -> None:
    found = []
    for name, tree in modules():
        of_self = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        ]
        own = functions(tree) | {node.attr for node in of_self if isinstance(node.ctx, ast.Store)}
        found += [f"{name}: {node.attr}" for node in of_self if is_private(node.attr) and node.attr not in own]
    assert found == []


def test_no_two_functions_differ_by_an_underscore_alone() -> None:
    assert [
        f"{name}: {function}"
        for name, tree in modules()
        for function in functions(tree)
        if is_private(function) and function[1:] in functions(tree)
    ] == []
