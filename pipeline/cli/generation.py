"""Commands that use a trained model: generate images, export it, serve it."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json, whole_numbers
from pipeline.cli.session import found, refusals_in_one_line, say, short, suggest
from pipeline.cli.terminal.waiting import slow
from pipeline.errors import ConfigError
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.api import Run
    from pipeline.runs.generated import Generated
    from pipeline.runs.generator import Generator

RunName = Annotated[
    str,
    typer.Option(
        "--run",
        help="A run's name or key, a study (its choice), or best: the choice of the latest study, made on validation, "
        "else the newest run. @best is another: the best of all runs by test scores.",
        autocompletion=completion.comparable,
    ),
]
OF_LABELS, BETWEEN, STYLE, TRAVERSE = "Of classes", "Between", "Style", "Traverse"
"""Panels of --help."""
ROW = 10
"""Images of a class unless a number is asked for: the row of a report's grid."""


@examples(
    "cvae-pipe generate --label 8 --n 64 --out eight.png",
    "cvae-pipe generate --run demo --label 0..9 --temperature 0.8 --out digits.npz",
    "cvae-pipe generate --run fashion --label Sneaker --label Bag --n 500 --out folder/",
    "cvae-pipe generate --from 3 --to 8 --n 5",
    "cvae-pipe generate --between a.png b.png",
    "cvae-pipe generate --style mine.png --label 0..9",
    "cvae-pipe generate --traverse --label 2",
)
def generate(
    run: RunName = "best",
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Name or index of a class, 0..9, 0,3,8 or all; repeatable. All by default.",
            rich_help_panel=OF_LABELS,
        ),
    ] = None,
    n: Annotated[int | None, typer.Option(help="Images of each class (10), or rows of --from (1).")] = None,
    prior: Annotated[
        str | None, typer.Option(help="standard, gaussian or mixture; by default the one that the run is scored under.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Times the noise of z: below 1 more typical, less varied.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise; 0 gives the images of the report.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="x.png (a sheet), x.npz (arrays) or x/ (a folder of images, one a class)."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="CLASS", help="Turn this label ..", rich_help_panel=BETWEEN)
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="CLASS", help=".. into this one, at one z.", rich_help_panel=BETWEEN)
    ] = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="IMAGE IMAGE", help="From one image's code to another's.", rich_help_panel=BETWEEN),
    ] = None,
    steps: Annotated[int, typer.Option(help="Images on the way, both ends included.", rich_help_panel=BETWEEN)] = 9,
    style: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Encode this image, decode it as each --label.", rich_help_panel=STYLE),
    ] = None,
    image_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="What an image of --style or --between is of; by default the model's own reading.",
            rich_help_panel=STYLE,
        ),
    ] = None,
    traverse: Annotated[
        bool, typer.Option("--traverse", help="Move one latent dimension at a time.", rich_help_panel=TRAVERSE)
    ] = False,
    dims: Annotated[
        str | None,
        typer.Option(metavar="0,3", help="Which ones; by default the most active.", rich_help_panel=TRAVERSE),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, help="Side of a pixel in a PNG; 1 keeps images as they are.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make images with a trained model: of a class, between classes or images, in an image's style."""
    forms = {
        "--from": from_ is not None or to is not None,
        "--between": between,
        "--style": style,
        "--traverse": traverse,
    }
    asked = [name for name, given in forms.items() if given]
    _check_forms(asked, from_, to, label, image_label, dims, n)
    moved = whole_numbers("--dims", dims) if dims else None
    if n is not None and n < 1:
        raise ConfigError(f"--n is {n}; it must be 1 or more")
    home = Home.from_environment()
    with refusals_in_one_line():
        from pipeline import api
        from pipeline.runs.requests import check_prior, check_request, class_names, format_of, label_indices

        form = format_of(out) if out else "png"
        check_request(1, n=n or 1, seed=seed, temperature=temperature, steps=steps)
        check_prior(prior)
        said: list[str] = []  # for when it is done: a mistake is one line
        source = api.load_run(run, home=home, say=said.append)
        if source.config.model.kind == "cvae":  # before torch is loaded
            label_indices(class_names(home, source.outcome), [*(label or ()), *filter(None, (from_, to))])
        with slow(say, "loading torch and the model"):
            from pipeline.runs.execute import set_up_process
            from pipeline.runs.generator import load_generator

            set_up_process(1)
            generator = load_generator(home, source.outcome, prior=prior)
        if asked == ["--from"]:
            assert from_ is not None
            assert to is not None
            ends = generator.label(from_), generator.label(to)
            made = generator.between_labels(*ends, n or 1, steps=steps, seed=seed, temperature=temperature)
        elif between:
            ends_of = _image_labels(generator, image_label, list(between))
            both = (ends_of[0], ends_of[1]) if ends_of else None
            made = generator.between_images(*between, labels=both, steps=steps)
        elif style:
            own = _image_labels(generator, image_label, [style])
            made = generator.style_of(style, generator.labels(label or []), label=own[0] if own else None)
        elif traverse:
            [one, *more] = generator.labels(label or ["0"])
            if more:
                raise ConfigError("--traverse shows one class; name one --label")
            made = generator.traversal(one, moved)
        else:
            labels = _asked_labels(generator, label)
            made = generator.of_labels(labels, n or ROW, seed=seed, temperature=temperature)
        path = Path(out) if out else home.root / "generated" / f"{source.name}-{made.facts['form']}.png"
        files = made.write(path, form, scale=scale)
    for line in said:
        say(line)
    if json_:
        facts = made.facts | {"images": len(made.images), "rows": list(made.rows), "files": [str(f) for f in files]}
        print_json(_of_run(source, {"images": str(path)}) | facts)
        return
    _show(made, generator)
    found(f"images: {short(files[0]) if len(files) == 1 else f'{len(files)} files in {short(path)}'}")
    suggest(f"cvae-pipe export --run {shlex.quote(run)} --onnx", f"cvae-pipe serve --run {shlex.quote(run)}")


@examples(
    "cvae-pipe export --onnx",
    "cvae-pipe export --run demo --safetensors --out model/",
)
def export(
    run: RunName = "best",
    onnx: Annotated[bool, typer.Option("--onnx", help="generator.onnx, decoder.onnx, encoder.onnx.")] = False,
    safetensors: Annotated[
        bool, typer.Option("--safetensors", help="model.safetensors, and model.json that says what to do with it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to; by default exported/<run>/.", show_default=False)
    ] = None,
    json_: Json = False,
) -> None:
    """Write a trained model as files that need nothing of this program."""
    from pipeline import api

    if not (onnx or safetensors):
        raise ConfigError("export needs a format: --onnx, --safetensors, or both")
    with refusals_in_one_line():
        said: list[str] = []
        source = api.load_run(run, say=said.append)
        with slow(say, f"loading torch, writing {' and '.join(['ONNX'] * onnx + ['safetensors'] * safetensors)}"):
            files = api.export(source, out, onnx=onnx, safetensors=safetensors, say=said.append)
    for line in said:
        say(line)
    if json_:
        own = {"run": source.name, "files": [str(path) for path in files]}
        print_json(_of_run(source, {path.name: str(path) for path in files}) | own)
        return
    for path in files:
        found(f"written: {short(path)}")
    say("docs/MODELS.md says how each is used")


@examples("cvae-pipe serve", "cvae-pipe serve --run demo --port 8080", "cvae-pipe serve --model models:/demo@champion")
def serve(
    run: RunName = "best",
    model: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Another model of MLflow's instead: a models:/ address or a folder."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5056,
    json_: Json = False,
) -> None:
    """Put a trained model behind MLflow's scoring server: {label, n, seed, temperature} in, images out."""
    from pipeline import api
    from pipeline.tracking.serving import LOOPBACK, check_port, here, serve_model

    home = Home.from_environment()
    with refusals_in_one_line():
        check_port(port, "serve")
        home.check_writable()
        label, document = "0", {}
        if model is None:
            said: list[str] = []
            source = api.load_run(run, home=home, say=said.append)
            document = _of_run(source, {})
            model = str(api.package(source))
            label = json.dumps(source.generator.class_names[-1], ensure_ascii=False)
            for line in (*said, f"model: {source.name}, packaged in {short(Path(model))}"):
                say(line)
        if json_:  # before it serves, which has no end
            print_json(document | {"model": model, "url": f"{here(LOOPBACK, port)}/invocations"})
        raise typer.Exit(serve_model(home, model, port=port, label=label, say=say))


def _of_run(run: "Run", paths: dict[str, str]) -> dict[str, Any]:
    """What the JSON document says of the run whose model is used."""
    from pipeline.reporting.document import about

    return {
        "name": run.name,
        "key": run.outcome.key[:16],
        **about([run.outcome]),
        "paths": paths,
    }


def _check_forms(
    asked: list[str],
    from_: str | None,
    to: str | None,
    label: list[str] | None,
    image_label: list[str] | None,
    dims: str | None,
    n: int | None,
) -> None:
    """ConfigError for options that do not go together; nothing is loaded yet."""
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} ask for different pictures; give one of them")
    if asked == ["--from"] and (from_ is None or to is None):
        raise ConfigError("--from and --to go together: --from 3 --to 8")
    if label and asked and asked[0] in ("--from", "--between"):
        raise ConfigError(
            f"--label does not go with {asked[0]}"
            + ("; --image-label says what the images are of" * (asked[0] == "--between"))
        )
    if image_label and asked not in (["--style"], ["--between"]):
        raise ConfigError("--image-label says what an image of --style or --between is of; there is none")
    if image_label and len(image_label) != (2 if asked == ["--between"] else 1):
        raise ConfigError("give one --image-label for --style, and two for --between, in the order of the images")
    if dims and asked != ["--traverse"]:
        raise ConfigError("--dims goes with --traverse")
    if n is not None and asked and asked != ["--from"]:
        raise ConfigError(f"--n does not go with {asked[0]}, which has one row")


def _asked_labels(generator: "Generator", label: list[str] | None) -> list[int]:
    if generator.model.conditional:
        return generator.labels(label or [])
    if label:
        raise ConfigError(f"--label is {label[0]!r}, but {generator.run} takes no label: leave it out, or use a cvae")
    return [0]


def _image_labels(generator: "Generator", given: list[str] | None, images: list[Path]) -> list[int]:
    """What the images are of, as given or as the model reads them, which is said."""
    if given:
        return [generator.label(text) for text in given]
    if not generator.model.conditional:
        return []
    read = [generator.reading(image) for image in images]
    told = ", ".join(f"{image.name} as {name}" for image, name in zip(images, read, strict=True))
    say(f"read {told}, under which the model finds it likeliest; --image-label says otherwise")
    return [generator.label(name) for name in read]


def _show(made: "Generated", generator: "Generator") -> None:
    from pipeline.cli.terminal.preview import show_images

    drawn = f", z from the {made.facts['prior']} prior, seed {made.facts['seed']}" if "seed" in made.facts else ""
    show_images(made.pixels, f"{generator.run}{drawn}: {'; '.join(made.rows[:10])}")
