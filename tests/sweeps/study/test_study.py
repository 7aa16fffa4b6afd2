"""Proposals as a pure function of results; the ledger in real SQLite files. Nothing is trained here."""

import dataclasses
import math
import random
import re
import subprocess
import sys

import optuna
import pytest
from optuna.trial import FixedTrial, TrialState, create_trial

from pipeline.config.reading import build_config
from pipeline.config.sections import SamplingConfig
from pipeline.config.settings import BEFORE_ADDED, RunConfig
from pipeline.errors import HomeError, StudyError
from sweeps.study.config import SPEC, StudyConfig, stored_config
from sweeps.study.dependence import check_searched
from sweeps.study.ledger import Ledger, load_study, recorded_studies
from sweeps.study.objective import OBJECTIVES, chosen
from sweeps.study.proposals import Proposals
from sweeps.study.reading import held_config
from sweeps.study.space import DEFAULT_SPACE, build_space

BASE = build_config(flags={"data.dataset": "digits", "train.epochs": 5})
TWO = StudyConfig(
    "two", BASE, DEFAULT_SPACE, chosen(("conditional_accuracy", "neg_elbo"), "cvae", "standard"), window=4
)
ONE = StudyConfig("one", BASE, DEFAULT_SPACE, chosen(("neg_elbo",), "cvae", "standard"), window=4)


# ---------------------------------------------------------------------------------- proposals, simulated in memory


def result_of(config: StudyConfig, n: int, params: dict):
    """A closed form in place of a training; every seventh trial fails, and of the others every fifth is stopped."""
    shared = {"params": params, "distributions": config.distributions}
    if n % 7 == 3:
        return create_trial(state=TrialState.FAIL, **shared)
    if n % 5 == 4:
        return create_trial(state=TrialState.PRUNED, **shared)
    beta, rate = math.log(params["beta"]), math.log(params["learning_rate"])
    neg_elbo = 100 + beta**2 + (rate + 7) ** 2 + abs(params["latent_dim"] - 16) / 8
    values = {"neg_elbo": neg_elbo, "conditional_accuracy": 0.9 + 0.02 * beta}
    return create_trial(values=[values[o.name] for o in config.objectives], **shared)


