"""Read a dataset from a folder of class folders of pictures. Nothing is left out of it without a word."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from lrbench.data.dataset import SPLITS, Split
from lrbench.errors import UserError, few, raise_machines
from lrbench.store.files import Warn

Read = tuple[dict[str, Split], tuple[str, ...] | None]  # what was read, and the classes where the source names them


def need(right: object, otherwise: str) -> None:
    """Raise a UserError unless something is as it should be."""
    if not right:
        raise UserError(otherwise)


def read_folder(path: Path, warn: Warn) -> Read:
    """The splits and classes of a folder with train/CLASS/, test/CLASS/ and optionally val/CLASS/ of pictures.

    `warn` is told of hidden files, and of files beside the splits, which are left out. Raises UserError.
    """
    for part in ("train", "test"):
        need(
            (path / part).is_dir(),
            f"{path / part} is missing{_at(path / part)}; the folder needs train/CLASS/ and test/CLASS/ with images",
        )
    left_out: list[Path] = []
    classes = tuple(folder.name for folder in _class_folders(path / "train", left_out))
    need(len(classes) > 1, f"{path / 'train'} needs a folder of images for each of at least two classes")
    beside = _visible(path, left_out)
    for one in beside:
        right = one.is_dir() if one.name in SPLITS else one.is_file()  # such as a README
        need(right, f"{one} is no split{_at(one)}: the folder has train, test and, if need be, val; take it out")
    left_out += [one for one in beside if one.name not in SPLITS]
    splits = {part: _split(path / part, classes, left_out) for part in SPLITS if path / part in beside}
    if left_out:
        warn(f"left out of {path}: {few(sorted({str(one.relative_to(path)) for one in left_out}))}")
    return splits, classes


def _visible(folder: Path, left_out: list[Path]) -> list[Path]:
    """What lies in a folder, sorted; what is hidden, such as .DS_Store, is added to `left_out`."""
    found = sorted(folder.iterdir())
    left_out += [one for one in found if one.name.startswith(".")]
    return [one for one in found if not one.name.startswith(".")]


def _class_folders(path: Path, left_out: list[Path]) -> list[Path]:
    folders = _visible(path, left_out)
    for one in folders:
        need(one.is_dir(), f"{one} is no class folder{_at(one)}: images lie in a folder per class; take it out")
    return folders


def _at(path: Path) -> str:
    """How an error line goes on about a link that leads nowhere."""
    return "" if path.exists() or not path.is_symlink() else f" (a link to {os.readlink(path)}, which is not there)"


def _split(path: Path, classes: tuple[str, ...], left_out: list[Path]) -> Split:
    images, labels = list[np.ndarray](), list[int]()
    for folder in _class_folders(path, left_out):
        need(folder.name in classes, f"{folder} is a class that train/ does not have; add it there or take it out")
        for file in _visible(folder, left_out):
            images.append(_image(file))
            labels.append(classes.index(folder.name))
            side, others = len(images[-1]), len(images[0])
            sizes = f"{side}x{side}, where others are {others}x{others}"
            need(side == others, f"{file} is {sizes}: all images must have one size")
    need(images, f"{path} has no images; they lie in a folder per class, as {path / classes[0]}")
    return Split(np.stack(images), np.array(labels, np.int64))


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an image that was opened has more than 8 bits per channel, as far as Pillow's decoders are told so."""
    # Pillow clips the modes I and F to 0..255 instead of scaling them; of 16 bits of RGB it drops eight unsaid.
    if image.mode.startswith(("I", "F")):
        return True
    for codec, _, _, words in image.tile:
        white = words[-1] if codec.startswith("ppm") and isinstance(words, tuple) else 255  # the largest value there is
        if codec == "SGI16" or ";16" in str(words) or white > 255:
            return True
    return False


def _image(file: Path) -> np.ndarray:
    """The image as uint8 (S, S, 3), turned as its EXIF data say."""
    unreadable = f"{file} cannot be read as an image"
    need(file.is_file(), f"{unreadable}{_at(file)}: it is no file; images lie in their class's folder; take it out")
    try:
        with Image.open(file) as image:
            deep = _is_deep(image)
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a camera's second is a preview
            turned = ImageOps.exif_transpose(image)
            width, height = turned.size
            is_opaque = True
            if not deep and ("transparency" in turned.info or turned.getbands()[-1] in "Aa"):
                turned = turned.convert("RGBA")
                is_opaque = turned.getchannel("A").getextrema()[0] == 255
            pixels = np.asarray(turned.convert("RGB"))
    except Exception as error:  # of any kind: Pillow's decoders raise whatever damaged bytes lead to
        raise_machines(error, file)
        raise UserError(f"{unreadable}; repair it or take it out") from error
    need(not deep, f"{file} has more than 8 bits per channel; convert it to 8")
    need(frames == 1, f"{file} has {frames} frames; keep one, or make them files of their own")
    need(is_opaque, f"{file} has transparent pixels; put it on a background of your choice, without an alpha channel")
    need(width == height, f"{file} is {width}x{height}, not square; crop or pad it")
    return pixels
