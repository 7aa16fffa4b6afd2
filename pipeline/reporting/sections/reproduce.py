"""The section "Reproduce": the command that repeats something, and what identifies the data, judges and code."""

from pipeline.environment import environment_text
from pipeline.reporting.blocks import Block, Code, Section, Table
from pipeline.runs.outcome import Outcome
from pipeline.store.store import KEY_LENGTH


def reproduce_section(command: str, outcome: Outcome | None, *more: Block) -> Section:
    """A command, what identifies its results by one of them (None: there is none yet), and whatever else it takes."""
    return Section("Reproduce", (Code(command, "sh"), *([_identity(outcome)] if outcome else []), *more))


def _identity(outcome: Outcome) -> Table:
    """What identifies a run, its data, judges and code, and what this report was written with."""
    facts = [("run key", outcome.key[:KEY_LENGTH]), ("data SHA-256", outcome.facts["source_sha256"])]
    facts += [("images", note) for note in outcome.facts.get("notes", ())]
    if "judge_sha256" in outcome.facts:
        facts.append(("judge A weights SHA-256", outcome.facts["judge_sha256"]))
    facts.append(("code", outcome.facts.get("code", "not recorded")))
    shown = ("python", "torch", "mlflow", "optuna")
    versions = [line for line in environment_text().splitlines() if line.partition(" ")[0] in shown]
    facts.append(("written with", ", ".join(versions)))
    return Table(("what", "which"), tuple(facts))