class Simulation:
    """A sweep without trainings: proposals are asked for in turn, and results come back in any order."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.asked: list[dict] = []
        self.results: dict[int, optuna.trial.FrozenTrial] = {}
        self.running: list[int] = []
        self.most_running = 0

    def go(self, trials: int, workers: int, order: random.Random, *, die_after: int | None = None) -> None:
        """Run until `trials` have been asked and told, or die after that many results, losing all but the ledger."""
        proposals = Proposals(self.config)
        for n, params in enumerate(self.asked):
            proposals.replay(n, params, self.results)
        told = 0
        while len(self.results) < trials:
            while len(self.running) < workers and len(self.asked) < trials:
                params = proposals.propose(len(self.asked), self.results)
                if params is None:
                    break
                self.running.append(len(self.asked))
                self.asked.append(params)
            self.most_running = max(self.most_running, len(self.running))
            n = self.running.pop(order.randrange(len(self.running)))
            self.results[n] = result_of(self.config, n, self.asked[n])
            told += 1
            if told == die_after:
                return


@pytest.fixture(
    scope="module",
    params=[TWO, ONE, dataclasses.replace(TWO, memory=12)],
    ids=["two objectives", "one objective", "two objectives and a short memory"],
)
def alone(request):
    """30 trials by one worker, one after the other."""
    simulation = Simulation(request.param)
    simulation.go(30, workers=1, order=random.Random(0))
    return simulation


@pytest.mark.parametrize("workers", [3, 4])
def test_workers_that_finish_in_any_order_are_given_the_same_trials(alone, workers):
    for seed in (1, 2):
        several = Simulation(alone.config)
        several.go(30, workers, random.Random(seed))
        assert several.most_running == workers
        assert several.asked == alone.asked


def test_interruptions_change_no_proposal(alone):
    interrupted, order = Simulation(alone.config), random.Random(3)
    interrupted.go(30, 4, order, die_after=5)
    assert interrupted.running
    interrupted.go(30, 2, order, die_after=1)
    interrupted.go(30, 3, order, die_after=11)
    interrupted.go(30, 4, order)
    assert interrupted.asked == alone.asked


def test_a_study_of_10_made_longer_to_30_is_a_study_of_30(alone):
    longer = Simulation(alone.config)
    longer.go(10, 4, random.Random(4))
    longer.go(30, 2, random.Random(5))
    assert longer.asked == alone.asked


def test_proposals_depend_on_results_and_on_the_study_seed(alone):
    assert len({tuple(p.items()) for p in alone.asked}) == 30
    other = Simulation(dataclasses.replace(alone.config, seed=1))
    other.go(12, 1, random.Random(0))
    assert all(a != b for a, b in zip(alone.asked, other.asked, strict=False))
    # TPE samples at random until ten trials are told; from then on a single other result must make a difference.
    moved = Proposals(alone.config)
    results = dict(alone.results)
    for n in (0, 1, 2):
        results[n] = create_trial(
            values=[0.0] * len(alone.config.objectives),
            params=alone.asked[n],
            distributions=alone.config.distributions,
        )
    proposals = [moved.propose(n, results) for n in range(30)]
    assert proposals[:10] == alone.asked[:10]
    assert proposals != alone.asked


def test_a_memory_changes_no_proposal_before_it_is_full_and_keeps_what_it_holds_small():
    whole, short = Simulation(TWO), Simulation(dataclasses.replace(TWO, memory=16))
    for simulation in (whole, short):
        simulation.go(60, 1, random.Random(0))
    first = 16 + TWO.window - 1
    assert short.asked[:first] == whole.asked[:first]
    assert short.asked != whole.asked
    proposals = Proposals(short.config)
    for n, params in enumerate(short.asked):
        proposals.replay(n, params, short.results)
        assert len(proposals._study.get_trials(deepcopy=False)) < 16 + TWO.window


def test_what_is_remembered_is_the_front_and_the_latest():
    config = dataclasses.replace(ONE, memory=8, window=1)
    proposals, results = Proposals(config), {}
    for n in range(9):
        params = proposals.propose(n, results)
        results[n] = create_trial(
            values=[50.0 if n == 1 else 100.0 + n], params=params, distributions=config.distributions
        )
    known = [trial.values[0] for trial in proposals._study.get_trials(deepcopy=False) if trial.values]
    assert known == [50.0, 105.0, 106.0, 107.0]


@pytest.mark.parametrize("config", [TWO, ONE])
def test_trial_n_waits_for_the_result_of_trial_n_minus_w_and_for_no_later_one(config):
    proposals, results = Proposals(config), {}
    asked = [proposals.propose(n, results) for n in range(4)]
    assert proposals.propose(4, results) is None
    for n in (1, 2, 3):  # not the one that is waited for
        results[n] = result_of(config, n, asked[n])
    assert proposals.propose(4, results) is None
    results[0] = result_of(config, 0, asked[0])
    asked.append(proposals.propose(4, results))
    assert asked[4] is not None


def test_a_window_of_one_goes_strictly_one_by_one():
    config = dataclasses.replace(TWO, window=1)
    proposals = Proposals(config)
    first = proposals.propose(0, {})
    assert proposals.propose(1, {}) is None
    assert proposals.propose(1, {0: result_of(config, 0, first)}) is not None


def test_a_trials_training_seed_depends_on_study_seed_and_number_alone():
    trial = optuna.trial.FixedTrial({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3})
    seeds = [TWO.trial_config(n, trial).train.seed for n in range(100)]
    assert len(set(seeds)) == 100
    assert (
        seeds[5]
        == dataclasses.replace(TWO, base=BASE.with_settings({"train.seed": 9})).trial_config(5, trial).train.seed
    )
    assert seeds[5] != dataclasses.replace(TWO, seed=1).trial_config(5, trial).train.seed


# ---------------------------------------------------------------------------------------------------- the ledger


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A home with study `one`, its driver dead: trials 0 to 3 are complete, stopped, failed and running."""
    from pipeline.store.home import Home

    home = Home(tmp_path_factory.mktemp("ledger"), tmp_path_factory.mktemp("data"))
    ledger = Ledger(home, ONE)
    asked = [Proposals(ONE).propose(0, {})] * 4
    trials = [ledger.begin(params) for params in asked]
    ledger.note(trials[1], rungs={"1": [200.25]})
    ledger.note(trials[0], run_key="abc", metrics={"val/neg_elbo": 101.5})
    ledger.tell(trials[0], [101.5])
    ledger.note(trials[1], reason="stopped")
    ledger.tell(trials[1], state=TrialState.PRUNED)
    ledger.tell(trials[2], state=TrialState.FAIL)
    ledger.close()
    return home, asked[0]


