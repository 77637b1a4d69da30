"""Decoding, encoding and conversion of images.

A stored image is an 8-bit RGB PNG and, in memory, a uint8 array (H, W, 3). The input of a network is a float32
tensor (B, 3, H, W) in [0, 1].
"""

import hashlib
import io
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
SIGNATURES = (
    b"\xff\xd8", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
    b"P1", b"P2", b"P3", b"P4", b"P5", b"P6",
)  # fmt: skip
HEIF_PACKAGES = ("pillow_heif", "pi_heif")  # optional: their wheels contain libraries under the LGPL or the GPL
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".avif"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif"),
}
# Photographs that cannot be decoded. A raw file is often a TIFF that holds a thumbnail, which must not be taken for it.
FOREIGN_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"),
    *(".dds", ".exr", ".hdr", ".icns", ".ico", ".jxl", ".jxr", ".pcx", ".psd", ".qoi", ".sgi", ".svg", ".tga", ".xcf"),
}
MAX_PIXELS = 64_000_000  # enough for a 50-megapixel phone camera; 192 MB when decoded

Reason = Literal["empty", "unsupported", "corrupt", "truncated", "bomb", "animated"]


class ImageError(ValueError):
    """A file that cannot be used as an image. `reason` is a fixed code for programs; the message is for users."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode a photograph to a new uint8 (H, W, 3) RGB array.

    EXIF rotation is applied. Transparent parts are composited over white. 16-bit grey is scaled (65535 becomes 255),
    not clipped; Pillow reads only the high byte of 16-bit colour. Grey, palette and CMYK images become RGB. Embedded
    colour profiles are not applied. HEIF needs one of `HEIF_PACKAGES`. Animations and multi-page files are rejected,
    since the intended frame is unknown; the second image of a camera's multi-picture JPEG is ignored. Damage that the
    JPEG decoder repairs silently is not detected.

    Raises `ImageError`. The size is read from the header and checked before any pixel is decoded.
    """
    if not data:
        raise ImageError("empty", "the file is empty")
    try:
        image = _open_checked(data, max_pixels)
        if image.format == "PNG":
            # Pillow checks a PNG's checksums only in verify(), which makes the opened image unusable.
            image.verify()
            image = _open_checked(data, max_pixels)
        if image.format == "JPEG2000" and data.rfind(b"\xff\xd9") < data.find(b"\xff\x4f\xff\x51"):
            # Its decoder may take a header without data for a whole image. The end marker cannot occur inside the data.
            raise EOFError("the end marker is missing")
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("bomb", f"the image is too large to decode safely; downscale it first ({error})") from error
    except Exception as error:  # decoders raise errors of any class on arbitrary bytes
        raise _why_unreadable(data, error) from error


def has_image_suffix(path: Path) -> bool:
    """Return whether the suffix is that of a photograph, decodable or not."""
    return path.suffix.lower() in SUFFIXES | FOREIGN_SUFFIXES


def is_image(path: Path) -> bool:
    """Return whether the file's content is an image of a supported format, whatever its name. Reads only its header."""
    try:
        with Image.open(path, formats=_formats()):
            return True
    except Exception:  # noqa: BLE001 - decoders raise errors of any class on arbitrary bytes
        return False


@cache
def _formats() -> tuple[str, ...]:
    for name in HEIF_PACKAGES:
        if find_spec(name):
            import_module(name).register_heif_opener()
            return (*FORMATS, "HEIF")
    return FORMATS


def _open_checked(data: bytes, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=_formats())
    if image.width * image.height > max_pixels:
        raise ImageError(
            "bomb",
            f"the image has {image.width} x {image.height} pixels; the limit is {max_pixels:,}. Downscale it first.",
        )
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageError("animated", f"this {image.format} has several frames or pages; save one of them as a file")
    return image


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise ImageError(
            "unsupported", f"pixel mode {image.mode} is not supported; save it as an 8-bit RGB PNG or JPEG"
        )
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return np.array(Image.alpha_composite(white, picture).convert("RGB"))
    return np.array(image.convert("RGB"))


