"""The section "Copies of training images": how many samples are unusually near to one, and the nearest pairs."""

from pipeline.evaluation.thresholds import ALLOWED, NULL_SHARE, SPACES
from pipeline.reporting.blocks import Figure, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.reporting.pictures import enlarged
from pipeline.runs.outcome import Outcome

MEANT = {"pixels": "as they are", "shape": "on their centre of mass, blurred, at one contrast"}

EXPLAINED = (
    " A model that knows no image by heart comes as near to held-out ones: explained is what these let expect, scaled "
    "to the number of training images."
)


def copying_section(outcome: Outcome) -> Section:
    """The section; empty for a run that has no samples, or is older than the stage."""
    if outcome.copies is None:
        return Section("Copies of training images", ())
    facts = outcome.facts["copying"]
    classes = len(facts["spaces"]["pixels"]["per_class"])
    controlled = _controlled(outcome)
    rows = []
    for space in SPACES:
        at = f"facts/copying/spaces/{space}"
        share = cited(outcome, f"{at}/share", form=".1%")
        low, high = (cited(outcome, f"{at}/interval/{end}", form=".1%") for end in (0, 1))
        explained = (cited(outcome, f"{at}/explained", form=".1%"),) if controlled else ()
        worst = (cited(outcome, f"{at}/per_class/max", form=".1%"),) if classes > 1 else ()
        rows.append((f"{space}: images {MEANT[space]}", Phrase(share, " [", low, ", ", high, "]"), *worst, *explained))
    of = "its class" if classes > 1 else "the training images"
    return Section(
        "Copies of training images",
        (
            Text(_sentence(outcome)),
            Table(
                (
                    "compared",
                    "unusually near [95 %]",
                    *(("in the worst class",) if classes > 1 else ()),
                    *(("explained",) if controlled else ()),
                ),
                tuple(rows),
                caption=(
                    f"Share of samples nearer to a training image of {of} than {1 - NULL_SHARE:.0%} of "
                    f"{facts['held_out']:,} held-out images are, each distance over that training image's own to the "
                    f"nearest other. Held-out images have {NULL_SHARE:.0%}; up to {ALLOWED:.0%} is allowed, since "
                    "a model draws where training images are dense." + (EXPLAINED if controlled else "")
                ),
                highlight=frozenset(i for i, space in enumerate(SPACES) if facts["spaces"][space]["flagged"]),
            ),
            Figure(
                "nearest-pairs",
                enlarged(outcome.copies, 600),
                "The samples nearest to a training image, and these training images below them",
                f"above: the {len(facts['nearness'])} samples nearest to a training image, in shape; below: that image",
            ),
        ),
    )


def _sentence(outcome: Outcome) -> Phrase:
    """Whether the model copies, in a sentence."""
    share = cited(outcome, f"facts/copying/spaces/{_larger(outcome)}/share", form=".1%")
    if outcome.scores["data_copying_flagged"]:
        return Phrase(
            "It may copy training images: ",
            share,
            " of its samples are unusually near to one, over all or in a class. Copies look like their training image "
            "below; smooth samples lie near to one as well"
            + (", and to held-out images: the table has what that explains." if _controlled(outcome) else "."),
        )
    if any(space.get("near") for space in outcome.facts["copying"]["spaces"].values()):
        return Phrase(
            "No sign of copying: ",
            share,
            " of its samples are unusually near to a training image, but they come as near to held-out images: it "
            "draws where images are dense.",
        )
    return Phrase("No sign of copying: ", share, " of its samples are unusually near to a training image.")


def _controlled(outcome: Outcome) -> bool:
    """Whether samples were held against held-out images, too: runs of before were not."""
    return "explained" in outcome.facts["copying"]["spaces"]["pixels"]


def _larger(outcome: Outcome) -> str:
    """The space in which more samples are near."""
    spaces = outcome.facts["copying"]["spaces"]
    return max(SPACES, key=lambda space: spaces[space]["share"])