def test_a_dead_drivers_trials_are_all_there_and_the_running_one_has_its_params(kept):
    home, params = kept
    ledger = Ledger(home, ONE)
    try:
        states = [t.state.name for t in ledger.trials]
        assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
        assert all(t.params == params for t in ledger.trials)  # to the last bit, through SQLite
        assert type(ledger.trials[3].params["latent_dim"]) is int
        assert ledger.trials[0].values == [101.5]
        assert ledger.trials[0].user_attrs == {"run_key": "abc", "metrics": {"val/neg_elbo": 101.5}}
        assert ledger.trials[1].user_attrs["rungs"] == {"1": [200.25]}
    finally:
        ledger.close()


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"space": build_space(entries=["beta=0.5:4"])}, "space.beta was 0.1 .. 10 log, now 0.5 .. 4 log"),
        ({"space": build_space(entries=["beta=0.1:10:linear"])}, "space.beta was 0.1 .. 10 log, now 0.1 .. 10;"),
        ({"space": DEFAULT_SPACE[:2]}, r"space.learning_rate was .*, now absent; train.learning_rate was absent, now"),
        ({"base": BASE.with_settings({"data.dataset": "mnist"})}, "data.dataset was digits, now mnist"),
        ({"base": BASE.with_settings({"train.epochs": 6})}, "train.epochs was 5, now 6"),
        ({"base": BASE.with_settings({"judge.epochs": 1})}, "judge.epochs was 40, now 1"),
        (
            {"objectives": chosen((), "cvae", "standard"), "pruner": "none"},
            "eta was 3, now absent; objectives was neg_elbo, now conditional_accuracy, coverage_relative, neg_elbo; "
            "pruner was pareto, now none",
        ),
        ({"objectives": (OBJECTIVES["conditional_accuracy"],)}, "objectives was neg_elbo, now conditional_accuracy"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"window": 5}, "window was 4, now 5"),
        ({"pruner": "none"}, "eta was 3, now absent; pruner was pareto, now none; rungs was 1, 2, now absent"),
        ({"eta": 2}, "eta was 3, now 2; repeat"),
        ({"first_rung": 2}, "rungs was 1, 2, now 2"),
    ],
)
def test_a_resumed_study_with_other_settings_is_refused_and_the_difference_shown(kept, change, shown):
    with pytest.raises(StudyError, match=f"study one was started with other settings: {shown}") as error:
        Ledger(kept[0], dataclasses.replace(ONE, **change))
    assert "repeat the old ones to resume it, or choose another --name" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_from_before_a_setting_was_added_is_resumed_with_what_was_done_then(home):
    constant = dataclasses.replace(ONE, base=BASE.with_settings({"train.schedule": "constant"}))
    ledger = Ledger(home, constant)
    ledger.begin({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3})
    ledger.study.set_user_attr(SPEC, {k: v for k, v in constant.spec().items() if k != "train.schedule"})
    ledger.close()
    Ledger(home, constant).close()
    with pytest.raises(StudyError, match=r"train\.schedule was constant, now cosine"):
        Ledger(home, ONE)


