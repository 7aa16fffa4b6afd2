"""Images of one's own: layouts, what is left out, pixel formats, splits, and what is refused in one clear line."""

import os
import shutil
import tracemalloc
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.reading import build_config
from pipeline.config.sections import DataConfig
from pipeline.data.preparing import load_prepared, prepare, save_prepared
from pipeline.data.sources.folder import Folder
from pipeline.data.sources.own import look
from pipeline.data.sources.pixels import fitted, is_grey, read_picture
from pipeline.data.splits import ground_of
from pipeline.errors import ConfigError, DataError
from pipeline.stages.graph import PREPARE


def picture(seed: int, *, size=(6, 5), colour=False) -> Image.Image:
    """Noise of that height and width, another for each seed."""
    shape = (*size, 3) if colour else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def fill(folder: Path, classes: dict[str, int], *, first: int = 0, **kind) -> Path:
    """A folder with so many different pictures of each class."""
    seed = first
    for name, n in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            picture(seed, **kind).save(folder / name / f"{i}.png")
            seed += 1
    return folder


def prepared(path: Path, **settings):
    """The data set at a path, as a command prepares it."""
    flags = {f"data.{name}": value for name, value in settings.items()}
    return prepare(build_config(flags={"data.dataset": str(path), **flags}, look=look).data, Path("nowhere"))


