"""What a person waits for, types and is told: quick where nothing is computed, one name a thing, nothing ignored."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import quick_config, quick_toml

from pipeline import api
from pipeline.config.reading import build_config, read_toml
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from pipeline.runs.names import described, run_name
from pipeline.runs.planning import plan_run
from pipeline.runs.stored import find_run_key
from pipeline.store.files import read_json
from sweeps.finding import find, find_page
from sweeps.finding import find_run_key as find_anything
from sweeps.study.ablation import AblationConfig, keep_definition

HEAVY = ("torch", "torchvision", "mlflow", "optuna", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "rich")
PROGRAM = """
import sys
sys.argv = ["cvae-pipe", *sys.argv[1:]]
from pipeline.cli.main import main
try:
    main()
except SystemExit as left:
    heavy = {heavy!r}
    print("loaded:", *sorted(set(heavy) & set(sys.modules)), file=sys.stderr)
    sys.exit(left.code)
"""


def loaded(home, *arguments) -> tuple[int, set[str], str]:
    """Exit code of a command in a process of its own, the heavy packages that it loaded, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), *map(str, arguments)],
        env={**os.environ, "CVAE_PIPE_HOME": str(home.root)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    said, _, names = done.stderr.rpartition("loaded:")
    return done.returncode, set(names.split()), said + done.stdout


# ---- quick -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--dataset", "digit"),
        ("run", "--beta", "-1"),
        ("run", "--set", "train.betta=1"),
        ("compare", "a", "b"),
        ("verify", "nope"),
        ("generate", "--n", "0"),
        ("generate", "--prior", "gmm"),
        ("generate", "--out", "x.jpg"),
        ("generate", "--run", "nope"),
        ("export", "--run", "nope", "--onnx"),
        ("denoise", "--run", "nope"),
        ("denoise", "--noise", "some"),
        ("run", "--set", "=3"),
        ("run", "--name", "best"),
        ("sweep", "--trials", "0", "--window", "4"),
    ],
)
def test_a_wrong_value_is_answered_before_anything_heavy_is_loaded(home, arguments):
    code, heavy, said = loaded(home, *arguments)
    assert code == 2, said
    assert heavy == set(), said


def test_cuda_without_a_driver_is_refused_before_torch_is_loaded(home, monkeypatch):
    from pipeline.cli import options

    monkeypatch.setattr(options, "without_gpu", lambda: True)
    with pytest.raises(ConfigError, match="no driver of a GPU; use --device cpu"):
        options._checked(RunConfig().with_settings({"runtime.device": "cuda"}))


