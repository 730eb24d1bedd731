import struct
import sys
import zlib

import numpy as np
import pytest
import torch

from markovbridge.data import ImageFolder, locations

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
PngImagePlugin = pytest.importorskip("PIL.PngImagePlugin")


def save(path, pixels, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode).save(path, **options)
    return path


def flat(*colour, height=6, width=6):
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, len(colour)))


def noise(seed, height=8, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def load(root, **fields):
    return ImageFolder(root=root, **fields).load("all")


def test_reads_images_as_they_are_in_the_order_of_their_names(tmp_path):
    for i, name in enumerate(["b.png", "a.png", "c.PNG"]):
        save(tmp_path / name, noise(i))
    data = load(tmp_path, size=8)
    expected = np.stack([noise(i) for i in (1, 0, 2)]).transpose(0, 3, 1, 2)
    assert data.x.dtype == torch.uint8
    assert np.array_equal(data.x.numpy(), expected)
    assert (data.labels, data.label_names, data.maximum) == (None, None, 255)


def test_keeps_the_central_square(tmp_path):
    pixels = noise(0, height=8, width=13)
    save(tmp_path / "wide.png", pixels)
    assert np.array_equal(load(tmp_path, size=8).x[0].numpy(), pixels[:, 2:10].transpose(2, 0, 1))
    assert np.array_equal(
        load(tmp_path, size=4, crop=4).x[0].numpy(), pixels[2:6, 4:8].transpose(2, 0, 1)
    )


def test_crops_celeba_as_published(tmp_path):
    # 178x218: rows 39..178 and columns 19..158 are the central 140x140.
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[39:179, 19:159] = 200
    save(tmp_path / "000001.png", pixels)
    data = load(tmp_path, name="celeba", size=64, crop=140)
    assert data.x.shape == (1, 3, 64, 64)
    assert torch.equal(data.x, torch.full_like(data.x, 200))
    assert "Liu" in data.source
    assert "non-commercial" in data.licence


def test_resizes_by_averaging(tmp_path):
    # A pattern finer than the new pixels becomes its mean, as without antialiasing it would not.
    checker = 200 * (np.add.outer(np.arange(32), np.arange(32)) % 2)
    save(tmp_path / "checker.png", np.repeat(checker[..., None], 3, -1))
    data = load(tmp_path, size=4)
    assert (data.x.long() - 100).abs().max() <= 1


def test_decodes_jpeg_alike(tmp_path):
    save(tmp_path / "flat.jpg", flat(120, 60, 200, height=16, width=16), quality=95)
    data = load(tmp_path, size=4)
    expected = torch.tensor([120, 60, 200]).reshape(1, 3, 1, 1)
    assert (data.x.long() - expected).abs().max() <= 3


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_any_mode_becomes_colour_or_grey(tmp_path, mode):
    save(tmp_path / "white.png", flat(255, 255, 255), mode)
    assert load(tmp_path, size=6).x.unique().tolist() == [255]
    assert load(tmp_path, size=6, channels=1).x.shape == (1, 1, 6, 6)


def test_transparency_lies_on_white(tmp_path):
    half = flat(0, 100, 200, 51)  # a fifth opaque
    Image.fromarray(half.copy(), "RGBA").save(tmp_path / "half.png")
    assert load(tmp_path, size=6).x[0, :, 0, 0].tolist() == [204, 224, 244]
    palette = Image.new("P", (6, 6))
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "half.png", transparency=0)
    assert load(tmp_path, size=6).x.unique().tolist() == [255]


def test_turns_an_image_as_its_camera_says(tmp_path):
    pixels = noise(0)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    save(tmp_path / "turned.png", pixels, exif=exif)
    assert np.array_equal(
        load(tmp_path, size=8).x[0].numpy(), pixels[::-1, ::-1].transpose(2, 0, 1)
    )


def test_folders_name_classes(tmp_path):
    for i, name in enumerate(["cat/x/1.png", "ant/2.png", "cat/3.png", "bee/4.png"]):
        save(tmp_path / name, flat(i, i, i))
    data = load(tmp_path, size=6)
    assert data.label_names == ("ant", "bee", "cat")
    assert data.labels.tolist() == [0, 1, 2, 2]
    assert data.x[:, 0, 0, 0].tolist() == [1, 3, 2, 0]
    assert load(tmp_path, size=6, pattern="cat/**/*").labels is None
    save(tmp_path / "5.png", flat(5, 5, 5))
    with pytest.raises(ValueError, match="5.png lies in .* itself, but other images in its sub-"):
        load(tmp_path, size=6)


def test_the_splits_partition_the_images(tmp_path):
    for i in range(20):
        save(tmp_path / f"{i:02}.png", flat(i, i, i))
    source = ImageFolder(root=tmp_path, size=6, seed=4)
    seen = [source.load(s).x[:, 0, 0, 0].tolist() for s in ("train", "validation", "test")]
    assert [len(part) for part in seen] == [16, 2, 2]
    assert sorted(sum(seen, [])) == list(range(20))


