"""Figures: valid PNG of the stated pixels, for the data of a real sweep and for the data of a sweep gone wrong."""

import io
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rcParams
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.tri import LinearTriInterpolator
from PIL import Image

from pipeline import plots
from pipeline.plots import axes, curves, fronts, latent, search, theme

HOSTILE = ["<script>alert('x')</script>", "$\\frac{$", "_hidden", "🚀 \U000f0000", "x" * 300, "a\nb\tc", "", "%s{}"]
OBJECTIVES = [
    ("accuracy", "val/conditional_accuracy", "maximize"),
    ("coverage", "val/coverage_relative", "maximize"),
    ("neg_elbo", "val/neg_elbo, nats per image", "minimize"),
]
PARAMS = [("beta", "beta", True), ("latent_dim", "latent_dim", False), ("learning_rate", "learning_rate", True)]


def pixels(png: bytes) -> np.ndarray:
    """The decoded (H, W, 3) pixels of a PNG that is neither empty nor huge."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert 200 < image.width <= 1100
        assert 100 < image.height <= 2500
        return np.asarray(image.convert("RGB"))


def trials(n: int, *, failed: tuple[int, ...] = ()) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    log_beta, latent_dim = rng.uniform(-1.3, 1, n), rng.integers(2, 65, n)
    kl = np.clip(26 - 9 * log_beta - 5 * log_beta**2 + rng.normal(0, 0.6, n), 0.3, None)
    bce = 79 + 14 * np.clip(log_beta + 0.9, 0, None) ** 2 + rng.normal(0, 0.8, n)
    frame = pd.DataFrame(
        {
            "number": range(n),
            "beta": 10**log_beta,
            "latent_dim": latent_dim,
            "learning_rate": 10 ** rng.uniform(-4, -2, n),
            "kl": kl,
            "bce": bce,
            "neg_elbo": kl + bce,
            "accuracy": np.clip(0.99 - 0.02 * log_beta**2 + rng.normal(0, 0.003, n), 0, 1),
            "coverage": np.clip(0.93 - 0.2 * log_beta**2 + rng.normal(0, 0.01, n), 0, 1),
        }
    )
    frame.loc[list(failed), ["kl", "bce", "neg_elbo", "accuracy", "coverage"]] = np.nan
    return frame


def history(end: float, epochs: int = 20) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    bce, kl = end - 24 + 55 * np.exp(-epoch / 3), 24 - 18 * np.exp(-epoch / 2)
    rows = {"epoch": epoch}
    for split, gap in (("train", 0.0), ("val", 1.4)):
        rows |= {f"{split}/bce": bce + gap, f"{split}/kl": kl, f"{split}/neg_elbo": bce + kl + gap}
    return pd.DataFrame(rows | {"train/loss": bce + kl})


def every_figure(frame: pd.DataFrame, front: set[int], chosen: int | None) -> dict[str, bytes]:
    """The figures that are made of a trials frame."""
    return {
        "pareto": plots.pareto(frame, OBJECTIVES, front, chosen),
        "rate_distortion": plots.rate_distortion(frame, front, chosen),
        "parameter_slices": plots.parameter_slices(frame, PARAMS[1:], OBJECTIVES[:1], front),
        "contours": plots.contours(frame, PARAMS[0], PARAMS[1], OBJECTIVES, front, chosen),
        "parallel": plots.parallel_coordinates(frame, PARAMS, OBJECTIVES, front, chosen),
        "hypervolume": plots.hypervolume_history(list(frame["number"]), [0.1] * len(frame), front),
    }


def figures_of_a_sweep_of_40() -> dict[str, bytes]:
    figures = every_figure(trials(40, failed=(5, 17)), {1, 7, 9, 22}, 7)
    names, classes, rng = [f"trial {i}" for i in range(40)], list("0123456789"), np.random.default_rng(0)
    shares = rng.uniform(0.4, 1, (10, 12))
    figures["parameter_slices"] = plots.parameter_slices(trials(40), PARAMS, OBJECTIVES, {1, 7})
    figures["loss_curves"] = plots.loss_curves({n: history(100 + i) for i, n in enumerate(names)}, set(names[:8]))
    figures["one run"] = plots.loss_curves({"run": history(98)})
    figures["importances"] = plots.importances({o: {p: 0.3 for p, *_ in PARAMS} for o, *_ in OBJECTIVES})
    figures["confusion_matrix"] = plots.confusion_matrix(np.eye(10) * 97 + 1, classes)
    figures["class_heat"] = plots.class_heat(
        classes, list("abcdefghijkl"), {"accuracy, %": shares, "b, %": shares}, "x"
    )
    figures["bars"] = plots.per_class_bars(classes, shares[:, 0], [(v - 0.1, v + 0.05) for v in shares[:, 0]], 0.99)
    figures["latent_map"] = latent_map(2000, classes)
    figures["dimension_use"] = plots.dimension_use(np.geomspace(2, 1e-4, 20), np.geomspace(1, 1e-5, 20), 0.01)
    figures["sheet"] = sheet(rng.integers(0, 256, (10 * 29 - 1, 13 * 29 - 1), dtype=np.uint8))
    return figures


def latent_map(n: int, names: list[str]) -> bytes:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(names), n)
    return plots.latent_map(rng.normal(size=(n, 2)), labels, names, axes=("first", "second"), prior=True)


def sheet(pixels: np.ndarray, cell: tuple[int, int] = (28, 28), name: str = "dim") -> bytes:
    rows, columns = (-(-(length + 1) // (side + 1)) for length, side in zip(pixels.shape, cell, strict=True))
    names = [f"{name} {i}" for i in range(rows)]
    return plots.labelled_sheet(
        pixels, cell, rows=names, columns=[str(i) for i in range(columns)], xlabel="value of z", ylabel="dimension"
    )


@contextmanager
def kept():
    """Every figure that is drawn inside, as matplotlib has it."""
    figures, encode = [], theme.png

    def keep(figure):
        figures.append(figure)
        return encode(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theme, "png", keep)
        yield figures


@pytest.fixture(scope="module")
def of_40():
    """The figures of a sweep of 40 as PNG, by name, and as matplotlib has them."""
    with kept() as figures:
        return figures_of_a_sweep_of_40(), figures


def test_the_figures_of_a_sweep_of_40_are_small_and_fit_a_phone(of_40):
    """480 CSS pixels wide: at 360, 9-point text is 9 pixels high."""
    figures, _ = of_40
    for name, png in figures.items():
        assert pixels(png).shape[1] <= (1.25 if name == "sheet" else 1.01) * theme.WIDTH * theme.DPI, name
        assert len(png) < 130_000 or name == "sheet", name
    assert sum(len(png) for name, png in figures.items() if name != "sheet") < 750_000


def tick_labels(axis) -> list[Text]:
    """Those that are shown: matplotlib keeps labels of ticks outside of the view, and does not draw them."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    ticks = zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=True)
    labels = [tick.label1 for tick, at in ticks if low - slack <= at <= high + slack]
    return [label for label in labels if label.get_visible() and label.get_text()]


