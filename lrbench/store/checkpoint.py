"""The checkpoint of an unfinished run: what `torch.save` writes, in a file behind its sha256."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

from lrbench.errors import UserError, named, one_line, raise_machines
from lrbench.store.files import Warn, set_aside, written_whole

_DIGEST = 32  # bytes of sha256 in front of the content


def write(path: Path, snapshot: Any) -> None:
    """Replace a checkpoint. snapshot: dicts, lists, tuples, tensors, numbers, text and None, nested.

    Raises OSError, and UserError for a snapshot of anything else, which could not be read: the first one is tried.
    """
    import torch  # here and below, not above: reports do without it

    content = io.BytesIO()
    try:
        torch.save(snapshot, content)
        if not path.exists():
            content.seek(0)
            torch.load(content, map_location="cpu", weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        why = one_line(error).partition("GLOBAL ")[2].partition(" ")[0] or one_line(error)[:200]
        raise UserError(
            f"its state cannot be kept in a checkpoint, for {why}: keep tensors, numbers and text"
        ) from error
    with written_whole(path) as file:
        file.write(hashlib.sha256(content.getbuffer()).digest())
        file.write(content.getbuffer())


def read(path: Path, warn: Warn) -> Any | None:
    """What was written, bit for bit, tensors on the CPU; None where there is none, or it is damaged and set aside.

    Raises MemoryError, and OSError where the machine cannot read it.
    """
    import torch

    if not path.exists():
        return None
    with named(path):
        packed = path.read_bytes()
    why = "its checksum is wrong"
    if hashlib.sha256(memoryview(packed)[_DIGEST:]).digest() == packed[:_DIGEST]:  # torch.load would not notice
        try:
            return torch.load(io.BytesIO(packed[_DIGEST:]), map_location="cpu", weights_only=True)
        except Exception as error:  # of whatever kind: it is better to train anew than not at all
            raise_machines(error, path)
            why = "it is of another version of lrbench"
    set_aside(path, why, warn)
    return None