def test_skips_nothing(tmp_path):
    save(tmp_path / "a.png", flat(1, 1, 1))
    (tmp_path / "list.txt").write_text("a.png 1")
    with pytest.raises(
        ValueError, match="list.txt is neither PNG nor JPEG; move it away, or name"
    ):
        load(tmp_path)
    assert len(load(tmp_path, pattern="*.png")) == 1
    (tmp_path / "list.txt").unlink()
    (tmp_path / "b.png").symlink_to(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="b.png cannot be read as PNG or JPEG"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: b"GIF89a" + data[6:],
        lambda data: b"some text",
    ],
)
def test_refuses_damaged_images(tmp_path, name, damage):
    path = save(tmp_path / name, noise(0, 64, 64))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{name} cannot be read as PNG or JPEG .*; fetch it"):
        load(tmp_path)


def test_refuses_other_formats_under_a_wrong_name(tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png cannot be read as PNG or JPEG"):
        load(tmp_path)


def write_deep(path, counts, kind):
    """A PNG of 16 bits by hand, its rows filtered in turn by None, Sub and Up."""
    height, width, channels = counts.shape
    rows = counts.astype(">u2").tobytes()
    rows = np.frombuffer(rows, np.uint8).reshape(height, width, 2 * channels).astype(int)
    left = np.pad(rows, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    above = np.pad(rows, ((1, 0), (0, 0), (0, 0)))[:-1]
    which = np.arange(height) % 3
    less = np.select([which[:, None, None] == 1, which[:, None, None] == 2], [left, above], 0)
    lines = np.c_[which, ((rows - less) % 256).reshape(height, -1)].astype(np.uint8)

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(lines.tobytes()))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b""))


@pytest.mark.parametrize(("kind", "stored"), [(0, 1), (2, 3)])
def test_sixteen_bits_are_counts_and_never_cut(tmp_path, kind, stored):
    counts = np.random.default_rng(0).integers(0, 65536, (9, 9, stored))
    counts[0, 0], counts[-1, -1] = 0, 65535
    write_deep(tmp_path / "deep.png", counts, kind)
    data = load(tmp_path, size=9, depth=16, channels=stored)
    assert (data.maximum, data.x.dtype) == (65535, torch.int32)
    assert np.array_equal(data.x[0].numpy(), counts.transpose(2, 0, 1))
    assert ImageFolder(root=tmp_path, size=9, depth=16).outline().maximum == 65535
    middle = load(tmp_path, size=3, crop=3, depth=16, channels=stored).x[0]
    assert np.array_equal(middle.numpy(), counts[3:6, 3:6].transpose(2, 0, 1))
    other = load(tmp_path, size=9, depth=16, channels=4 - stored).x[0].numpy()
    grey = (counts @ [0.299, 0.587, 0.114])[None] if stored == 3 else counts.transpose(2, 0, 1)
    assert np.abs(other - grey).max() <= 0.51
    with pytest.raises(ValueError, match="deep.png has 16 bits a channel, of which depth=8 would"):
        load(tmp_path, size=9)


def test_sixteen_bits_are_resized_and_turned_as_eight(tmp_path):
    counts = np.arange(64).reshape(8, 8, 1) * 1000
    for name, kind in (("grey", 0), ("colour", 2)):
        (tmp_path / name).mkdir()
        write_deep(tmp_path / name / "deep.png", counts.repeat(1 + kind, 2), kind)
        made = load(tmp_path / name, size=4, depth=16, channels=1 + kind).x[0, 0]
        mean = counts[..., 0].reshape(4, 2, 4, 2).mean((1, 3))
        # Away from the border the filter of a linear slope is its mean.
        assert np.array_equal(made[1:3, 1:3].numpy(), mean[1:3, 1:3])
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = tmp_path / "turned"
    turned.mkdir()
    Image.fromarray(counts[..., 0].astype(np.uint16)).save(turned / "deep.png", exif=exif)
    found = load(turned, size=8, depth=16, channels=1).x[0, 0].numpy()
    assert np.array_equal(found, counts[::-1, ::-1, 0])


def test_images_of_two_depths_or_with_transparency_are_no_counts_of_sixteen_bits(tmp_path):
    write_deep(tmp_path / "a.png", np.zeros((6, 6, 2), int), 4)
    with pytest.raises(ValueError, match="a.png has 16 bits a channel and transparency, which"):
        load(tmp_path, depth=16)
    save(tmp_path / "a.png", flat(1, 1, 1))
    with pytest.raises(ValueError, match="a.png has 8 bits a channel; leave depth=8"):
        load(tmp_path, depth=16)