@pytest.fixture(scope="module")
def lived_in(warm_root, tmp_path_factory):
    """A home with two runs that the command made, one of them called something, and an ablation that was begun."""
    from helpers import copy_of

    home = copy_of(warm_root, tmp_path_factory.mktemp("lived-in") / "a home with spaces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVAE_PIPE_HOME", str(home.root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        api.run(quick_config())
        api.run(quick_config(train__beta=4.0), name="four", tags={"paper": "yes"}, note="is it sharper")
        keep_definition(home, AblationConfig("two-betas", quick_config(), "train.beta", (1.0, 4.0), seeds=1))
    return home


@pytest.fixture
def used(lived_in, monkeypatch):
    monkeypatch.setenv("CVAE_PIPE_HOME", str(lived_in.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lived_in


def test_an_up_to_date_run_loads_no_torch_and_no_mlflow(used, tmp_path):
    code, heavy, said = loaded(used, "run", "--config", quick_toml(tmp_path), "--json")
    assert code == 0, said
    assert not {"torch", "mlflow", "optuna", "pandas", "scipy", "matplotlib"} & heavy
    assert "train (cvae, 3 epochs): up to date" in said


def test_a_study_is_read_without_optuna():
    modules = "sweeps.finished, sweeps.planning, sweeps.reporting.verify, sweeps.reporting.documents, sweeps.stored"
    program = f"import sys, {modules}, sweeps.analysis.comparison, pipeline.cli.terminal.sweep; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "mlflow", "optuna", "sqlalchemy", "alembic", "matplotlib", "sklearn"} & {*done.stdout.split()}


def test_what_was_found_comes_before_what_comes_next_where_both_go_to_one_file():
    program = "from pipeline.cli.session import found, suggest; found('report: x'); suggest('cvae-pipe ui')"
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([sys.executable, "-c", program], text=True, check=True, **both)
    assert done.stdout == "report: x\nnext: cvae-pipe ui\n"


@pytest.mark.parametrize(
    "arguments", [("verify", "four"), ("compare", "four", "@last"), ("report", "four"), ("ls",), ("status",), ("gc",)]
)
def test_what_computes_nothing_loads_no_torch(used, arguments):
    code, heavy, said = loaded(used, *arguments)
    assert code == 0, said
    assert not {"torch", "mlflow", *({"optuna", "numpy"} if len(arguments) == 1 else ())} & heavy


# ---- one name for each thing -----------------------------------------------------------------------------------------


def test_a_name_says_what_differs_from_the_defaults_of_the_data_set():
    assert described(build_config(flags={"data.dataset": "digits"}), "test") == "digits-cvae"
    some = build_config(flags={"data.dataset": "digits", "train.epochs": 5, "model.hidden": "200"})
    assert described(some, "test") == "digits-cvae-h200-e5"
    assert described(some, "val") == "digits-cvae-h200-e5-val"
    deep = build_config(flags={"model.kind": "ae", "model.hidden": "512,256", "train.beta": 3.0})
    assert described(deep, "test") == "mnist-ae-h512x256"


def test_settings_that_a_name_does_not_spell_out_keep_names_apart():
    first, other = (build_config(flags={"judge.epochs": n}) for n in (2, 3))
    assert described(first, "test") != described(other, "test")
    assert described(first, "test").startswith("mnist-cvae-")
    seeds = {described(build_config(flags={"train.seed": 10**15 + n}), "test") for n in range(3)}
    assert len(seeds) == 3


def test_a_run_is_found_by_every_name_it_has_and_by_its_report(used, monkeypatch):
    key = find_anything(used, "four")
    page = used.reports / "four" / "report.html"
    assert page.exists()
    old = run_name(quick_config(train__beta=4.0), key)
    made = read_json(used.store.path("run", key) / "run.json")["name"]
    for text in ("fou", key, key[:16], key[:7], old, made, str(page), str(page.parent), f"{page.parent}/"):
        assert find_anything(used, text) == key, text
    monkeypatch.chdir(used.root)
    assert find_anything(used, "reports/four") == find_run_key(used, "reports/four/report.html") == key
    assert find_page(used, "four") == find_page(used, "reports/four").resolve() == find_page(used, "four").resolve()


def test_at_last_is_what_finished_last_and_at_best_is_a_run(used):
    from pipeline.runs.stored import known_runs

    runs = {run.key: run for run in known_runs(used)}
    assert runs[find_anything(used, "@last")].finished == max(run.finished for run in runs.values())
    said = []
    best = find_anything(used, "@best", said.append)
    assert best in runs
    assert said == [f"@best is {runs[best].name}: the best of all runs on digits by test scores, not one to quote"]
    chosen = find_anything(used, "best", said.append)
    assert said[1:] == [f"best is {runs[chosen].name}: the newest run, there being no study"]
    assert find(used, "two-b").kind == "ablation"


def test_what_is_ambiguous_or_unknown_is_answered_with_candidates_dates_and_what_differs(used):
    with pytest.raises(
        ConfigError, match=r"'digits' fits 2 runs; write more of one of four \(20\d\d-.*beta 4.*\), digits"
    ):
        find_anything(used, "digits")
    with pytest.raises(
        ConfigError, match=r"no study, ablation or run 'fuor'; did you mean four\?; studies are none yet"
    ):
        find(used, "fuor")


def test_a_name_that_something_else_has_is_refused(used):
    with pytest.raises(ConfigError, match="--name four is another run's: four"):
        api.run(quick_config(), name="four")
    with pytest.raises(ConfigError, match="name of ablation two-betas"):
        api.run(quick_config(), name="two-betas")
    with pytest.raises(ConfigError, match="names a folder"):
        api.run(quick_config(), name="a/b")


def test_what_is_up_to_date_is_recorded_in_another_experiment_all_the_same(used):
    from helpers import mlflow_client

    again = api.run(quick_config(), experiment="another")
    client = mlflow_client(used)
    assert client.get_run(again.run_id).info.experiment_id == client.get_experiment_by_name("another").experiment_id


def test_name_tags_and_note_are_in_mlflow_the_report_and_the_list(used, command):
    from helpers import mlflow_client

    client = mlflow_client(used)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.paper = 'yes'")
    assert [run.info.run_name for run in runs] == ["four"]
    assert "is it sharper" in runs[0].data.tags["mlflow.note.content"]
    assert "is it sharper. Tagged paper = yes." in (used.reports / "four" / "report.html").read_text()
    listed = json.loads(command("ls", "runs", "--tag", "paper=yes", "--json")[1])["runs"]
    assert [(run["name"], run["note"], run["differs"]["train.beta"]) for run in listed] == [
        ("four", "is it sharper", 4.0)
    ]
    assert listed[0]["seconds"] > 0
    out = command("ls")[1]
    assert "two-betas" in out
    assert '"is it sharper"' in out


def test_a_finished_run_takes_a_name_and_its_report_goes_along(warm_home, command):
    from helpers import mlflow_client

    first = api.run(quick_config())
    named = api.run(quick_config(), name="mine")
    assert (named.name, named.outcome.key) == ("mine", first.outcome.key)
    assert named.report.exists()
    assert not first.report.exists()
    assert find_anything(warm_home, first.name) == first.outcome.key
    assert mlflow_client(warm_home).get_run(named.run_id).info.run_name == "mine"


# ---- nothing is ignored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "--beta", "3"), ("--beta 3", "--space beta=off --set train.beta=3")),
        (("sweep", "--set", "train.beta=3"), ("beta is searched", "--space beta=off")),
        (("ablate", "--param", "beta", "--values", "1,2", "--beta", "3"), ("train.beta is what --param varies",)),
        (
            ("run", "--beta", "3", "--set", "train.beta=.5"),
            ("train.beta is given twice: --beta 3 and --set train.beta=.5",),
        ),
        (("compare", "a", "b", "--json", "--markdown"), ("two forms of one answer",)),
        (("run", "--set", "beta=3"), ("did you mean train.beta?",)),
        (("run", "--tag", "paper"), ("--tag key=value",)),
        (("ls", "things"), ("one of runs, studies, ablations",)),
        (("sweep", "--trials", "many"), ("--trials is 'many'; it must be a whole number; --help lists",)),
        (("gc", "--days", "-1"), ("--days is '-1'; it must be 0 or more",)),
        (("serve", "--port", "99999"), ("--port is '99999'; it must be 65535 or less",)),
        (("run", "--name", "best"), ("--name best means the choice of the latest study",)),
        (("sweep", "--dataset", "digits", "--name", "best"), ("--name best means the choice of the latest study",)),
    ],
)
def test_what_would_have_no_say_is_refused_in_one_line(command, home, arguments, words):
    code, out, err = command(*arguments)
    assert code == 2
    assert json.loads(out)["error"] == err.removeprefix("error: ").strip() if "--json" in arguments else out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_setting_given_twice_with_one_value_is_fine():
    from pipeline.config.reading import given_settings

    assert given_settings(sets=["train.beta=3"], flags={"train.beta": "3.0"}).keys() == {"train.beta"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dataset]\nname = 'digits'\n", "did you mean data.dataset"),
        ("lr = 0.01\n", "did you mean train.learning_rate"),
        ("[train]\nbeta = .5\n", "write 0.5 for .5"),
    ],
)
def test_a_setting_named_half_in_a_file_is_answered_with_its_name(command, home, tmp_path, text, words):
    (tmp_path / "half.toml").write_text(text)
    code, _, err = command("run", "--config", tmp_path / "half.toml")
    assert code == 2
    assert words in err


