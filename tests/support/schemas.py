"""The JSON Schemas in docs/schemas, made from the event models; `python -m tests.support.schemas` writes them."""

import json
from pathlib import Path

from worker.domain.events import EVENT_TYPES, schema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def schema_files() -> dict[str, str]:
    """Return the name and text of every file that belongs there."""
    return {f"{name}.1.json": json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n" for name in EVENT_TYPES}


def write() -> None:
    """Write the files, and remove what no longer belongs there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = schema_files()
    for name, text in files.items():
        (FOLDER / name).write_text(text)
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()


if __name__ == "__main__":
    write()