def test_links_are_followed_and_not_in_circles(tmp_path):
    for name in ("set/cat/1.png", "elsewhere/dog/deep/2.png", "elsewhere/3.png"):
        save(tmp_path / name, flat(7, 7, 7))
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "set" / "cat" / "4.png").symlink_to(tmp_path / "elsewhere" / "3.png")
    (tmp_path / "elsewhere" / "dog" / "back").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "dog" / "all").symlink_to(tmp_path / "set")
    with pytest.warns(UserWarning, match=r"dog/back/3.png is taken once more"):
        data = load(tmp_path / "set", size=6)
    assert data.label_names == ("cat", "dog")
    # Of the dogs: 2.png, and through `back` 3.png; what leads into itself is left.
    assert data.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "cat").symlink_to(tmp_path / "set" / "cat")
    assert len(load(tmp_path / "links", size=6)) == 2


def test_images_that_links_double_are_named(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        save(tmp_path / name, flat(7, 7, 7))
    (tmp_path / "c").symlink_to(tmp_path / "a")
    with pytest.warns(UserWarning, match=r"c/1.png is taken once more: links lead"):
        assert len(load(tmp_path, size=6)) == 3
    (tmp_path / "b" / "3.png").symlink_to(tmp_path / "b" / "2.png")
    with pytest.warns(UserWarning, match=r"b/3.png, .*c/1.png are taken once more"):
        load(tmp_path, size=6)


def test_a_point_in_a_pattern_is_the_folder_itself(tmp_path):
    for name in ("1.png", ".2.png"):
        save(tmp_path / name, flat(7, 7, 7))
    with pytest.warns(UserWarning, match="left out what is hidden: .*2.png"):
        assert len(load(tmp_path, size=6, pattern="./*.png")) == 1


def test_what_is_hidden_is_left_out_and_named(tmp_path):
    for name in ("a/1.png", "b/2.png", ".ipynb_checkpoints/1.png", "a/.3.png", "a/.DS_Store"):
        save(tmp_path / name, flat(7, 7, 7), format="PNG")
    with pytest.warns(UserWarning, match="hidden: .*ipynb_checkpoints, .*3.png$"):
        data = load(tmp_path, size=6)
    assert data.label_names == ("a", "b") and len(data) == 2
    assert len(load(tmp_path, size=6, pattern=".ipynb_checkpoints/*")) == 1
    assert len(load(tmp_path, size=6, pattern="a/.3*")) == 1
    (tmp_path / "hidden" / ".all").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="has no files that match"):
        load(tmp_path / "hidden")


def test_all_bad_images_are_named_up_to_ten(tmp_path):
    for k in range(14):
        save(tmp_path / f"{k:02}.png", flat(1, 1, 1))
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 8\nzzzzzzzz\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "07.png", pnginfo=text)
    with pytest.raises(ValueError, match=r"07.png cannot be read as PNG or JPEG \(non-hex.*again"):
        load(tmp_path, size=6)
    for k in (2, 3):
        (tmp_path / f"{k:02}.png").write_bytes(b"some text")
    with pytest.raises(
        ValueError, match="^3 of 14 images .*02.png .*03.png .*07.png cannot.*\\);"
    ):
        load(tmp_path, size=6)
    for k in range(14):
        (tmp_path / f"{k:02}.png").write_bytes(b"some text")
    with pytest.raises(ValueError, match="^14 of 14 .*09.png .* and 4 more; fetch them again"):
        load(tmp_path, size=6)
    for k in range(12):
        (tmp_path / f"{k:02}.png").rename(tmp_path / f"{k:02}.bmp")
    with pytest.raises(ValueError, match="09.bmp and 2 more are neither PNG nor JPEG; move them"):
        load(tmp_path, size=6)


def test_refuses_images_smaller_than_the_crop(tmp_path):
    save(tmp_path / "small.png", flat(1, 1, 1, height=5, width=9))
    with pytest.raises(ValueError, match="small.png is 9x5, too small for crop=6; lower crop"):
        load(tmp_path, crop=6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 4}, "channels=4 must be 3 for colour or 1 for grey"),
        ({"size": 0}, "size=0 and crop=None must be at least 1 pixel"),
        ({"crop": 0}, "size=64 and crop=0 must be"),
    ],
)
def test_refuses_impossible_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        ImageFolder(**fields)


def test_says_what_brings_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "SYSTEM", tmp_path / "system")
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path))
    with pytest.raises(
        FileNotFoundError,
        match=r"'celeba' not found: .*celeba is not a folder and .*; fetch img_align_celeba.zip "
        r"from .* unpack it in \$MARKOVBRIDGE_DATA/celeba, or give its folder as root",
    ):
        ImageFolder(name="celeba").load()
    with pytest.raises(
        FileNotFoundError, match=r"put PNG or JPEG files in \$MARKOVBRIDGE_DATA/me"
    ):
        ImageFolder(name="me").load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty has no files that match '\*\*/\*'"):
        ImageFolder(root=tmp_path / "empty").load()
    save(tmp_path / "me" / "a.png", flat(1, 1, 1))
    assert len(ImageFolder(name="me").load("all")) == 1


def test_says_how_to_install_pillow(tmp_path, monkeypatch):
    save(tmp_path / "a.png", flat(1, 1, 1))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install Pillow"):
        load(tmp_path)
