"""Commands that print the documents of the interfaces: asyncapi, openapi."""

import json

import click


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document.

    It describes streams, queue, results and webhooks. The output is JSON, and so also valid YAML.
    """
    from worker.apis.asyncapi import describe  # noqa: PLC0415  # models take a while to build

    _print(describe())


@click.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document.

    It describes what `web` serves. The output is JSON, and so also valid YAML.
    """
    from worker.apis.openapi import describe  # noqa: PLC0415  # models take a while to build

    _print(describe())


def _print(document: dict[str, object]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