def texts_of(figure) -> list[Text]:
    """All that is written on a figure."""
    axes = [ax for ax in figure.axes if ax.axison]
    axes += [child for ax in figure.axes for child in ax.child_axes]
    found = list(figure.texts)
    found += [
        text for part in (*figure.legends, *(ax.get_legend() for ax in axes)) if part for text in part.get_texts()
    ]
    for ax in axes:
        found += [*ax.texts, ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title]
        found += [*tick_labels(ax.xaxis), *tick_labels(ax.yaxis)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@pytest.fixture
def drawn():
    with kept() as figures:
        yield figures


def test_no_label_is_clipped(of_40, drawn):
    latent_map(300, [f"class {i}" for i in range(47)])
    sheet(np.zeros((8 * 9 - 1, 9 * 9 - 1), np.uint8), (8, 8), name="T-shirt/top")
    sheet(np.zeros((28, 13 * 29 - 1), np.uint8))
    for figure in of_40[1] + drawn:
        for text in texts_of(figure):
            box = text.get_window_extent()
            assert min(box.x0, box.y0) >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert box.y1 <= figure.bbox.y1 + 1, text


def test_no_two_tick_labels_overlap(of_40):
    for figure in of_40[1]:
        for ax in (ax for ax in figure.axes if ax.axison):
            for axis, start, end in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
                boxes = [(label.get_window_extent(), label.get_text()) for label in tick_labels(axis)]
                ends = sorted((getattr(box, start), getattr(box, end), text) for box, text in boxes)
                for (_, before, one), (after, _, other) in pairwise(ends):
                    assert before <= after + 0.5, (one, other)


@pytest.mark.parametrize(
    ("frame", "front", "chosen"),
    [
        (trials(1), set(), None),
        (trials(1), {0}, 0),
        (trials(6), set(), None),
        (trials(6, failed=(0, 1, 2, 3, 4, 5)), set(), None),
        (trials(6, failed=(2,)), {2, 3}, 2),
        (trials(0), set(), None),
        (trials(6).assign(beta=1.0, learning_rate=1e-3, accuracy=0.9, coverage=0.9, kl=20.0, bce=80.0), {0, 1}, 0),
        (trials(6).assign(beta=0.0), {1}, 1),
        (trials(6).assign(accuracy=np.inf), {1}, 1),
        (trials(6).astype({"accuracy": object}).replace({"accuracy": {trials(6).accuracy[0]: None}}), {1}, 1),
        (trials(6).set_index(pd.Index(list("abcdef"))), {1}, 1),
    ],
    ids=[
        "one",
        "one-chosen",
        "no-front",
        "all-failed",
        "failed-chosen",
        "none",
        "constant",
        "beta-0",
        "infinite",
        "object",
        "index",
    ],
)
def test_figures_of_odd_sweeps_are_still_figures(frame, front, chosen):
    for png in every_figure(frame, front, chosen).values():
        pixels(png)


def test_two_objectives_that_never_vary_or_never_finish_are_still_a_figure():
    pixels(plots.pareto(trials(6).assign(beta=1.0, accuracy=0.9, coverage=0.9), OBJECTIVES[:2], {0, 1}, 0))
    pixels(plots.pareto(trials(2, failed=(0, 1)), OBJECTIVES[:2]))


def test_a_failed_trial_leaves_no_mark():
    failed = trials(9, failed=(8,))
    failed.loc[8, "beta"] = failed["beta"][0]  # the scale of the colours covers all trials
    assert plots.pareto(failed, OBJECTIVES[:2]) == plots.pareto(failed.iloc[:8], OBJECTIVES[:2])


def test_the_chosen_trial_and_the_front_are_marked():
    drawn = [
        plots.pareto(trials(9), OBJECTIVES[:2], front, star) for front, star in ((set(), None), ({3}, None), ({3}, 3))
    ]
    assert len(set(drawn)) == 3


def test_a_front_too_large_to_be_numbered_has_numbers_evenly_and_the_chosen_ones(drawn):
    plots.pareto(trials(200), OBJECTIVES[:2], set(range(100, 200)), 137)
    numbers = [text.get_text() for text in drawn[0].axes[0].texts]
    assert len(numbers) == plots.NUMBERED + 1
    assert "137" in numbers


def test_the_front_has_the_intervals_that_the_frame_has(drawn):
    frame = trials(6).assign(neg_elbo_sem=0.5)
    frame["accuracy_low"], frame["accuracy_high"] = frame["accuracy"] - 0.04, frame["accuracy"] + 0.01
    plots.pareto(frame, [OBJECTIVES[0], OBJECTIVES[2]], {1, 3}, 3)
    across, up = (
        [tuple(segment[:, way]) for segment in lines.get_segments()]
        for way, lines in enumerate(c for c in drawn[0].axes[0].collections if isinstance(c, LineCollection))
    )
    rows = frame[frame["number"].isin([1, 3])]
    np.testing.assert_allclose(across, rows[["accuracy_low", "accuracy_high"]])
    np.testing.assert_allclose(up, np.column_stack([rows["neg_elbo"] - 0.98, rows["neg_elbo"] + 0.98]))
    plain = plots.pareto(trials(6), OBJECTIVES, {1}, 1)
    assert plots.pareto(trials(6).assign(neg_elbo_sem=np.nan), OBJECTIVES, {1}, 1) == plain


def test_categorical_parameters_are_drawn():
    frame = trials(6).assign(hidden=["400", "512,256", "400", "400", "$x$", "512,256"])
    pixels(plots.parameter_slices(frame, [("hidden", "model.hidden", False)], OBJECTIVES[:1]))


def test_many_settings_of_words_keep_room_for_what_is_written_on_their_axes(drawn):
    words = {
        "arch": ["mlp", "conv"],
        "learned_prior": ["false", "true"],
        "prior": ["gaussian", "mixture"],
        "conv_channels": ["auto", "32,64,128", "8,16"],
        "hidden": ["64", "64,32"],
    }
    frame = trials(6).assign(**{name: [values[i % len(values)] for i in range(6)] for name, values in words.items()})
    params = [(name, name.replace("_", " "), False) for name in words] + [PARAMS[2]]
    pixels(plots.parameter_slices(frame, params, OBJECTIVES[:2], {1}))
    axes = [ax for ax in drawn[0].axes if ax.axison]
    assert len(axes) == 2 * len(params)
    assert sum(bool(ax.get_xlabel()) for ax in axes) == len(params)
    for ax in axes:
        assert ax.get_window_extent().width >= 90
        labels = tick_labels(ax.xaxis)
        upright = sorted((b.x0, b.x1) for b in (t.get_window_extent() for t in labels if not t.get_rotation()))
        assert all(before[1] <= after[0] for before, after in pairwise(upright))
    for text in texts_of(drawn[0]):
        assert text.get_window_extent().x0 >= -1, text


@pytest.mark.parametrize("x", ["maximize", "minimize"])
@pytest.mark.parametrize("y", ["maximize", "minimize"])
def test_the_stairs_of_the_front_never_claim_more_than_was_reached(x, y):
    """At every corner of the stairs some trial of the front is at least as good in both objectives."""
    sign_x, sign_y = (1 if way == "maximize" else -1 for way in (x, y))
    front = pd.DataFrame({"x": sign_x * np.array([1.0, 2.0, 4.0]), "y": sign_y * np.array([5.0, 3.0, 2.0])})
    ax = Figure().subplots()
    fronts._stairs(ax, front, ("x", "x", x), ("y", "y", y))
    xs, ys = ax.lines[0].get_data()
    if ax.lines[0].get_drawstyle() == "steps-pre":
        corners = list(zip(xs[:-1], ys[1:], strict=True))
    else:
        corners = list(zip(xs[1:], ys[:-1], strict=True))
    assert len(corners) == 2
    for corner_x, corner_y in corners:
        reached = (sign_x * front["x"] >= sign_x * corner_x) & (sign_y * front["y"] >= sign_y * corner_y)
        assert reached.any()


def test_one_run_shows_the_halves_of_its_loss_and_an_autoencoder_has_one_only():
    full = pixels(plots.loss_curves({"run": history(98)}))
    plain = history(98).drop(columns=["train/kl", "val/kl"])
    assert plots.loss_curves({"run": plain}) != plots.loss_curves({"run": plain.assign(**{"val/kl": 1.0})})
    assert full.shape[1] > 1.5 * full.shape[0]


def test_losses_are_taken_as_records_too():
    frame = history(98)
    assert plots.loss_curves({"run": frame.to_dict("records")}) == plots.loss_curves({"run": frame})


@pytest.mark.parametrize(
    "histories",
    [
        {},
        {"run": []},
        {"run": history(98, epochs=1)},
        {"a": history(98, epochs=1), "b": history(99, epochs=3), "c": []},
        {"a": history(98), "b": history(98)},
        {"a": history(98), "b": history(np.nan)},
        {"a": history(98), "b": history(np.inf)},
    ],
    ids=["none", "no-epochs", "one-epoch", "ragged", "equal", "nan", "inf"],
)
def test_histories_that_are_short_or_broken_are_still_drawn(histories):
    pixels(plots.loss_curves(histories, set(histories)))


def test_a_curve_far_above_the_others_does_not_flatten_them():
    ax = Figure().subplots()
    near = [history(98 + i)["val/neg_elbo"].to_numpy() for i in range(10)]
    for curve in [*near, near[0] * 50]:
        ax.plot(curve)
    curves._cut_top(ax, [*near, near[0] * 50])
    assert ax.get_ylim()[1] < 250
    assert ax.texts[0].get_text() == "1 curve lies above this range"


def test_importances_are_drawn_for_unknown_and_missing_values():
    values = {"accuracy": {"beta": 0.7, "latent_dim": 0.3}, "coverage": {"beta": float("nan")}}
    pixels(plots.importances(values))
    pixels(plots.importances({"accuracy": {}}))
    pixels(plots.importances({}))


def test_per_class_accuracy_is_drawn_for_every_number_of_classes():
    for labels in (["0"], [str(i) for i in range(10)], [str(i) for i in range(47)]):
        values = np.linspace(0.9, 1, len(labels))
        pixels(plots.per_class_bars(labels, values, [(v - 0.02, min(1, v + 0.01)) for v in values], ceiling=0.995))
    pixels(plots.per_class_bars(["0", "1"], [np.nan, np.nan], [(np.nan, np.nan)] * 2))


@pytest.mark.parametrize("number", [2, 10, 26, 100])
def test_names_on_the_latent_map_stand_apart_even_where_all_classes_have_one_centre(number):
    centres = np.full((number, 2), 300.0)
    sizes = np.column_stack([np.linspace(20, 55, number), np.full(number, 25.0)])
    places = latent.apart(centres, sizes, sizes / 2, 600 - sizes / 2)
    distance = np.abs(places[:, None] - places[None])
    over = (distance < (sizes[:, None] + sizes[None]) / 2 - 1e-9).all(-1)
    assert over.sum() == number, "each with itself alone"
    assert (places - sizes / 2 >= 0).all()
    assert (places + sizes / 2 <= 600).all()
    far = np.array([[100.0, 100.0], [500.0, 500.0]])
    np.testing.assert_array_equal(latent.apart(far, sizes[:2], sizes[:2] / 2, 600 - sizes[:2] / 2), far)


def test_no_two_of_fifty_classes_look_alike_on_the_latent_map():
    looks = [(latent._colour(label), latent._shape(label)) for label in range(50)]
    assert len(set(looks)) == 50
    assert all(one[1] != other[1] for one, other in pairwise(looks)), "neighbours differ without their colours, too"


def test_confusion_matrices_are_drawn_for_empty_rows_and_many_classes():
    matrix = np.eye(47, dtype=int) * 20
    pixels(plots.confusion_matrix(matrix, [str(i) for i in range(47)]))
    matrix[3] = 0
    pixels(plots.confusion_matrix(matrix[:10, :10], list("0123456789")))
    pixels(plots.confusion_matrix([[1]], ["only"]))
    pixels(plots.confusion_matrix(np.zeros((3, 3)), list("abc")))


def test_the_reference_stands_beside_our_curve():
    assert plots.reference_curve([150, 110], {1: 153.11}, "report") != plots.reference_curve([150, 110], {}, "report")


def test_hostile_names_are_drawn_as_text_without_a_warning():
    n = len(HOSTILE)
    pixels(plots.loss_curves({name: history(98) for name in HOSTILE}, set(HOSTILE)))
    pixels(plots.per_class_bars(HOSTILE, [0.9] * n, [(0.8, 0.95)] * n))
    pixels(plots.confusion_matrix(np.eye(n), HOSTILE))
    pixels(plots.importances({name: dict.fromkeys(HOSTILE, 0.5) for name in HOSTILE[:3]}))
    pixels(plots.pareto(trials(5), [("accuracy", HOSTILE[1], "maximize"), ("coverage", HOSTILE[3], "minimize")], {1}))
    pixels(plots.parameter_slices(trials(5), [("beta", HOSTILE[4], True)], [("accuracy", HOSTILE[4], "maximize")]))
    pixels(plots.reference_curve([150, 110], {1: 153.11}, HOSTILE[1]))
    pixels(latent_map(50, HOSTILE))
    pixels(plots.class_heat(HOSTILE, HOSTILE, {HOSTILE[0]: np.eye(n), HOSTILE[1]: np.eye(n)}, HOSTILE[1]))
    image = np.zeros((8, 8), np.uint8)
    pixels(plots.captioned_images([image] * n, [(name, name) for name in HOSTILE]))
    pixels(
        plots.labelled_sheet(
            np.zeros((9 * n - 1, 9 * n - 1), np.uint8), (8, 8), rows=HOSTILE, columns=HOSTILE, xlabel="x", ylabel="y"
        )
    )
    pixels(plots.parallel_coordinates(trials(5), [("beta", HOSTILE[1], True)], [("accuracy", HOSTILE[4], "maximize")]))
    hostile = ("beta", HOSTILE[1], True), ("latent_dim", HOSTILE[4], False)
    pixels(plots.contours(trials(5), *hostile, [("accuracy", HOSTILE[4], "minimize")]))


def test_image_png_keeps_every_pixel():
    image = np.arange(256, dtype=np.uint8).reshape(8, 32)
    with Image.open(io.BytesIO(plots.image_png(image))) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), image)
    with Image.open(io.BytesIO(plots.image_png(image, scale=3))) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded), image.repeat(3, 0).repeat(3, 1))


