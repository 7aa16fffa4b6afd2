"""Where to look in MLflow's interface: addresses by what they show, sorted by a metric of the catalog."""

from pipeline.errors import ConfigError
from pipeline.evaluation.catalog import METRICS
from pipeline.store.home import Home
from pipeline.tracking import ui_base, ui_links


def links(
    home: Home, experiment: str, *, port: int = 5055, study: str | None = None, metric: str | None = None
) -> dict[str, str]:
    """Deep links by what they show; the first is the whole interface. Nothing needs to be running."""
    base = ui_base(home, port=port)
    key = metric_key(metric) if metric else ""
    ascending = not key or METRICS[key.partition("/")[2]].better != "higher"
    return {"all": base} | ui_links(home, experiment, base, study=study, metric=key, ascending=ascending)


def metric_key(name: str) -> str:
    """`val/neg_elbo` as it is, `neg_elbo` as val/neg_elbo; ConfigError for what is measured nowhere."""
    split, _, quantity = name.rpartition("/")
    if quantity not in METRICS or split not in ("", "train", "val", "test"):
        raise ConfigError(f"--metric is {name!r}; it must be one of {', '.join(METRICS)}, or e.g. test/neg_elbo")
    return f"{split or 'val'}/{quantity}"