def test_a_refused_resumption_leaves_the_study_free(kept):
    try:
        Ledger(kept[0], dataclasses.replace(ONE, seed=1))
    except StudyError as error:
        refused = error  # whose traceback keeps every local of the refused attempt alive
        Ledger(kept[0], ONE).close()
    assert "seed was 0, now 1" in str(refused)


def test_where_it_runs_what_the_gates_are_and_the_seed_of_the_finals_may_change(kept):
    base = BASE.with_settings({"runtime.device": "cpu", "gates.clean": 0.5, "train.seed": 7})
    Ledger(kept[0], dataclasses.replace(ONE, base=base)).close()


def test_a_second_driver_is_refused_at_once(kept):
    ledger = Ledger(kept[0], ONE)
    try:
        with pytest.raises(HomeError, match="study one is being driven by another process; wait for it, or choose"):
            Ledger(kept[0], ONE)
        Ledger(kept[0], TWO).close()  # another study is nobody's business
    finally:
        ledger.close()
    Ledger(kept[0], ONE).close()


def test_a_study_without_trials_binds_nobody(home):
    # A first command that fails on its data set, or has a typo, must not decide what the second may say.
    Ledger(home, TWO).close()
    corrected = dataclasses.replace(ONE, name="two")
    ledger = Ledger(home, corrected)
    ledger.begin({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3})
    ledger.close()
    assert stored_config(load_study(home, "two")) == corrected
    assert [d.name for d in load_study(home, "two").directions] == ["MINIMIZE"]


def test_the_ledger_rebuilds_the_configuration_of_its_study(kept):
    assert stored_config(load_study(kept[0], "one")) == ONE
    with pytest.raises(StudyError, match=r"there is no study 'three'; studies are .*one"):
        load_study(kept[0], "three")


def test_a_fresh_database_may_be_opened_by_three_processes_at_once(home):
    program = (
        "import sys; from pipeline.config.settings import RunConfig; from pipeline.store.home import Home\n"
        "from sweeps.study.objective import chosen; from sweeps.study.space import DEFAULT_SPACE\n"
        "from sweeps.study.config import StudyConfig; from sweeps.study.ledger import Ledger\n"
        "config = StudyConfig(sys.argv[1], RunConfig(), DEFAULT_SPACE, chosen((), 'cvae', 'mixture'))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "ledger = Ledger(Home.from_environment(), config)\n"
        "ledger.begin({'beta': 1.0, 'latent_dim': 4, 'learning_rate': 1e-3})\n"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, f"study {i}"], **pipes) for i in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # imports are done: now all at once
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert recorded_studies(home) == ["study 0", "study 1", "study 2"]
    assert all(len(load_study(home, name).trials) == 1 for name in recorded_studies(home))


def test_a_database_is_not_there_before_it_is_whole(home, monkeypatch):
    """Who lists studies while the first one begins would otherwise meet half of its tables, and make the other half."""
    seen: list[bool] = []

    class Watched(optuna.storages.RDBStorage):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            seen.append((home.mlruns / "optuna.db").exists())

    (home.mlruns / "optuna.db.new").parent.mkdir(parents=True, exist_ok=True)
    (home.mlruns / "optuna.db.new").write_bytes(b"of a process that was killed")
    monkeypatch.setattr(optuna.storages, "RDBStorage", Watched)
    ledger = Ledger(home, ONE)
    ledger.close()
    assert seen[0] is False
    assert recorded_studies(home) == ["one"]
    assert not (home.mlruns / "optuna.db.new").exists()


