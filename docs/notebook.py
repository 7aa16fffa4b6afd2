"""Executes the cells below in an empty home and writes them with what they show: docs/notebook.ipynb.

`python docs/notebook.py`. It stands in for a kernel: the last value of a cell is what the cell shows, by its
`_repr_html_` or `_repr_png_` if it has one. Any notebook server runs the same cells.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("notebook.ipynb")
CELLS = (
    "# From a notebook\n\nWhat the commands do, as functions; results show themselves. Everything is kept below the "
    "current folder (or `$CVAE_PIPE_HOME`), so that a cell that is run again finds what is there. Interrupt the kernel "
    "whenever you like: the same cell goes on from the last epoch. `bar()` is the progress of a long call.",
    "from pipeline.api import bar, configure, load_run, run, samples, study, sweep\n\n"
    'config = configure("digits", latent_dim=6, epochs=20)\n'
    "result = run(config, progress=bar())\n"
    "result",
    "Every number is in `result.metrics`, every epoch in `result.history`, a pandas DataFrame.",
    'result.history[["epoch", "train/loss", "val/neg_elbo", "val/kl"]].tail(3)',
    "Images of a class; `samples` has them as an array.",
    "eights = result.generator.of_labels([8], 10)\n"
    "assert (samples(result, label=8, n=10) == eights.images).all()\n"
    "eights",
    "A study: the same call makes it longer, or goes on with one that was interrupted.",
    'what = study(config, name="notebook", space=["learning_rate=off"])\n'
    "shown = bar()\n"
    "found = sweep(what, trials=6, final_seeds=2, workers=2, progress=shown, on_update=shown.trials)\n"
    "found",
    'found.trials[["number", "state", "beta", "latent_dim", "neg_elbo_expost"]]',
    "The choice is a configuration like any other, and its run is found by the study's name.",
    'load_run("notebook").generator.between_labels(3, 8, n=4)',
)
"""Markdown where it is not Python: text and code in turns, except where two cells of code follow each other."""


def is_code(cell: str) -> bool:
    try:
        ast.parse(cell)
    except SyntaxError:
        return False
    return not cell.startswith("#")


def shown(value: Any, home: Path) -> dict[str, Any]:
    """The representations of a value, as a notebook keeps them."""
    bundle: dict[str, Any] = {"text/plain": repr(value)[:300]}
    if hasattr(value, "_repr_html_"):
        bundle = {"text/html": value._repr_html_(), "text/plain": type(value).__name__}
    elif hasattr(value, "_repr_png_"):
        bundle = {"image/png": base64.b64encode(value._repr_png_()).decode(), "text/plain": type(value).__name__}
    return {kind: text.replace(str(home), "/home/me/first").splitlines(keepends=True) for kind, text in bundle.items()}


def executed(home: Path) -> dict[str, Any]:
    """The notebook, its cells run in order with `home` as the current folder."""
    names: dict[str, Any] = {"__name__": "notebook"}
    cells, count = [], 0
    with contextlib.chdir(home):
        for i, source in enumerate(CELLS):
            cell: dict[str, Any] = {"id": f"cell-{i}", "metadata": {}, "source": source.splitlines(keepends=True)}
            if not is_code(source):
                cells.append({"cell_type": "markdown", **cell})
                continue
            count += 1
            tree = ast.parse(source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(tree, "cell", "exec"), names)
                value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
            outputs: list[dict[str, Any]] = []
            if said.getvalue():
                outputs.append({"output_type": "stream", "name": "stdout", "text": said.getvalue()})
            if value is not None:
                outputs.append(
                    {"output_type": "execute_result", "execution_count": count, "metadata": {}}
                    | {"data": shown(value, home)}
                )
            cells.append({"cell_type": "code", **cell, "execution_count": count, "outputs": outputs})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    for name in ("CVAE_PIPE_HOME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(PAGE.parents[1]))
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(executed(Path(folder).resolve()), indent=1, ensure_ascii=False) + "\n"
    PAGE.write_text(text, encoding="utf-8")
