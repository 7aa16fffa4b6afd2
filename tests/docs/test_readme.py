"""README.md as a newcomer uses it: its messages are the program's, its recipes and its Python run."""

import ast
import builtins
import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import quick_config
from PIL import Image

from pipeline.errors import CvaePipeError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(mark: str) -> str:
    return README.split(f"<!-- {mark} -->\n")[1].split(f"\n<!-- /{mark} -->")[0]


MESSAGES = re.findall(r"^\| `(.+?)` \|", between("messages"), re.MULTILINE)


# ---- what the program says -----------------------------------------------------------------------------------------


def by_command(*words):
    def provoke(home, monkeypatch, command):
        code, _, err = command(*words)
        assert code == 2
        return err.removeprefix("error: ").rstrip("\n")

    return provoke


def raised(action):
    def provoke(home, monkeypatch, command):
        with pytest.raises(CvaePipeError) as error:
            action(home, monkeypatch)
        return str(error.value)

    return provoke


def no_network(home, monkeypatch):
    from torchvision import datasets

    from pipeline.config.sections import DataConfig
    from pipeline.data.preparing import prepare

    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    prepare(DataConfig("mnist"), home.root)


def a_study(**settings):
    from sweeps.study.config import StudyConfig
    from sweeps.study.objective import chosen
    from sweeps.study.space import DEFAULT_SPACE

    return StudyConfig("s", quick_config(**settings), DEFAULT_SPACE, chosen((), "cvae", "standard"))


def driven(home, monkeypatch):
    from sweeps.study.ledger import study_lock

    lock = study_lock(home, "s")
    try:
        study_lock(home, "s")
    finally:
        lock.release()


def other_settings(home, monkeypatch):
    from sweeps.study.ledger import Ledger

    ledger = Ledger(home, a_study())
    ledger.begin({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3})
    ledger.close()
    Ledger(home, a_study(train__epochs=5))


def in_use(home, monkeypatch):
    from pipeline.store.use import alone, at_work

    with at_work(home, "run"), alone(home):
        pass


def diverging(home, monkeypatch):
    import torch

    from pipeline.runs.execute import set_up_process
    from pipeline.stages.context import Context
    from pipeline.stages.train import train

    set_up_process(1)
    try:
        train(Context(quick_config(train__learning_rate=1e9, train__epochs=3), home))
    finally:
        torch.set_flush_denormal(False)


def missed_gates(home, monkeypatch):
    from pipeline.evaluation.judges.gates import Gate, check_gates

    check_gates([Gate("A clean", 0.5, 0.99, False)], enforce=True)


def server_away(home, monkeypatch):
    from pipeline.tracking import MlflowTracker

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    MlflowTracker.connect(home, "cvae-pipe", on_warning=print)


def full_disk(home, monkeypatch):
    from pipeline.cli.session import refusals_in_one_line

    with refusals_in_one_line():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/me/run.json")


def no_database(home, monkeypatch):
    from sweeps.study.ledger import recorded_studies

    home.mlruns.mkdir(parents=True)
    (home.mlruns / "optuna.db").write_text("what lay here was no database, but text" * 99)
    recorded_studies(home)


def damaged(home, monkeypatch):
    from pipeline.runs.outcome import load_outcome

    folder = home.store.path("run", "0" * 64)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    load_outcome(home, "0" * 64)


PROVOKED = {
    "data.dataset": by_command("run", "--dataset", "digit"),
    "unknown setting": by_command("run", "--dataset", "digits", "--set", "train.betta=1"),
    "there is no run": by_command("compare", "a", "b"),
    "mnist is not": raised(no_network),
    "runtime.device": by_command("run", "--dataset", "digits", "--device", "cuda"),
    "study .. was started": raised(other_settings),
    "study .. is being driven": raised(driven),
    ".. is in use": raised(in_use),
    "loss is": raised(diverging),
    "a judge missed": raised(missed_gates),
    "no tracking server": raised(server_away),
    ".. cannot be written": raised(full_disk),
    ".. cannot be read as": raised(no_database),
    "run .. is damaged": raised(damaged),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_table_is_what_the_program_says(message, home, monkeypatch, command):
    from pipeline.environment import without_gpu

    if "cuda" in message and not without_gpu():
        pytest.skip("there may be a GPU here")
    [provoke] = [provoke for beginning, provoke in PROVOKED.items() if message.startswith(beginning)]
    said = provoke(home, monkeypatch, command)
    pattern = ".+".join(re.escape(part) for part in message.split(".."))
    assert re.match(pattern, said), said


def test_every_message_that_is_provoked_is_in_the_table():
    assert len(MESSAGES) == len(PROVOKED)


# ---- what it has to paste ------------------------------------------------------------------------------------------


def recipes() -> list[str]:
    """The commands of the recipes, in order."""
    return re.findall(r"^cvae-pipe .+$", between("recipes"), re.MULTILINE)


def python_blocks() -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))


def test_there_are_ten_recipes_or_more_and_each_has_a_command():
    wanted = re.findall(r"^\*\*\.\. .+?\*\*", between("recipes"), re.MULTILINE)
    assert len(wanted) >= 10
    assert len(re.findall(r"```sh\n", between("recipes"))) == len(wanted)
    assert len(recipes()) >= len(wanted)


def test_the_python_of_the_readme_binds_every_name_that_it_uses():
    tree = ast.walk(ast.parse(python_blocks()))
    bound, used = set(dir(builtins)), set()
    for node in tree:
        if isinstance(node, ast.alias):
            bound.add(node.asname or node.name)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
    assert used <= bound


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_recipes_and_the_python_run_from_top_to_bottom(tmp_path):
    folder = tmp_path / "path" / "to" / "folder"
    for label in range(3):
        (folder / f"kind-{label}").mkdir(parents=True)
        for i in range(60):
            x = np.random.default_rng(60 * label + i).integers(0, 80, (12, 12), dtype=np.uint8)
            x[2 + 3 * label : 4 + 3 * label] += 150
            Image.fromarray(x).save(folder / f"kind-{label}" / f"{i}.png")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CVAE_PIPE_", "MLFLOW_TRACKING"))}
    environment["PYTHONPATH"] = str(ROOT)
    steps = [[sys.executable, "-m", "pipeline", *shlex.split(line)[1:]] for line in recipes()]
    program = tmp_path / "readme.py"
    program.write_text(f"{python_blocks()}\nassert images.shape == (24, 8, 8)\n", encoding="utf-8")
    for words in (*steps, [sys.executable, str(program)]):
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
    assert (tmp_path / "eights.png").exists()
    assert not (tmp_path / "mlflow.db").exists(), "MLflow's own place for who names none"