def test_a_trial_is_ended_with_its_facts_once(home):
    ledger = Ledger(home, TWO)
    try:
        trials = [ledger.begin({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3}) for _ in range(3)]
        told = ledger.tell(trials[0], [0.9, math.inf], run_key="abc", metrics={"val/kl": math.nan})
        failed = ledger.tell(trials[1], [math.nan, 99.0], reason="no number")
        for now in (told, failed):
            kept = ledger.trial(now.number)
            assert (kept.state, kept.values, kept.params) == (now.state, now.values, now.params)
            assert kept.user_attrs.keys() == now.user_attrs.keys()
        assert (told.state, told.values) == (TrialState.COMPLETE, [0.9, math.inf])
        assert (failed.state, failed.values) == (TrialState.FAIL, None)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            ledger.tell(trials[0], [0.1, 120.0], run_key="another")
        assert ledger.trial(0).user_attrs["run_key"] == "abc"
        ledger.note(trials[2], rungs={"1": [0.5]})
        ledger.note(trials[2], rungs={"1": [0.5], "3": [0.6]})
        assert ledger.trial(2).user_attrs == {"rungs": {"1": [0.5], "3": [0.6]}}
    finally:
        ledger.close()


def test_a_trial_is_written_whole_or_not_at_all(home):
    """Whatever statement the process dies at, the ledger holds every param of a trial or none of it."""
    from sqlalchemy import event

    ledger = Ledger(home, TWO)
    engine = ledger.study._storage._backend.engine
    params = {"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3}
    statements, die_at = 0, math.inf

    def count(*_):
        nonlocal statements
        statements += 1
        if statements > die_at:
            raise RuntimeError("the power is out")

    event.listen(engine, "before_cursor_execute", count)
    ledger.begin(params)
    needed = statements
    assert needed > 5
    deaths, reader = 0, load_study(home, "two")
    for k in range(needed):
        statements, die_at = 0, k
        try:
            ledger.begin(params)
        except RuntimeError:
            deaths += 1
        statements, die_at = 0, math.inf
        assert all(t.params == params and t.state == TrialState.RUNNING for t in reader.trials)
    assert deaths > 5
    ledger.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "--window is 0; it must be 1 or more"),
        ({"pruner": "best"}, "unknown pruner best; pruners are pareto, none"),
        ({"eta": 1}, "--eta is 1; it must be 2 or more"),
        ({"first_rung": 0}, "--first-rung is 0; it must be 1 or more and below the 5 epochs of a trial"),
        ({"first_rung": 5}, "--first-rung is 5; it must be 1 or more and below the 5 epochs of a trial"),
        (
            {"space": build_space({}, ["likelihood=bernoulli|gaussian"])},
            "--space likelihood cannot be searched for objective .*neg_elbo.*: nats of two likelihoods",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_with_one_clear_line(change, message):
    with pytest.raises(StudyError, match=message) as error:
        dataclasses.replace(TWO, **change)
    assert "\n" not in str(error.value)


def test_architectures_priors_and_likelihoods_are_searched_as_values():
    entries = ["arch=mlp|conv", "conv_channels=8|8,16", "learned_prior=false|true", "likelihood=bernoulli|gaussian"]
    free = chosen(("conditional_accuracy", "coverage_relative"), "cvae", "standard")
    study = dataclasses.replace(TWO, space=build_space({}, entries), objectives=free)
    values = {"arch": "conv", "conv_channels": "8,16", "learned_prior": "true", "likelihood": "gaussian"}
    trial = create_trial(
        params=values | {d.name: d.at(0.5) for d in DEFAULT_SPACE}, distributions=study.distributions, values=[0, 0]
    )
    model = study.trial_config(0, FixedTrial(trial.params)).model
    assert (model.arch, model.conv_channels) == ("conv", (8, 16))
    assert (model.learned_prior, model.likelihood) == (True, "gaussian")


def searching(*entries: str, objectives=("neg_elbo_expost",), **flags) -> StudyConfig:
    base = BASE.with_settings(flags)
    asked = chosen(objectives, base.model.kind, base.sampling.prior)
    return StudyConfig("searching", base, build_space({}, entries), asked)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (
            searching("conv_channels=8|16"),
            "--space conv_channels makes no difference: it is for arch conv, and arch is mlp in every trial; "
            "set it by --set model.arch=conv, or search it too",
        ),
        (searching("learned_prior=false|true", **{"model.kind": "vae"}), "it is for kind cvae, and kind is vae"),
        (searching("condition_encoder=false|true", **{"model.kind": "vae"}), "it is for kind cvae, and kind is vae"),
        (searching("components=1:9", **{"sampling.prior": "gaussian"}), "it is for prior mixture, and prior is gauss"),
        (
            searching("prior=gaussian|mixture", objectives=("neg_elbo",)),
            "--space prior makes no difference to neg_elbo: they are of z from N",
        ),
        (searching("kind=vae|ae"), "an ae has neither a prior to sample from nor an ELBO"),
        (
            searching("kind=vae|cvae", objectives=("conditional_accuracy", "neg_elbo")),
            "--space kind cannot be searched for objective conditional_accuracy: a vae takes no label",
        ),
    ],
)
def test_a_search_that_makes_no_difference_or_cannot_be_scored_is_refused(study, message):
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        check_searched(study)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "study",
    [
        searching("arch=mlp|conv", "conv_channels=8|16", "learned_prior=false|true", "free_bits=0:0.2:linear"),
        searching("prior=gaussian|mixture", "components=1:9"),
        searching("prior=gaussian|mixture", objectives=("conditional_accuracy", "neg_elbo_expost")),
        searching("kind=vae|cvae"),
        searching("kind=vae|cvae", "learned_prior=false|true"),
    ],
)
def test_a_search_in_which_some_trial_feels_every_setting_is_taken(study):
    check_searched(study)