# ---- studies ---------------------------------------------------------------------------------------------------------


def test_a_study_goes_on_with_what_it_was_started_with_and_says_what_else_was_given():
    from sweeps.study.config import StudyConfig
    from sweeps.study.continuing import continued
    from sweeps.study.objective import chosen
    from sweeps.study.space import DEFAULT_SPACE

    held = StudyConfig("s1", quick_config(), DEFAULT_SPACE, chosen((), "cvae", "mixture"), window=7)
    assert continued(held) == held
    assert continued(held, {"train.epochs": 3, "data.dataset": "digits"}, window=7) == held
    assert continued(held, {"runtime.threads": 2}).base.runtime.threads == 2
    with pytest.raises(StudyError, match=r"train.epochs was 3, now 9; window was 7, now 4; .*type this"):
        continued(held, {"train.epochs": 9}, window=4, instead="type this")


def test_amounts_that_no_sweep_can_have_are_refused_before_anything_is_loaded(home):
    study = api.study(quick_config(), name="s", window=4)
    refused = {"trials": (0, "--trials is 0"), "workers": (9, "proposal window 4"), "timeout": (0, "0 minutes")}
    for option, (value, words) in refused.items():
        with pytest.raises(StudyError, match=words):
            api.sweep(study, **{option: value})
    assert not home.root.exists()


