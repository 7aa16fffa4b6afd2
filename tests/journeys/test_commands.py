"""The command line: help, exit codes, what goes to stdout, one line for a mistake, signals.

Mistakes that show before torch is needed are tested in this process; help and signals in real ones.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import mlflow_client, quick_config, quick_toml
from safetensors.torch import load_file

from pipeline.cli import main as cli
from pipeline.cli.interruptions import hearing_interruptions
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.stages.train import CHECKPOINT
from pipeline.stages.train import train as train_stage
from pipeline.store.files import read_json
from pipeline.store.home import Home

COMMANDS = (
    *("prepare", "train", "evaluate", "score", "report", "run", "sweep", "compare", "ui"),
    *("generate", "export", "serve", "denoise", "anomalies"),
)


def start(home, *arguments, **environment):
    """The command as a process of its own."""
    script = Path(sys.executable).with_name("cvae-pipe")
    return subprocess.Popen(
        [str(script), *map(str, arguments)],
        env={**os.environ, "CVAE_PIPE_HOME": str(home.root), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def assert_one_line(answer, *words):
    code, out, err = answer
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    return err


# ---- help


def test_no_arguments_show_the_help_and_no_error(command):
    code, out, err = command()
    assert "Usage: cvae-pipe" in out + err
    assert all(name in out + err for name in COMMANDS)
    assert "error" not in err
    assert code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(command, name):
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert f"cvae-pipe {name}" in out
    assert "Examples" in out


def test_help_is_instant_and_imports_nothing_heavy():
    program = (
        "import sys\n"
        "sys.argv = ['cvae-pipe', '--help']\n"
        "from pipeline.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'mlflow', 'optuna', 'torchvision', 'sklearn', 'matplotlib', 'pandas', 'numpy'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Usage: cvae-pipe" in done.stdout
    assert done.stderr == "[]\n"
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 0.5, "of CPU; a busy machine does not count"


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--dataset", "mnits"), ("data.dataset is 'mnits'", "one of mnist, fashion-mnist")),
        (("run", "--model", "gan"), ("model.kind is 'gan'", "one of ae, vae, cvae")),
        (("run", "--beta", "-1"), ("train.beta is -1.0", "0 or more")),
        (("run", "--beta", "nan"), ("train.beta is nan", "finite")),
        (("run", "--latent-dim", "0"), ("model.latent_dim is 0", "1 or more")),
        (("run", "--lr", "0"), ("train.learning_rate is 0.0", "above 0", "try 1e-3")),
        (("run", "--lr", "nan"), ("train.learning_rate is nan", "finite")),
        (("run", "--lr", "inf"), ("train.learning_rate is inf", "finite")),
        (("run", "--schedule", "linear"), ("train.schedule is 'linear'", "one of constant, cosine")),
        (("run", "--epochs", "0"), ("train.epochs is 0", "1 or more")),
        (("run", "--batch-size", "0"), ("train.batch_size is 0", "1 or more")),
        (("run", "--hidden", "400,x"), ("model.hidden is '400,x'", "e.g. 512,256")),
        (("run", "--hidden", ""), ("model.hidden is []", "one or more widths")),
        (("run", "--seed", "-1"), ("train.seed is -1", "0 or more")),
        (("run", "--device", "tpu"), ("runtime.device is 'tpu'", "auto, cpu, cuda")),
        (("run", "--bogus"), ("No such option: --bogus", "--help")),
        (("run", "--epochs", "many"), ("train.epochs is 'many'", "a whole number")),
        (("run", "--epochs", "1.5"), ("train.epochs is '1.5'", "a whole number")),
        (("run", "--epochs"), ("--epochs", "--help")),
        (("run", "extra"), ("extra", "--help")),
        (("bogus",), ("No such command 'bogus'", "--help")),
        (("run", "--set", "train.betta=1"), ("unknown setting train.betta", "train has beta, warmup_epochs")),
        (("run", "--set", "tarin.beta=1"), ("unknown setting tarin.beta", "data, model, train")),
        (("run", "--set", "train.beta"), ("has no value", "section.key=value")),
        (("run", "--set", "train.beta=much"), ("train.beta is 'much'", "a number")),
        (("run", "--config", "nope.toml"), ("there is no configuration file nope.toml",)),
        (("evaluate", "--split", "train"), ("--split is 'train'", "val or test")),
        (("score", "--split", "all"), ("--split is 'all'", "val or test")),
        (("compare",), ("Missing argument", "--help")),
        (("compare", "nope", "neither"), ("there is no run 'nope'", "none yet")),
        (("report", "nope"), ("or run 'nope'", "studies are none yet", "finished runs are none yet")),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, home, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_one_line(command(*arguments), *words)
    assert not (home.root / "mlruns").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nbetta = 1\n", ("unknown setting train.betta", "train has beta")),
        ("[tarin]\nbeta = 1\n", ("unknown table [tarin]", "data, model, train")),
        ('[train]\nbeta = "much"\n', ("train.beta is 'much'", "a number")),
        ("[train]\nepochs = 1.5\n", ("train.epochs is 1.5", "a whole number")),
        ("[train]\nlearning_rate = nan\n", ("train.learning_rate is nan",)),
        ("[train\n", ("is not valid TOML",)),
    ],
)
def test_a_mistake_in_a_file_is_one_line_and_exit_code_2(command, home, tmp_path, text, words):
    (tmp_path / "c.toml").write_text(text)
    for name in ("run", "train", "sweep"):
        assert_one_line(command(name, "--config", tmp_path / "c.toml"), *words)


def test_a_batch_larger_than_the_data_is_one_line_and_leaves_no_run(warm_home, tmp_path):
    # Without a terminal: what the stages said before the mistake stands above the error.
    code, out, err = finish(start(warm_home, "train", "--config", quick_toml(tmp_path), "--batch-size", "99999"))
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert re.fullmatch(r"error: train\.batch_size is 99999, but digits has \d+ training images; choose .*", last)
    assert "Traceback" not in err
    assert list(warm_home.store.keys("train")) == []


def test_a_tracking_server_that_is_away_is_one_line(command, home, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    answer = command("run", "--config", quick_toml(tmp_path))
    assert_one_line(answer, "no tracking server answers at http://127.0.0.1:9", "MLFLOW_TRACKING_URI")
    assert {folder.name for folder in home.store.root.iterdir()} <= {"locks"}, "nothing was prepared or trained before"


def test_a_home_that_cannot_be_written_is_one_line(command, home, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CVAE_PIPE_HOME", str(tmp_path / "file" / "home"))
    for name in ("prepare", "run", "sweep", "ui"):
        assert_one_line(command(name), "cannot be written (Not a directory)", "CVAE_PIPE_HOME")


def test_a_full_disk_is_one_line(command, warm_home, monkeypatch, tmp_path):
    def full(*args):
        raise OSError(28, "No space left on device", "/home/somebody/checkpoint.pt")

    monkeypatch.setattr("pipeline.stages.train.save_training", full)
    code, _, err = command("train", "--config", quick_toml(tmp_path))
    assert code == 2
    assert err.splitlines()[-1].startswith(
        "error: /home/somebody/checkpoint.pt cannot be written (No space left on device); "
    )


def test_a_bug_of_ours_keeps_its_traceback(command, warm_home, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.stages.train.train", lambda ctx: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["cvae-pipe", "train", "--config", str(quick_toml(tmp_path))])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        cli.main()
    signal.signal(signal.SIGTERM, before)


def test_the_versions_are_one_line_and_the_package_is_a_command(command):
    code, out, err = command("--version")
    assert (code, err, out.count("\n")) == (0, "", 1)
    for name in ("cvae-pipe ", "Python 3.", "torch ", "mlflow ", "optuna ", " cores of "):
        assert name in out
    done = subprocess.run([sys.executable, "-m", "pipeline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_is_a_polite_termination_unless_it_is_to_be_ignored(number):
    before = signal.getsignal(number)
    try:
        for found in (signal.SIG_DFL, signal.SIG_IGN):  # nohup leaves SIGHUP ignored
            signal.signal(number, found)
            with hearing_interruptions():
                if found is signal.SIG_IGN:
                    signal.raise_signal(number)
                else:
                    with pytest.raises(KeyboardInterrupt):
                        signal.raise_signal(number)
            assert signal.getsignal(number) is found
    finally:
        signal.signal(number, before)


# ---- what the commands do


def test_prepare_says_what_the_data_is_and_the_second_time_that_it_is_there(command, warm_home, tmp_path):
    code, out, err = command("prepare", "--config", quick_toml(tmp_path))
    assert code == 0
    assert "prepare (digits): up to date" in err
    assert "8 x 8 pixels, 10 classes" in out
    code, _, err = command("prepare", "--dataset", "digits", "--force")
    assert "prepare (digits): done in" in err
    assert err.splitlines()[-1] == "next: cvae-pipe run --dataset digits"


def test_flags_and_set_beat_the_file(command, warm_home, tmp_path):
    code, _, err = command(
        *("train", "--config", quick_toml(tmp_path), "--epochs", 2, "--set", "train.beta=.5"),
        *("--hidden", "16,8", "--lr", "1e-2", "--latent-dim", 2, "--seed", 5, "--model", "vae"),
    )
    assert code == 0, err
    (key,) = warm_home.store.keys("train")
    kept = read_json(warm_home.store.path("train", key) / "config.json")
    train = {"train.epochs": 2, "train.beta": 0.5, "train.learning_rate": 0.01, "train.seed": 5}
    model = {"model.kind": "vae", "model.hidden": [16, 8], "model.latent_dim": 2}
    assert kept | train | model == kept


@pytest.mark.parametrize("name", ["evaluate", "score"])
def test_json_is_all_there_is_on_stdout(command, warm_home, tmp_path, name):
    code, out, err = command(name, "--config", quick_toml(tmp_path), "--split", "val", "--json")
    assert code == 0, err
    document = json.loads(out)
    picture = {"evaluate": "reconstructed", "score": "generated"}[name]
    assert Path(document[picture]).exists()
    assert document["key"] == document["keys"][{"evaluate": "evaluate", "score": "expost"}[name]]
    assert all(key.startswith("val/") for key in document["metrics"])
    assert "train (cvae, 3 epochs): done in" in err
    again = command(name, "--config", quick_toml(tmp_path), "--split", "val", "--json")
    assert json.loads(again[1]) == document
    assert f"{name} (val): up to date" in again[2]


def test_score_of_a_vae_is_one_line(command, warm_home, tmp_path):
    code, _, err = command("score", "--config", quick_toml(tmp_path), "--model", "vae")
    assert code == 2
    assert err.startswith("error: score needs --model cvae: vae takes no label")


def test_run_compare_and_report_work_together(command, warm_home, tmp_path):
    file = quick_toml(tmp_path)
    code, out, err = command("run", "--config", file, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {"cautions", "metrics", "name", "report", "run_id", "run_key", "settings", "seed", "data"} <= document.keys()
    assert Path(document["report"]).exists()
    assert json.loads(command("run", "--config", file, "--json")[1]) == document

    code, out, err = command("run", "--config", file, "--seed", 1)
    assert code == 0, err
    assert "of its images are read as their label" in " ".join(out.split())
    assert err.splitlines()[-1].startswith("next: cvae-pipe ui")
    other = re.search(r"reports/(digits-\S+)/report\.html", out).group(1)

    code, out, err = command("compare", document["name"], other, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["names"] == [document["name"], other]
    code, out, err = command("compare", document["run_key"], other)
    assert code == 0
    assert re.search(r"neg_elbo .*(better|worse|undecided)", out)
    assert_one_line(command("compare", document["name"]), "two runs or more")

    Path(document["report"]).unlink()
    code, out, _ = command("report", document["name"])
    assert (code, out) == (0, f"report: {document['report']}\n")
    assert Path(document["report"]).exists()


# ---- signals, in real processes


@pytest.fixture(autouse=True)
def children_can_be_interrupted():
    """A suite started with `&` ignores Ctrl-C, and its children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def checkpoint_time(home):
    """When the training under way has last finished an epoch; 0 before the first."""
    return max((p.stat().st_mtime for p in (home.store.root / "partial").glob(f"train-*/{CHECKPOINT}")), default=0)


