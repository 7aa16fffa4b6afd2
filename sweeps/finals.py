"""What follows the search: candidates re-trained and scored on validation, then the one chosen among them on test.

The summary says which candidates there are, from what is in the store; whatever is there is not done again. A training
is one training on whichever split it is opened.
"""

from pipeline.config.settings import RunConfig
from sweeps.analysis.summary import Summary, summarise
from sweeps.record import FINAL, RETRAINED, final_title, retraining_title
from sweeps.study.ledger import Ledger
from sweeps.tracked import OnState, TrackedJobs


def retrain(jobs: TrackedJobs, ledger: Ledger, on_state: OnState) -> None:
    """Everything that the choice and its test scores still lack, in at most three rounds: the trial named first, which
    measures the noise; those that noise cannot tell from it; the chosen one on test."""

    def summary() -> Summary:
        return summarise(jobs.ctx.home, ledger.study, ledger.config)

    now = summary()
    if now.chosen is None or not now.closing.final_seeds:
        return
    while now.choice and (unknown := [n for n in now.choice.candidates if n not in now.retrained]):
        configs: dict[str, RunConfig] = {}
        for number in unknown:
            for config in now.final_configs(number, "val"):
                if config not in configs.values():  # two trials of equal settings are one configuration
                    configs[retraining_title(number, config.train.seed)] = config
        jobs.run_all(configs, "val", {RETRAINED: "true"}, on_state)
        now = summary()
    assert now.chosen is not None
    finals = {final_title(config.train.seed): config for config in now.final_configs(now.chosen, "test")}
    jobs.run_all(finals, "test", {FINAL: "true"}, on_state)
