"""The documents of the interfaces in docs/, made from the models; `python -m tests.support.documents` writes them."""

from pathlib import Path
from typing import Any

import yaml

from worker.apis import asyncapi, openapi

FOLDER = Path(__file__).parents[2] / "docs"
DESCRIPTIONS = {"asyncapi.yaml": asyncapi.describe, "openapi.yaml": openapi.describe}
_HEAD = "# Made of the models by `make documents`: change those.\n"


class _Dumper(yaml.SafeDumper):
    """Writes values that occur several times in full, instead of using YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write() -> None:
    """Write the files."""
    for name, describe in DESCRIPTIONS.items():
        text = yaml.dump(describe(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        (FOLDER / name).write_text(_HEAD + text)


if __name__ == "__main__":
    write()
