"""The command that shows the resolved configuration: every setting, its value, and where that comes from."""

from typing import Annotated, Any

import typer

from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json, Settings, configured
from pipeline.config.settings import RunConfig


@examples(
    "cvae-pipe config --dataset digits --beta 4",
    "cvae-pipe config --config reports/demo/best.toml --diff",
    "cvae-pipe config --dataset digits --hidden 512,256 --diff > mine.toml",
)
@configured()
def config(
    diff: Annotated[bool, typer.Option("--diff", help="Only what is not the data set's default.")] = False,
    *,
    config: RunConfig,
    given: Settings,
    json_: Json = False,
) -> None:
    """Show the configuration that flags and files give, each value with its source; the output is a --config file."""
    from pipeline.config.documented import documented
    from pipeline.config.reading import IDENTITY, sources, usual_config

    found, values = sources(config, given), config.flat()
    usual = usual_config(config).flat()
    shown = {name: v for name, v in values.items() if not diff or v != usual[name] or name in IDENTITY}
    if json_:
        print_json(
            {"kind": "config", "settings": {name: {"value": v, "source": found[name]} for name, v in shown.items()}}
        )
        return
    section = ""
    for name, value in shown.items():
        here, _, key = name.partition(".")
        if here != section:
            print(f"{chr(10) if section else ''}[{here}]")
            section = here
        if not diff:
            print(f"# {documented()[name].sentence}")
        print(f"{key} = {_toml(value)}  # {found[name]}")


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    import tomli_w

    lines = tomli_w.dumps({"value": value}).partition(" = ")[2].split("\n")
    return " ".join(line.strip() for line in lines if line.strip()).replace("[ ", "[").replace(", ]", "]")