def test_the_same_data_make_the_same_bytes_and_leave_no_trace():
    before = dict(rcParams)
    assert plots.pareto(trials(9), OBJECTIVES, {1}, 1) == plots.pareto(trials(9), OBJECTIVES, {1}, 1)
    assert dict(rcParams) == before
    assert pyplot.get_fignums() == []


def test_figures_drawn_in_threads_take_turns_and_are_those_drawn_alone(monkeypatch):
    def draw() -> bytes:
        return plots.reference_curve([150, 110], {1: 153.11}, "report")

    alone, encode, drawing, overlaps, drawn = draw(), plots.png, [], [], []

    def slow_png(figure):
        drawing.append(figure)
        time.sleep(0.1)
        overlaps.append(len(drawing) - 1)
        drawing.remove(figure)
        return encode(figure)

    monkeypatch.setattr(theme, "png", slow_png)
    threads = [threading.Thread(target=lambda: drawn.append(draw())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [alone] * 3
    assert overlaps == [0, 0, 0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (0.0003, "3e-4"), (0.01, "0.01"), (0.5, "0.5"), (20, "20"), (1234.5, "1234"), (0, "0")],
)
def test_a_tick_is_short(value, text):
    assert axes.short(value) == text


def test_a_single_beta_has_the_middle_of_the_colour_scale():
    assert fronts._beta_norm(pd.Series([0.3, 0.3, np.nan, 0.0]))(0.3) == pytest.approx(0.5)
    assert fronts._beta_norm(pd.Series([0.1, 1.0, 10.0]))(1.0) == pytest.approx(0.5)


# ---- contours


def test_nothing_is_interpolated_outside_of_the_trials():
    """At random places: where there is a colour, the place is a mixture of three trials; at a trial it is its value."""
    rng = np.random.default_rng(0)
    points, values = rng.uniform(0, 1, (20, 2)), rng.uniform(0, 1, 20)
    mesh = search.triangles(points)
    at = LinearTriInterpolator(mesh, search._at_corners(points, values))
    places = rng.uniform(-0.5, 1.5, (2000, 2))
    coloured = ~np.ma.getmaskarray(at(*places.T))
    assert 0.15 < coloured.mean() < 0.25  # the hull, a quarter of these places at most
    for place in places[coloured]:
        centred = points - place
        angles = np.sort(np.arctan2(centred[:, 1], centred[:, 0]))
        assert np.diff(angles, append=angles[0] + 2 * np.pi).max() < np.pi + 1e-9  # trials on all sides
    found = at(*points.T)
    np.testing.assert_allclose(found.compressed(), values[~np.ma.getmaskarray(found)])


def test_trials_on_a_line_or_at_one_place_have_no_triangles():
    line = np.column_stack([np.arange(5.0), 2 * np.arange(5.0) + 1])
    for points in (line, line[:2], line[[0, 0, 0]], line * [1, 0], np.empty((0, 2))):
        assert search.triangles(points) is None


def test_slivers_along_the_border_join_nobody():
    corner = [[0.0, 0], [1, 0], [0, 1]]
    mesh = search.triangles(np.array([*corner, [0.5, 0.001]]))
    assert len(mesh.triangles) == 3
    assert mesh.mask.sum() == 1
    assert search.triangles(np.array([[0.0, 0], [1, 1], [0.5, 0.501]])) is None


def test_trials_that_share_a_place_count_as_their_mean():
    points = np.array([[0.0, 0], [1, 0], [0, 1], [0, 0]])
    assert sorted(search._at_corners(points, np.array([1.0, 5, 7, 3]))) == [2, 5, 7]


# ---- sheets


@pytest.mark.parametrize("side", [8, 28])
def test_a_labelled_sheet_keeps_every_pixel_as_a_square_of_whole_pixels(side):
    rng = np.random.default_rng(0)
    original = rng.integers(0, 2, (3 * (side + 1) - 1, 5 * (side + 1) - 1), dtype=np.uint8) * 255
    shown = pixels(sheet(original, (side, side)))[..., 0]
    scale = round(0.85 * theme.WIDTH * theme.DPI / original.shape[1])
    large = original.repeat(scale, 0).repeat(scale, 1)
    places = [
        (y, x)
        for y in range(shown.shape[0] - large.shape[0] + 1)
        for x in range(shown.shape[1] - large.shape[1] + 1)
        if (shown[y, x : x + large.shape[1]] == large[0]).all()
    ]
    assert any((shown[y : y + len(large), x : x + large.shape[1]] == large).all() for y, x in places)


def test_active_dimensions_are_told_from_the_others():
    kl, variance = [0.5, 0.0, 0.2], [0.4, 1e-4, 0.2]
    assert plots.dimension_use(kl, variance, 0.01) != plots.dimension_use(kl, [0.4, 0.02, 0.2], 0.01)
    pixels(plots.dimension_use([0.0], [0.0], 0.01))
    pixels(plots.dimension_use(np.zeros(64), np.zeros(64), 0.01))


def test_curves_are_drawn_in_the_order_they_come_in_so_that_no_hash_seed_changes_the_bytes():
    histories = {f"trial {n}": history(100 + n) for n in range(9)}
    figure = plots.loss_curves.__wrapped__(histories, {"trial 2", "trial 5"})
    ends = [frame["val/neg_elbo"].iloc[-1] for frame in histories.values()]
    drawn = [float(line.get_ydata()[-1]) for line in figure.axes[0].lines]
    grey, chosen = [end for n, end in enumerate(ends) if n not in (2, 5)], sorted([ends[2], ends[5]], reverse=True)
    assert drawn == [*grey, *chosen]