def wait_for_epoch(home, process, after=0):
    """Wait until a training under way has finished an epoch, later than `after`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if checkpoint_time(home) > after:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("no epoch within a minute")


def test_a_killed_training_goes_on_when_the_command_is_repeated_and_ends_in_the_same_bits(warm_home, tmp_path):
    settings = {"train__epochs": 24, "train__batch_size": 16}
    arguments = ("train", "--config", quick_toml(tmp_path, **settings))
    process = start(warm_home, *arguments)
    wait_for_epoch(warm_home, process)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    key = TRAIN.key(quick_config(**settings))
    assert not warm_home.store.has("train", key)

    code, out, err = finish(start(warm_home, *arguments))
    assert code == 0, err
    assert "model: " in out
    assert int(re.search(r"going on after epoch (\d+)", err).group(1)) >= 1
    assert warm_home.store.damaged("train", key) == []

    whole = train_stage(Context(quick_config(**settings), Home(tmp_path / "other", tmp_path)))
    folder = warm_home.store.path("train", key)
    weights, expected = load_file(folder / "model.safetensors"), load_file(whole.folder / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    speed = {"train/images_per_second": 0}
    rows = [row | speed for row in read_json(folder / "history.json")]
    assert rows == [record.row() | speed for record in whole.history]


@pytest.mark.slow
def test_ctrl_c_and_a_polite_termination_close_the_run_and_the_same_command_finishes_it(warm_home, tmp_path):
    arguments = ("run", "--config", quick_toml(tmp_path, train__epochs=24, train__batch_size=16), "--json")
    for sent in (signal.SIGINT, signal.SIGTERM):
        before = checkpoint_time(warm_home)
        process = start(warm_home, *arguments)
        wait_for_epoch(warm_home, process, after=before)
        process.send_signal(sent)
        code, out, err = finish(process)
        assert (code, out) == (130, ""), err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("interrupted; what is finished is kept, and the same command goes on")
        client = mlflow_client(warm_home)
        (tracked,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        assert tracked.info.status == "KILLED"
        assert tracked.data.tags["reason"].startswith("interrupted")

    code, out, err = finish(start(warm_home, *arguments))
    assert code == 0, err
    assert "going on after epoch" in err
    assert json.loads(out)["run_id"] == tracked.info.run_id
    tracked = client.get_run(tracked.info.run_id)
    assert tracked.info.status == "FINISHED"
    steps = [m.step for m in client.get_metric_history(tracked.info.run_id, "train/loss")]
    assert steps == list(range(1, 25))


def catches(process, number):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\t(\w+)", status).group(1), 16) >> (number - 1) & 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_ctrl_c_before_anything_heavy_is_loaded_is_an_interruption_too(warm_home, tmp_path):
    process = start(warm_home, "run", "--config", quick_toml(tmp_path))
    deadline = time.monotonic() + 30
    while not catches(process, signal.SIGTERM) and time.monotonic() < deadline:
        time.sleep(0.005)  # until main() is entered: before that it is Python's own start
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert "Traceback" not in err
    assert "the same command goes on" in err
