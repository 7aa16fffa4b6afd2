"""Every word of the reports in two sentences: metrics, symbols, stages, terms. docs/GLOSSARY.md is made of it.

A metric's first sentence is its row of the catalog, so that the two cannot say two things.
"""

import re

from pipeline.evaluation.catalog import METRICS, Metric

BETTER = {
    "higher": "Higher is better",
    "lower": "Lower is better",
    "": "It is no score: neither higher nor lower is better in itself",
}
UNITS = {
    "share": "a share between 0 and 1",
    "nats/image": "in nats per image, summed over pixels or latent dimensions",
    "nats": "in nats; one nat is 1.44 bits",
    "images": "in images",
    "dimensions": "a number of latent dimensions",
    "0 or 1": "1 is yes, 0 is no",
}

SYMBOLS = {
    "N(0, I)": (
        "The standard normal distribution: independent numbers of mean 0 and deviation 1. The prior that a VAE is "
        "trained against, though its codes do not fill it."
    ),
    "beta": (
        "The weight of the KL term in the loss that is trained on. 1 gives the ELBO; above it codes are pushed "
        "towards N(0, I) harder, below it less."
    ),
    "c": (
        "The condition: the class that an image is of, given to encoder and decoder of a cvae. Asking for c and "
        "getting an image that reads as c is what conditional accuracy measures."
    ),
    "p(z|c)": (
        "The prior: what z is drawn from when images are generated. N(0, I), or a density fitted after training "
        "to the codes of each class."
    ),
    "q(z|x,c)": (
        "The encoder: the distribution of codes of an image. Its mean and its spread per latent dimension are "
        "what the network puts out."
    ),
    "x": "An image, as pixels between 0 and 1. A model is asked how likely it is, and draws new ones.",
    "z": (
        "The latent code of an image: a handful of numbers that the encoder makes of it and the decoder draws "
        "from. It is random: an image has a distribution of codes, not one."
    ),
}
TERMS = {
    "ablation": (
        "One setting is varied over several values, everything else held, each value trained from several seeds. "
        "It says what the setting does, where a search only says what goes along with it."
    ),
    "audit": (
        "The secondary suite of scores, minutes of work, for models that are reported. Likelihood bound, "
        "diversity, health of the latent code, a classifier trained on generated images."
    ),
    "blur_1": (
        "A judge's accuracy on real test images blurred with a deviation of one pixel at 28 x 28. VAEs draw "
        "blurred images, so that a judge that misreads blur would blame the wrong thing."
    ),
    "blur_1_5": (
        "A judge's accuracy on real test images blurred with a deviation of one and a half pixels at 28 x 28. The "
        "blur of a typical VAE."
    ),
    "blur_2": (
        "A judge's accuracy on real test images blurred with a deviation of two pixels at 28 x 28. More blur than "
        "a trained VAE has."
    ),
    "calibration": (
        "How a judge reads real images that are blurred more and more, and what real images themselves score. It "
        "says how far a score is from what could be reached."
    ),
    "caution": (
        "A sentence above the numbers that says where a good score means little. That a model copies, ignores z, "
        "or was not done training makes no number wrong, but what people take from it."
    ),
    "choice": (
        "The configuration a study ends with: the trial nearest to the front's own best on every axis, or the "
        "likeliest that keeps the bounds asked for. Where noise cannot tell several apart, re-training decides."
    ),
    "clean": "A judge's accuracy on real test images as they are. The ceiling of conditional accuracy.",
    "ece": (
        "Expected calibration error: how far a judge's confidence is from its hit rate, averaged over images. 0 "
        "is exact; .01 is a judge that is right in 99 % of the cases in which it says 98 or 100 %."
    ),
    "expost": (
        "With z from the density that was fitted after training to the codes of all training images, class by "
        "class. Numbers without it are of N(0, I)."
    ),
    "final": (
        "The chosen configuration trained anew from a seed and opened on test. Several finals say how much a "
        "training seed matters."
    ),
    "front": (
        "The Pareto front: the trials that no other beats in every objective at once. Which of them is best "
        "depends on what is wanted, and a rule has to choose."
    ),
    "gate": (
        "What a judge must reach on real test images before its readings count: accuracy on clean and on blurred "
        "ones, and calibration. A judge below its gate is refused, or flagged where a data set is too small to "
        "reach it."
    ),
    "hypervolume": (
        "The volume of objective values that a front dominates, each axis on its physical range. One number for "
        "how much of everything a search has reached."
    ),
    "inside": (
        "What the model does inside, on test images: which latent dimensions are used, where codes lie, what lies "
        "between two of them. Pictures to understand by; no score depends on them."
    ),
    "judge": (
        "A classifier that reads generated images, trained on real ones. Judge A, a CNN, drives every score; "
        "judge B, of another kind, is held out, so that what only flatters A is seen."
    ),
    "panel": (
        "Judges of several seeds that read one model. What differs between them is the error of the instrument, "
        "and belongs into the interval."
    ),
    "rung": (
        "An epoch at which a trial is compared with those before it and goes on only if it is among the best. "
        "Early stopping by successive halving: most of the time goes to trials that promise something."
    ),
    "seed": (
        "The number that all randomness of a training follows from: first weights, order of images, drawn codes. "
        "Two seeds are two trainings of one configuration, and their difference is noise."
    ),
    "study": (
        "A sweep as a thing: its settings, its search space and all its trials, kept in a ledger. It can be made "
        "longer, never changed."
    ),
    "test": (
        "The test split: images that neither training nor search sees. What is reported is measured on it, and "
        "how often it was opened is counted."
    ),
    "trial": (
        "One configuration that a sweep has tried, with one training seed, scored on validation images. It never "
        "sees test."
    ),
    "val": "The validation split: images that no training sees and every search does. Choices are made on it.",
}
STAGES = {
    "denoise": (
        "Noise taken out of test images by the model, beside a Gaussian filter that was given its best width. Made "
        "when it is asked for; no score depends on it."
    ),
    "anomalies": (
        "A model trained without one class, and how much stranger it finds that class than the others. Made when it is "
        "asked for; no score depends on it."
    ),
    "copying": (
        "Looks for samples that are unusually near to a training image. In pixels and in shape, class by class."
    ),
    "evaluate": "Measures bce, kl and neg_elbo of a model on a split. The likelihood side of the scores.",
    "prepare": ("Gets a data set, checks it and splits it into train, val and test. Every other stage begins with it."),
    "prior": "Fits a density to the codes of each class. What `expost` scores draw from.",
    "reference": (
        "What real images of a split score: coverage, diversity, the neighbours of each. The ceilings that "
        "generated images are held against."
    ),
    "score": "Draws images and scores them: are they right, and are they varied. With z from N(0, I).",
    "surroundings": (
        "How near held-out images lie to training images, which says what is unusually near. Copies are found "
        "against it."
    ),
    "train": "Trains one model. An interrupted training goes on from its last epoch and ends in the same bits.",
}