def refusal(path, **settings) -> str:
    with pytest.raises(DataError) as raised:
        prepared(path, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_folder_of_classes_becomes_three_stratified_splits(tmp_path):
    data = prepared(fill(tmp_path / "letters", {"b": 20, "a": 20, "c": 20}))
    assert (data.name, data.class_names, data.shape) == ("letters", ("a", "b", "c"), (1, 6, 5))
    assert [data.split(s).labels.bincount().tolist() for s in ("train", "val", "test")] == [[12] * 3, [4] * 3, [4] * 3]
    everything = torch.cat([data.split(s).images for s in ("train", "val", "test")])
    assert len(everything.flatten(1).unique(dim=0)) == 60
    first = np.asarray(Image.open(tmp_path / "letters" / "b" / "0.png"))
    [at] = [
        s for s in ("train", "val", "test") if any((first == image.numpy()).all() for image in data.split(s).images)
    ]
    place = next(i for i, image in enumerate(data.split(at).images) if (first == image.numpy()).all())
    assert data.split(at).labels[place] == 1


def test_classes_are_in_the_order_that_people_count_in_and_keep_their_names(tmp_path):
    names = ["10", "9", "null", "two words", "#", "été", "字"]
    data = prepared(fill(tmp_path / "all", dict.fromkeys(names, 5)))
    assert data.class_names == ("9", "10", "#", "null", "two words", "été", "字")
    decomposed = fill(tmp_path / "apart", {"e\u0301te\u0301": 5, "b": 5})
    assert prepared(decomposed).class_names == ("b", "été")


def key_of(path: Path, **flags) -> str:
    return PREPARE.key(build_config(flags={"data.dataset": str(path), **flags}, look=look))


def test_the_content_is_the_key_whatever_the_path_the_file_names_and_the_times(tmp_path):
    one = fill(tmp_path / "one", {"a": 5, "b": 5})
    other = tmp_path / "elsewhere" / "two"
    shutil.copytree(one, other)
    (other / "a" / "0.png").rename(other / "a" / "zzz.png")
    os.utime(other / "b" / "1.png", (1, 1))
    assert key_of(one) == key_of(other)
    (other / "a" / "1.png").rename(other / "b" / "from a.png")
    assert key_of(one) != key_of(other)
    assert key_of(one) != key_of(one, **{"data.channels": "3"})


def test_a_bare_name_is_a_path_where_a_folder_has_it(tmp_path, monkeypatch):
    fill(tmp_path / "letters", {"a": 5, "b": 5})
    monkeypatch.chdir(tmp_path)
    config = build_config(flags={"data.dataset": "letters"}, look=look)
    assert (config.data.dataset, config.data.name) == (str(tmp_path / "letters"), "letters")
    with pytest.raises(ConfigError, match=r"'mnits'; it must be one of mnist, .*did you mean mnist"):
        build_config(flags={"data.dataset": "mnits"}, look=look)


def test_a_file_that_names_other_images_than_are_there_is_refused(tmp_path):
    config = build_config(flags={"data.dataset": str(fill(tmp_path / "x", {"a": 5, "b": 5}))}, look=look)
    stored = {"data": {"dataset": config.data.dataset, "content": config.data.content}}
    assert build_config(stored, look=look).data == config.data
    (tmp_path / "x").rename(tmp_path / "gone")
    assert build_config(stored | {"train": {"beta": 2.0}}, look=look).data.content == config.data.content
    (tmp_path / "gone").rename(tmp_path / "x")
    picture(99).save(tmp_path / "x" / "a" / "more.png")
    with pytest.raises(ConfigError, match="no longer holds the images"):
        build_config(stored, look=look)


def test_what_is_no_image_is_left_out_and_said(tmp_path):
    root = fill(tmp_path / "x", {"a": 5, "b": 5})
    for name in ("a/Thumbs.db", "a/.hidden.png", "b/notes.txt", "readme.md", "b/photo.heic"):
        (root / name).write_bytes(b"x")
    for name in ("__MACOSX/a", "a/.ipynb_checkpoints", "empty"):
        (root / name).mkdir(parents=True)
    (root / "__MACOSX/a/._0.png").write_bytes(b"x")
    shutil.copy(root / "a/0.png", root / "a/.ipynb_checkpoints/0-checkpoint.png")
    data = prepared(root)
    assert data.class_names == ("a", "b")
    assert data.notes == ("left out: 7 files, 1 empty class (4 hidden, 1 .heic, 1 .md, 1 .txt; empty: empty)",)


def test_splits_that_are_given_stay_as_they_are(tmp_path):
    for first, part in ((0, "Train"), (100, "validation"), (200, "test")):
        fill(tmp_path / "x" / part, {"a": 6 if first == 0 else 3, "b": 4 if first == 0 else 2}, first=first)
    data = prepared(tmp_path / "x")
    assert [data.split(s).labels.bincount().tolist() for s in ("train", "val", "test")] == [[6, 4], [3, 2], [3, 2]]
    shutil.rmtree(tmp_path / "x" / "validation")
    data = prepared(tmp_path / "x")
    assert [len(data.split(s)) for s in ("train", "val", "test")] == [8, 2, 5]


def test_an_image_in_two_given_splits_is_an_error_and_in_drawn_ones_moved_to_train(tmp_path):
    given = tmp_path / "given"
    fill(given / "train", {"a": 5, "b": 5})
    fill(given / "test", {"a": 2, "b": 2}, first=50)
    Image.open(given / "train/a/3.png").save(given / "test/a/copy.bmp")
    assert "1 image is in two of the splits" in refusal(given)
    assert "copy.bmp" in refusal(given)

    drawn = fill(tmp_path / "drawn", {"a": 30, "b": 30})
    for i in range(30):
        Image.open(drawn / f"a/{i}.png").save(drawn / f"a/{i} again.bmp")
    data = prepared(drawn)
    parts = [{image.numpy().tobytes() for image in data.split(s).images} for s in ("train", "val", "test")]
    assert all(a.isdisjoint(b) for a, b in combinations(parts, 2))
    assert any("30 images are alike to another" in note for note in data.notes)
    assert any("moved to train" in note for note in data.notes)
    assert sum(len(data.split(s)) for s in ("train", "val", "test")) == 90


def test_small_classes_are_in_every_split(tmp_path):
    data = prepared(fill(tmp_path / "x", {"rare": 4, "usual": 200}))
    assert [data.split(s).labels.bincount().tolist()[0] for s in ("train", "val", "test")] == [2, 1, 1]
    assert "class 'rare' of y has 3 different images" in refusal(fill(tmp_path / "y", {"rare": 3, "usual": 50}))


def test_pixel_formats_come_out_as_a_person_sees_them(tmp_path):
    red = Image.new("RGB", (4, 3), (250, 10, 20))
    clear = Image.new("RGBA", (4, 3), (250, 10, 20, 0))
    half = Image.new("RGBA", (4, 3), (0, 0, 0, 128))
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    for image, name, expected in (
        (red, "red.png", (250, 10, 20)),
        (palette, "palette.png", (250, 10, 20)),
        (clear, "clear.png", (255, 255, 255)),  # over white
        (half, "half.png", (127, 127, 127)),
        (Image.new("LA", (4, 3), (40, 255)), "la.png", (40, 40, 40)),
        (Image.new("1", (4, 3), 1), "bit.png", 255),
        (Image.new("L", (4, 3), 77), "grey.png", 77),
        (Image.fromarray(np.full((3, 4), 40_000, np.uint16)), "deep.png", 155),
        (Image.fromarray(np.full((3, 4), 0.5, np.float32)), "float.tiff", 128),
        (red.convert("CMYK"), "cmyk.tiff", (250, 10, 20)),
    ):
        image.save(tmp_path / name)
        found = read_picture(tmp_path / name).pixels
        assert found.shape[:2] == (3, 4), name
        assert np.abs(found.astype(int) - expected).max() <= 1, name
    palette.info["transparency"] = 0
    palette.save(tmp_path / "hole.png", transparency=0)
    assert (read_picture(tmp_path / "hole.png").pixels == 255).all()


def test_a_photo_is_turned_as_its_exif_says_and_a_progressive_one_is_read(tmp_path):
    wide = Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    wide.save(tmp_path / "turned.jpg", exif=exif, progressive=True, quality=95)
    found = read_picture(tmp_path / "turned.jpg").pixels
    assert found.shape == (40, 20)
    assert found[0].mean() < 10
    assert found[-1].mean() > 245


def test_an_animation_gives_its_first_frame_and_is_said(tmp_path):
    root = fill(tmp_path / "x", {"a": 5, "b": 5})
    frames = [Image.new("L", (5, 6), grey) for grey in (0, 120, 240)]
    frames[0].save(root / "a/moving.gif", save_all=True, append_images=frames[1:])
    assert (read_picture(root / "a/moving.gif").pixels == 0).all()
    assert any("1 animated file has more than one frame" in note for note in prepared(root).notes)


def test_grey_stored_as_rgb_is_grey_and_one_colour_makes_all_colour(tmp_path):
    root = tmp_path / "x"
    for i in range(10):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        picture(i, size=(16, 16)).convert("RGB").save(root / "ab"[i % 2] / f"{i}.jpg")
    assert prepared(root).shape == (1, 16, 16)
    assert prepared(root, channels="3").shape == (3, 16, 16)
    picture(5, size=(16, 16), colour=True).save(root / "a" / "colour.png")
    data = prepared(root)
    assert data.shape == (3, 16, 16)
    grey = [image for part in (data.train, data.val, data.test) for image in part.images if (image == image[:1]).all()]
    assert len(grey) == 10
    assert prepared(root, channels="1").shape == (1, 16, 16)
    assert not is_grey(np.asarray(picture(1, colour=True)))


def test_images_of_several_sizes_want_one(tmp_path):
    root = fill(tmp_path / "x", {"a": 5, "b": 5})
    picture(77, size=(9, 5)).save(root / "a/large.png")
    text = refusal(root)
    assert "not of one size" in text
    assert "--set data.size=" in text
    assert prepared(root, size=8).shape == (1, 8, 8)
    assert prepared(root, size="8x4", fit="pad").shape == (1, 8, 4)
    with pytest.raises(ConfigError, match=r"data.size is '8x'; it must be auto, one number, or HEIGHTxWIDTH"):
        prepared(root, size="8x")


def test_another_shape_is_cropped_around_the_centre_or_padded_with_the_border():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, :10], wide[:, 20:] = 255, 255  # black in the middle third
    assert (fitted(wide, 10, 10, pad=False) == 0).all()
    padded = fitted(wide, 30, 30, pad=True)
    assert padded.shape == (30, 30)
    assert (padded[:10] == 255).all()
    assert (padded[10:20] == wide).all()


