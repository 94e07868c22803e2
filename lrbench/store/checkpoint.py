"""A checkpoint as bytes: what `torch.save` writes, behind its sha256."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import torch

_DIGEST = 32  # bytes of sha256 in front of the content


class Damaged(Exception):
    """The bytes are not those that were written, or not a checkpoint of this form; the message says which."""


def pack(snapshot: Any) -> bytes:
    """Dicts, lists, tuples, tensors, numbers, text and None, nested at will, as bytes."""
    file = io.BytesIO()
    torch.save(snapshot, file)
    content = file.getbuffer()  # and no copy: there may be hundreds of megabytes
    return b"".join([hashlib.sha256(content).digest(), content])


def unpack(packed: bytes) -> Any:
    """What `pack` was given, bit for bit, tensors on the CPU. Raises Damaged."""
    digest, content = packed[:_DIGEST], memoryview(packed)[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:  # torch.load would not notice a flipped bit
        raise Damaged("its checksum is wrong")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # of whatever kind: it is better to train anew than not at all
        raise Damaged("it is of another version of lrbench") from error