def words() -> dict[str, str]:
    """Every entry by its word; metrics, then symbols, terms, stages."""
    metrics = {m.name: in_words(m) for m in METRICS.values() if "_judge" not in m.name}
    return {**metrics, **SYMBOLS, **TERMS, **STAGES}


LEANING = ("the same", "lower end", "upper end", "the larger of the two")
"""How the meaning of a metric begins that leans on the one before it in the catalog."""


def in_words(metric: Metric) -> str:
    """A metric in two sentences."""
    meaning = metric.meaning
    if meaning.startswith(LEANING):
        names = list(METRICS)
        before = [METRICS[name] for name in names[: names.index(metric.name)]]
        meant = next(m for m in reversed(before) if not m.meaning.startswith(LEANING))
        meaning = f"of {meant.name} ({meant.meaning}), {meaning}"
    base = metric.name.removesuffix("_expost")
    if base != metric.name and meaning.startswith(f"{base} with"):
        meaning = f"{METRICS[base].meaning}; here with z from the prior fitted after training"
    first = meaning.partition(" ")[0]
    if first not in METRICS:  # names stay as they are written
        meaning = meaning[0].upper() + meaning[1:]
    unit = UNITS.get(metric.unit, "a number without a unit")
    return f"{meaning}. {BETTER[metric.better]}; {unit}."


DECORATION = re.compile(r"^(?:(?:train|val|test|rung)/|[AB] )|\s*[↑↓]$")


def entry_of(text: str) -> str:
    """The word that a name in a report is: test/neg_elbo_expost ↓ is neg_elbo_expost; "" for what is none."""
    name = re.sub(r"_judge\d$", "", DECORATION.sub("", DECORATION.sub("", text.strip())))
    every = words()
    if len(name) < 2:  # a letter is a class more often than a symbol
        return ""
    if name in every:
        return name
    return next((word for word in (name.lower(), name.lower().rstrip("s")) if word in every), "")


def markdown() -> str:
    """The glossary as a document."""
    lines = [
        "# Glossary",
        "",
        "What reports and tables call things, in two sentences each. In a report a dotted word shows its entry when it",
        "is pointed at, and leads to it when it is clicked. Made by `make rooms`; METRICS.md says how each number is",
        "taken.",
    ]
    metrics = {name: text for name, text in words().items() if name in METRICS}
    for title, entries in (("Words", TERMS), ("Symbols", SYMBOLS), ("Stages", STAGES), ("Metrics", metrics)):
        lines += ["", f"## {title}", ""]
        lines += [f"- **`{word}`** {text}" for word, text in sorted(entries.items()) if entries is not metrics]
        lines += [f"- **`{word}`** {text}" for word, text in entries.items() if entries is metrics]
    return "\n".join(lines) + "\n"