def _why_unreadable(data: bytes, error: Exception) -> ImageError:
    box, brand = data[4:8], data[8:12]
    if box == b"ftyp" and brand in HEIF_BRANDS and "HEIF" not in _formats():
        return ImageError("unsupported", "HEIF (HEIC) images need a package: pip install pillow-heif")
    if not data.startswith(SIGNATURES) and box != b"ftyp":
        return ImageError("unsupported", f"not an image in a supported format; use one of {', '.join(FORMATS)}")
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return ImageError("truncated", f"the file is truncated; copy it again ({error})")
    unreadable = isinstance(error, UnidentifiedImageError)
    detail = "unreadable header" if unreadable else f"{type(error).__name__}: {error}"
    return ImageError("corrupt", f"the file is damaged; copy it again ({detail})")


def decode_file(path: Path, data: bytes, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode the content of a file as `decode` does. Refuses camera raw files, which may contain another image."""
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        raise ImageError("unsupported", f"{path.suffix} files are not supported; save it as PNG, JPEG or TIFF")
    return decode(data, max_pixels)


def read(path: Path) -> Pixels:
    """Decode the image file at `path`. An `ImageError` names the file; a missing file raises `FileNotFoundError`."""
    try:
        return decode_file(path, path.read_bytes())
    except ImageError as error:
        raise ImageError(error.reason, f"{path}: {error}") from error


def encode_png(array: Pixels) -> bytes:
    """Encode a uint8 (H, W, 3) RGB array as PNG: lossless, without metadata, deterministic.

    One filter for all rows and run-length matches only: `python -m tests.bench.bulk_in` compares it with zlib's usual
    level. Versions before 0.3 encoded otherwise: equal images are recognised by `pixels_sha256`, not by their files.
    """
    import cv2  # here, since web processes only read images

    require_rgb(array)
    is_encoded, data = cv2.imencode(
        ".png",
        cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2BGR),
        [
            *(cv2.IMWRITE_PNG_COMPRESSION, 1),
            *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
            *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
        ],
    )
    if not is_encoded:
        raise RuntimeError(f"OpenCV could not encode an image of shape {array.shape} as PNG")
    return data.tobytes()


def pixels_sha256(array: Pixels) -> str:
    """Return the sha256 of a uint8 (H, W, 3) array's size and pixels, which does not depend on how it is encoded."""
    require_rgb(array)
    digest = hashlib.sha256(f"{array.shape[0]} {array.shape[1]}\n".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def require_rgb(array: Pixels) -> None:
    """Raise `ValueError` unless `array` is a uint8 (H, W, 3) array with at least one pixel."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"a uint8 (H, W, 3) RGB array is needed, not {array.dtype} {array.shape}")


def to_tensor(arrays: Sequence[Pixels]) -> "torch.Tensor":
    """Convert uint8 (H, W, 3) arrays of one size to float32 (B, 3, H, W) in [0, 1].

    Raises `ValueError` for an empty list, other arrays, or different sizes.
    """
    import torch

    if not arrays:
        raise ValueError("no images given")
    for array in arrays:
        require_rgb(array)
    if len(sizes := {array.shape for array in arrays}) > 1:
        raise ValueError(f"the images of a batch must have the same size, not {sorted(sizes)}")
    batch = torch.from_numpy(np.stack(arrays))
    return batch.permute(0, 3, 1, 2).to(torch.float32).div(255).contiguous()


def to_arrays(tensor: "torch.Tensor") -> list[Pixels]:
    """Convert float (B, 3, H, W) to uint8 (H, W, 3) arrays; values are clamped to [0, 1] and rounded.

    Raises `ValueError` for another shape or for values that are not finite.
    """
    if tensor.ndim != 4 or tensor.shape[1] != 3:
        raise ValueError(f"a (B, 3, H, W) tensor is needed, not {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise ValueError("the image tensor has values that are not finite")
    batch = tensor.detach().float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [np.ascontiguousarray(image) for image in batch]
