"""Which trained models were opened on the test images of a data set: written down once, before their first number.

No stage: nothing is computed. A report says from this record, not from good intentions, how often test was looked at.
"""

from pathlib import Path

from pipeline.config.digests import digest
from pipeline.config.settings import RunConfig
from pipeline.stages.context import Context
from pipeline.stages.graph import PREPARE, TRAIN
from pipeline.store.files import read_json, write_json

NAME = "opened"


def opened(ctx: Context) -> int:
    """Record that the model is opened on test; the how many-th of its data set and split it is in this home, from 1."""
    config, store = ctx.config, ctx.home.store
    data = PREPARE.key(config)

    def make(work: Path) -> None:
        others = [read_json(store.path(NAME, key) / "opened.json") for key in store.keys(NAME)]
        number = 1 + sum(other["data"] == data for other in others)
        write_json(work / "opened.json", {"data": data, "model": TRAIN.key(config), "number": number})

    with store.lock(NAME):  # one after the other, so that each has a number of its own
        folder, _ = store.build(NAME, opened_key(config), make)
    return int(read_json(folder / "opened.json")["number"])


def opened_key(config: RunConfig) -> str:
    """The key of the record in the store."""
    return digest(NAME, PREPARE.key(config), TRAIN.key(config))
