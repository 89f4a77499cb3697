"""`lightcrcf info`: versions, processor, engines and models."""

from __future__ import annotations

from typing import Annotated

import typer

from lightcrcf.cli.console import print_json, print_table

__all__ = ["info"]


def info(json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Show versions, processor, engines and models; paste it into bug reports."""
    from lightcrcf.run_record.environment import describe_environment

    facts = describe_environment()
    if json:
        print_json(facts)
        return
    plain = {name: value for name, value in facts.items() if not isinstance(value, dict | list)}
    plain["engines"] = ", ".join(facts["engines"])
    plain["models"] = ", ".join(facts["models"])
    print_table(("what", "here"), [*plain.items(), *facts["packages"].items()], numbers=False)
