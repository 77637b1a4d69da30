"""Decoding of common image formats to 8-bit RGB, rejection of other files, and atomic writes."""

import io
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rewardlab import assets, files, images
from rewardlab.files import sha256, write_atomic

ORIENTATION = 0x0112  # EXIF tag


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    if not assets.is_available("demo-faces"):
        pytest.skip("requirements-demo.txt is not installed")
    file = sorted(assets.find("demo-faces").glob("*.jpg"))[0]
    return Image.open(file).convert("RGB").resize((118, 157))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ],
)
def test_lossless_file_decodes_exactly(portrait, kind, options):
    assert np.array_equal(images.decode(encoded(portrait, kind, **options)), np.asarray(portrait))


@pytest.mark.parametrize(
    ("picture", "kind", "mean_error"),
    [
        (lambda p: p, "JPEG", 3),
        (lambda p: p, "WEBP", 3),
        (lambda p: p, "AVIF", 3),
        (lambda p: p, "JPEG2000", 3),
        (lambda p: p.convert("CMYK"), "JPEG", 3),
        (lambda p: p.convert("CMYK"), "TIFF", 1),
        (lambda p: p.quantize(256), "PNG", 5),
        (lambda p: p.quantize(256), "GIF", 5),
    ],
)
def test_lossy_or_converted_file_keeps_colours(portrait, picture, kind, mean_error):
    decoded = images.decode(encoded(picture(portrait), kind))
    assert decoded.shape == (157, 118, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.asarray(portrait)).mean() < mean_error


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_decodes_like_8_bit_grey(portrait, kind):
    grey = np.asarray(portrait.convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for picture in (Image.fromarray(grey), wide):
        decoded = images.decode(encoded(picture, kind))
        assert all(np.array_equal(decoded[..., channel], grey) for channel in range(3))


def test_transparency_is_composited_over_white(portrait):
    with_hole = portrait.convert("RGBA")
    with_hole.paste((0, 0, 0, 0), (0, 0, 40, 40))
    decoded = images.decode(encoded(with_hole, "PNG"))
    assert (decoded[:40, :40] == 255).all()
    assert np.array_equal(decoded[40:], np.asarray(portrait)[40:])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_rotation_is_applied(portrait, kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    rotated = portrait.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(images.decode(encoded(rotated, kind, exif=exif)), np.asarray(portrait))


def test_multi_picture_jpeg_decodes_to_main_image(portrait):
    data = encoded(portrait, "MPO", save_all=True, append_images=[portrait.rotate(180)])
    assert np.array_equal(images.decode(data), images.decode(encoded(portrait, "JPEG")))


@pytest.mark.parametrize(
    ("reason", "broken"),
    [
        ("empty", lambda p: b""),
        ("unsupported", lambda p: b"once upon a time " * 20),
        ("unsupported", lambda p: b"%PDF-1.7 " + bytes(500)),
        ("unsupported", lambda p: encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF")),
        ("truncated", lambda p: encoded(p, "JPEG")[:-200]),
        ("truncated", lambda p: encoded(p, "PNG")[:-200]),
        ("truncated", lambda p: encoded(p, "BMP")[:-200]),
        ("unsupported", lambda p: b"\0\0\0\x18ftypheic" + bytes(500)),
        ("truncated", lambda p: encoded(p, "AVIF")[:-200]),
        ("truncated", lambda p: encoded(p, "JPEG2000")[:-2]),
        ("corrupt", lambda p: encoded(p, "WEBP")[:-200]),
        ("corrupt", lambda p: encoded(p, "JPEG")[:20]),
        ("corrupt", lambda p: encoded(p, "PNG").replace(b"IDAT", b"IDAT\xff", 1)),
        ("animated", lambda p: encoded(p, "GIF", save_all=True, append_images=[p.rotate(9)])),
        ("animated", lambda p: encoded(p, "WEBP", save_all=True, append_images=[p.rotate(9)])),
        ("animated", lambda p: encoded(p, "TIFF", save_all=True, append_images=[p])),
        ("bomb", lambda p: png_claiming(9000, 9000)),
        ("bomb", lambda p: png_claiming(60000, 60000)),
    ],
)
def test_unusable_file_is_refused_with_reason(portrait, reason, broken):
    with pytest.raises(images.ImageError) as caught:
        images.decode(broken(portrait))
    assert caught.value.reason == reason


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM"])
def test_truncated_file_never_decodes_partially(portrait, kind):
    data = encoded(portrait.resize((16, 16)), kind)
    whole = images.decode(data)
    refused = 0
    for length in range(len(data)):
        try:
            assert np.array_equal(images.decode(data[:length]), whole)
        except images.ImageError:
            refused += 1
    assert refused > 0.9 * len(data)


def test_read_error_names_the_file(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a photograph")
    with pytest.raises(images.ImageError, match=r"notes\.jpg"):
        images.read(path)


def test_camera_raw_file_is_not_taken_for_its_thumbnail(portrait, tmp_path):
    path = tmp_path / "photo.NEF"
    path.write_bytes(encoded(portrait, "TIFF"))
    with pytest.raises(images.ImageError, match=r"\.NEF files are not supported; save it as PNG, JPEG or TIFF"):
        images.read(path)
    assert images.has_image_suffix(path)


def test_image_is_recognised_without_suffix(portrait, tmp_path):
    path = tmp_path / "portrait"
    path.write_bytes(encoded(portrait, "PNG"))
    assert images.is_image(path)
    path.write_text("not an image")
    assert not images.is_image(path)


def test_encoded_png_is_lossless_and_deterministic(portrait):
    array = np.asarray(portrait)
    data = images.encode_png(array)
    assert np.array_equal(images.decode(data), array)
    assert sha256(data) == sha256(images.encode_png(array.copy()[:, :, :]))
    assert Image.open(io.BytesIO(data)).info == {}


def test_failed_write_keeps_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "folder" / "image.png"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("release", [os.uname().release, "4.19.0-generic"])  # without a flush of a file system
def test_files_of_a_batch_get_their_names_together(tmp_path, monkeypatch, release):
    system = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*system[:2], release, *system[3:])))
    files._file_system_flush.cache_clear()
    wanted = {tmp_path / f"{number}" / "image.png": bytes([number]) * 1000 for number in range(3)}

    def stored() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*.png")}

    with files.AtomicFiles(tmp_path) as batch:
        for path, data in wanted.items():
            batch.add(path, data)
            batch.add(path, data)
        assert stored() == {}
        batch.finish()
        assert stored() == wanted
        batch.add(tmp_path / "late.png", b"never finished")
    assert stored() == wanted and not list(tmp_path.rglob("*.tmp"))
    files._file_system_flush.cache_clear()


def test_pixels_hash_depends_on_size_and_pixels_only():
    wide, high = (np.zeros(shape, np.uint8) for shape in ((2, 8, 3), (8, 2, 3)))
    assert images.pixels_sha256(wide) != images.pixels_sha256(high)
    assert images.pixels_sha256(wide) == images.pixels_sha256(wide[:, ::-1])
    assert images.pixels_sha256(wide) != images.pixels_sha256(wide + 1)


def test_concurrent_reader_sees_only_complete_files(tmp_path):
    path, whole = tmp_path / "image.png", {bytes([value]) * 500_000 for value in (1, 2)}
    write_atomic(path, next(iter(whole)))

    def write_many():
        for _ in range(10):
            for data in whole:
                write_atomic(path, data)

    writer = threading.Thread(target=write_many)
    writer.start()
    while writer.is_alive():
        assert Path(path).read_bytes() in whole
    writer.join()


def test_arrays_survive_conversion_to_tensor_and_back(portrait):
    arrays = [np.asarray(portrait), 255 - np.asarray(portrait)]
    tensor = images.to_tensor(arrays)
    assert tensor.dtype == torch.float32 and tensor.shape == (2, 3, 157, 118)
    assert tensor.min() >= 0 and tensor.max() <= 1
    for back, array in zip(images.to_arrays(tensor), arrays, strict=True):
        assert np.array_equal(back, array)

    outside = torch.tensor([-0.5, 0.5, 1.5]).reshape(1, 3, 1, 1)
    assert images.to_arrays(outside)[0].tolist() == [[[0, 128, 255]]]
    with pytest.raises(ValueError, match="not finite"):
        images.to_arrays(outside / 0)
    with pytest.raises(ValueError, match="same size"):
        images.to_tensor([arrays[0], arrays[1][:50]])