def test_the_fitted_prior_of_a_trial_is_the_one_that_it_was_given():
    study = searching("prior=gaussian|mixture", "components=1:9")
    params = {"prior": "gaussian", "components": 3, **{d.name: d.at(0.5) for d in DEFAULT_SPACE}}
    assert study.stored_trial_config(0, params).sampling == SamplingConfig(prior="gaussian", components=3)


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_study_from_before_there_were_rungs_trains_every_trial_to_its_end(home, pruner):
    ledger = Ledger(home, dataclasses.replace(ONE, pruner="none"))
    held = ledger.study.user_attrs["definition"]
    old = {name: value for name, value in held.items() if name not in ("eta", "first_rung")}
    ledger.study.set_user_attr("definition", old | {"pruner": pruner})
    ledger.begin({"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3})
    ledger.close()
    assert stored_config(load_study(home, "one")) == dataclasses.replace(ONE, pruner="none")
    assert held_config(home, "one").rungs == ()
    Ledger(home, dataclasses.replace(ONE, pruner="none")).close()  # and goes on


def test_rungs_are_below_the_most_epochs_that_a_trial_can_have():
    assert ONE.rungs == (1, 2)
    searched = dataclasses.replace(ONE, space=build_space(entries=["epochs=10:60"]))
    assert searched.rungs == (7, 20)
    assert dataclasses.replace(searched, pruner="none").rungs == ()


def test_the_default_space_fits_every_base_configuration():
    assert {d.setting for d in DEFAULT_SPACE} <= set(RunConfig().flat())


def test_a_study_from_before_a_setting_was_added_goes_on_whatever_the_type_of_the_setting(home):
    config = dataclasses.replace(ONE, name="older")
    ledger = Ledger(home, config)
    spec = ledger.study.user_attrs[SPEC]
    added = [name for name in spec if name in BEFORE_ADDED and spec[name] == _as_json(BEFORE_ADDED[name])]
    assert any(isinstance(BEFORE_ADDED[name], tuple) for name in added)
    ledger.study.set_user_attr(SPEC, {name: value for name, value in spec.items() if name not in added})
    ledger.begin({d.name: d.typed(d.ends[0]) for d in config.space})
    ledger.close()
    Ledger(home, config).close()


def _as_json(value):
    return list(value) if isinstance(value, tuple) else value