# ---- transparent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diff", [(), ("--diff",)])
def test_what_config_prints_is_a_configuration_file_that_gives_the_same(command, home, tmp_path, diff):
    given = ("--dataset", "digits", "--hidden", "64,32", "--beta", "2.5", "--set", "judge.epochs=3")
    code, out, err = command("config", *given, *diff)
    assert (code, err) == (0, "")
    (tmp_path / "printed.toml").write_text(out)
    expected = {"data.dataset": "digits", "model.hidden": "64,32", "train.beta": 2.5, "judge.epochs": 3}
    assert build_config(read_toml(tmp_path / "printed.toml")) == build_config(flags=expected)
    assert "beta = 2.5  # --beta" in out
    assert ("# preset of digits" in out) == (not diff)


def test_a_plan_says_what_is_there_and_why_the_rest_is_not_and_writes_nothing(used):
    def everything():
        return {path: path.stat().st_mtime_ns for path in used.root.rglob("*")}

    before = everything()
    assert plan_run(used, quick_config()).to_do == ()
    plan = plan_run(used, quick_config(train__epochs=6))
    why = {step.title.partition(" ")[0]: step.why for step in plan.to_do}
    assert why["train"].startswith("epochs 6, against ")
    assert "judge" not in why
    assert plan.seconds is not None
    grid = AblationConfig("two-betas", quick_config(), "train.beta", (1.0, 4.0, 8.0), seeds=1)
    assert api.plan_ablation(grid, home=used, workers=1).counts == {"finished": 2, "left": 1}
    study = api.study(quick_config(), name="none-yet", window=4, home=used)
    assert api.plan_sweep(study, trials=5, home=used, workers=1).counts == {"finished": 0, "left": 5}
    assert everything() == before


# ---- at home in a shell ----------------------------------------------------------------------------------------------


def completed(home, line: str) -> list[str]:
    """What a real bash offers for the last word of a line."""
    script = Path(sys.executable).with_name("cvae-pipe")
    source = subprocess.run(
        [script, "--show-completion", "bash"], capture_output=True, text=True, env={**os.environ, "SHELL": "/bin/bash"}
    ).stdout
    words = line.split(" ")
    program = "\n".join(
        [
            source,
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))})",
            f"COMP_CWORD={len(words) - 1}",
            "function_name=$(complete -p cvae-pipe | sed -E 's/.*-F ([^ ]+).*/\\1/')",
            "$function_name cvae-pipe",
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ]
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "CVAE_PIPE_HOME": str(home.root), "PATH": f"{script.parent}:{os.environ['PATH']}"},
    )
    return done.stdout.split()


def test_bash_completes_commands_data_sets_settings_and_names(used):
    assert {"run", "report"} <= set(completed(used, "cvae-pipe r"))
    assert completed(used, "cvae-pipe run --dataset dig") == ["digits"]
    assert "judge.epochs=" in completed(used, "cvae-pipe run --set judge.")
    assert "four" in completed(used, "cvae-pipe report fo")
    assert completed(used, "cvae-pipe compare @") == ["@best", "@last"]
    assert completed(used, "cvae-pipe rm fo") == ["four"]
    assert completed(used, "cvae-pipe sweep --sampler sobol-") == ["sobol-tpe", "sobol-gp"]