def test_a_broken_file_is_named_or_left_out_and_counted(tmp_path):
    root = fill(tmp_path / "x", {"a": 6, "b": 6}, size=(40, 40))
    whole = (root / "a/2.png").read_bytes()
    (root / "a/2.png").write_bytes(whole[: len(whole) // 2])
    (root / "b/1.png").write_text("no image at all")
    os.symlink(root / "nothing.png", root / "b/dangling.png")
    text = refusal(root)
    assert "cannot be decoded" in text
    assert "data.skip_broken=true" in text
    data = prepared(root, skip_broken=True)
    assert sum(len(data.split(s)) for s in ("train", "val", "test")) == 10
    assert any(note.startswith("left out: 3 files that cannot be decoded (") for note in data.notes)


def test_decoding_holds_a_picture_at_a_time_however_many_and_large_they_are(tmp_path):
    side, few, many = 200, 5, 15

    def peak(folder: Path) -> int:
        tracemalloc.start()
        try:
            prepared(folder, size="4")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    prepared(fill(tmp_path / "first", {"a": few, "b": few}), size="4")  # libraries loaded
    of_few = peak(fill(tmp_path / "few", {"a": few, "b": few}, size=(side, side), colour=True))
    of_many = peak(fill(tmp_path / "many", {"a": many, "b": many}, size=(side, side), colour=True))
    one = side * side * 3
    assert of_few > one  # it is seen at all
    assert of_many - of_few < one


def test_a_file_is_hashed_again_only_when_its_size_or_time_has_changed(tmp_path, monkeypatch):
    root = fill(tmp_path / "x", {"a": 5, "b": 5})
    for path in root.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    first = Folder(root, tmp_path / "cache").catalogue().content
    read = []
    monkeypatch.setattr("hashlib.file_digest", lambda file, name: read.append(file.name))
    assert Folder(root, tmp_path / "cache").catalogue().content == first
    assert not read


# ---- bad folders -----------------------------------------------------------------------------------------------------


def test_folders_that_are_no_data_set_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refusal(tmp_path / "empty")
    assert "images of one class, 'a'" in refusal(fill(tmp_path / "single", {"a": 9}))
    flat = tmp_path / "flat"
    flat.mkdir()
    picture(1).save(flat / "1.png")
    assert "no sub-folder" in refusal(flat)
    loop = fill(tmp_path / "loop", {"a": 5, "b": 5})
    os.symlink(loop, loop / "a" / "again")
    assert "leads back" in refusal(loop)
    assert "cannot be read" in refusal(tmp_path / ("n" * 300))
    assert "there is nothing at" in refusal(tmp_path / "no such folder")
    (tmp_path / "file.txt").write_text("")
    assert "neither a folder of images nor an .npz" in refusal(tmp_path / "file.txt")
    fill(tmp_path / "part" / "train", {"a": 5, "b": 5})
    fill(tmp_path / "part" / "test", {"a": 5}, first=50)
    assert "no image of class 'b' in test" in refusal(tmp_path / "part")


def test_three_images_in_all_are_too_few(tmp_path):
    assert "and needs 4: two to train on, one to validate and one to test on" in refusal(
        fill(tmp_path / "three", {"a": 2, "b": 1})
    )


def test_one_pixel_is_an_image_and_one_test_image_a_class_a_test_split(tmp_path):
    values = iter(range(256))
    for part, n in (("train", 3), ("val", 1), ("test", 1)):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(n):
                Image.new("L", (1, 1), next(values)).save(tmp_path / part / name / f"{i}.png")
    data = prepared(tmp_path)
    assert (data.shape, len(data.train), len(data.test)) == ((1, 1, 1), 6, 2)


# ---- arrays ----------------------------------------------------------------------------------------------------------

GREY = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
Y = np.arange(40) % 2


def npz(folder: Path, **arrays) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize(
    "x",
    [
        GREY,
        GREY[..., None],
        GREY[:, None],
        GREY / 255,
        (GREY / 255).astype(np.float32),
        GREY.astype(np.int64),
        np.asfortranarray(GREY),
    ],
    ids=["grey", "channel last", "channel first", "floats", "float32", "int64", "by columns"],
)
def test_arrays_of_every_usual_kind_are_the_same_images(tmp_path, x):
    data = prepared(npz(tmp_path, x=x, y=Y))
    assert (data.name, data.shape, data.class_names) == ("data", (1, 6, 5), ("0", "1"))
    found = {image.numpy().tobytes() for s in ("train", "val", "test") for image in data.split(s).images}
    assert found == {np.ascontiguousarray(image).tobytes() for image in GREY}


def test_colour_arrays_are_red_first_wherever_their_channels_are(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
    last = prepared(npz(tmp_path, x=x, y=Y))
    first = prepared(npz(tmp_path, x=x.transpose(0, 3, 1, 2), y=Y))
    assert last.shape == first.shape == (3, 6, 5)
    assert last.train.images.equal(first.train.images)
    assert any((x[i].transpose(2, 0, 1) == last.train.images[0].numpy()).all() for i in range(40))


def test_labels_may_be_any_numbers_or_text_with_names_of_their_own(tmp_path):
    assert prepared(npz(tmp_path, x=GREY, y=Y * 7 - 3)).class_names == ("-3", "4")
    assert prepared(npz(tmp_path, x=GREY, y=np.array(["dog", "cat"])[Y])).class_names == ("cat", "dog")
    assert prepared(npz(tmp_path, x=GREY, y=Y + 1, class_names=["null", "#"])).class_names == ("null", "#")
    named = prepared(npz(tmp_path, x=GREY, y=np.array(["dog", "cat"])[Y], class_names=["dog", "cat"]))
    assert named.class_names == ("dog", "cat")


def test_splits_of_arrays_are_named_image_by_image_or_lie_apart(tmp_path):
    split = np.array(["train"] * 24 + ["val"] * 8 + ["test"] * 8)
    data = prepared(npz(tmp_path, x=GREY, y=Y, split=split))
    assert data.train.images.equal(torch.from_numpy(GREY[:24]))
    assert data.test.images.equal(torch.from_numpy(GREY[32:]))
    apart = prepared(npz(tmp_path, x_train=GREY[:24], y_train=Y[:24], x_test=GREY[24:], y_test=Y[24:]))
    assert (len(apart.train) + len(apart.val), len(apart.test)) == (24, 16)


def header_of(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_arrays_that_are_no_data_set_are_refused_in_one_line(tmp_path):
    def refused(**arrays) -> str:
        return refusal(npz(tmp_path, **arrays))

    assert "has no array 'y'" in refused(x=GREY)
    assert "never unpickled" in refused(x=GREY, y=np.array([{}] * 40, dtype=object))
    assert "never unpickled" in refused(x=np.array([object()] * 40), y=Y)
    assert "x[3, 0, 0] is 7.5; images are floats in [0, 1]" in refused(
        x=np.where(np.arange(40)[:, None, None] == 3, 7.5, GREY / 255), y=Y
    )
    assert "is nan" in refused(x=np.where(np.arange(40)[:, None, None] == 39, np.nan, GREY / 255), y=Y)
    assert "images are whole numbers from 0 to 255" in refused(x=GREY.astype(int) * 3, y=Y)
    assert "must be (N, H, W)" in refused(x=GREY.reshape(40, 30), y=Y)
    assert "one label for each image" in refused(x=GREY, y=Y[:39])
    assert "split has 'tran'" in refused(x=GREY, y=Y, split=["tran"] * 40)
    assert "class_names has 3 names" in refused(x=GREY, y=Y, class_names=["a", "b", "c"])
    assert "one class, '0'" in refused(x=GREY, y=Y * 0)
    assert "no whole numbers" in refused(x=GREY, y=Y + 0.5)
    (tmp_path / "data.npz").write_bytes(b"no zip")
    assert "it is no zip archive" in refusal(tmp_path / "data.npz")


def test_four_gigabytes_that_a_header_claims_are_never_asked_for(tmp_path):
    path = npz(tmp_path, y=Y)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", header_of("(40, 10240, 10240)") + b"few bytes")
    assert "x promises 4,194,304,000 bytes in its header and has 9" in refusal(path)


def test_one_array_in_two_files_is_one_content(tmp_path):
    np.savez(tmp_path / "plain.npz", x=GREY, y=Y)
    np.savez_compressed(tmp_path / "packed.npz", y=Y, x=GREY, something_else=np.arange(3))
    assert key_of(tmp_path / "plain.npz") == key_of(tmp_path / "packed.npz")


# ---- what was prepared -----------------------------------------------------------------------------------------------


def test_colour_is_kept_in_the_store_with_its_notes(tmp_path):
    data = prepared(fill(tmp_path / "x", {"a": 5, "b": 5}, colour=True))
    (tmp_path / "kept").mkdir()
    save_prepared(data, tmp_path / "kept")
    again = load_prepared(tmp_path / "kept")
    assert (again.shape, again.notes, again.class_names) == ((3, 6, 5), data.notes, data.class_names)
    assert again.train.images.equal(data.train.images)
    assert data.train.as_float().view(-1, *data.shape)[0, 2, 1, 4] == data.train.images[0, 2, 1, 4] / 255


def test_what_images_have_around_them_is_the_median_of_their_border():
    white = torch.full((7, 3, 8, 9), 255, dtype=torch.uint8)
    white[:, :, 2:6, 2:6] = 0
    white[:, 1] -= white[:, 1] // 5
    assert ground_of(white).tolist() == pytest.approx([1, 0.8, 1], abs=1e-6)
    assert ground_of(torch.zeros(3, 5, 5, dtype=torch.uint8)).tolist() == [0]


def test_settings_of_ones_own_images_are_refused_elsewhere():
    with pytest.raises(ConfigError, match=r"data.size is '32'; it must be auto for mnist"):
        DataConfig("mnist", size="32")
