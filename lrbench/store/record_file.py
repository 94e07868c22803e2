"""The files of a finished run, and its record.json: the record as JSON behind its sha256. How they are checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from lrbench.errors import named
from lrbench.spec.recipes import Recipe
from lrbench.spec.record import About, DataFacts, Record
from lrbench.spec.runspec import RunSpec, id_of

RECORD, CURVE, PREDICTIONS, WEIGHTS = "record.json", "curve.csv", "predictions.npz", "weights.safetensors"
Content = dict[str, Any]  # of a record.json, without its checksum
# of each part of a record: the fields that it must have, and those that it may have
FORM: dict[type[BaseModel], tuple[set[str], set[str]]] = {
    part: ({name for name, field in part.model_fields.items() if field.is_required()}, {*part.model_fields})
    for part in (Record, RunSpec, Recipe, DataFacts, About)
}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class OtherVersion(Exception):
    """A record that is whole, but not of the form that this version of lrbench writes."""


def sha256(data: bytes) -> str:
    """The checksum of a file, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def to_bytes(record: Record) -> bytes:
    """What is written: an altered record is noticed by the checksum of its canonical JSON."""
    content = record.model_dump(mode="json")
    return json.dumps({"sha256": sha256(_encode(content).encode()), **content}, indent=1).encode() + b"\n"


def read(folder: str, check: Collection[str] = ()) -> Content:
    """The record of a run as JSON values; of an older one without the fields that came later.

    check: names of files that are checked, too, but weights may be missing. Done without pydantic: a report reads
    thousands of records. Raises ValueError, KeyError, TypeError, AttributeError or OSError where the run is not what
    was written or belongs to another id than the folder's name, and OtherVersion.
    """
    content: Content = from_json(read_file(folder, RECORD))  # twice as quick as Python's own
    if content.pop("sha256", None) != sha256(_encode(content).encode()):
        raise ValueError("record.json is not what was written")
    if content["id"] != os.path.basename(folder):
        raise ValueError("its id is not the folder's name")
    _check(content, Record)
    _check(content["spec"], RunSpec)
    _check(content["data"], DataFacts)
    if content.get("about") is not None:
        _check(content["about"], About)
    if id_of(content["spec"]) != content["id"]:
        raise OtherVersion
    for name, checksum in content["files"].items():
        left_out = name == WEIGHTS and not os.path.exists(f"{folder}/{name}")  # of what is shared
        if name in check and not left_out and sha256(read_file(folder, name)) != checksum:
            raise ValueError(f"{name} is not what was written")
    return content


def read_file(folder: str, name: str) -> bytes:
    """A file's content. Of thousands of runs: making a Path takes longer than reading."""
    path = f"{folder}/{name}"
    with named(path), open(path, "rb") as file:
        return file.read()


def _check(content: Any, part: type[BaseModel]) -> None:
    """Raise OtherVersion where a part of a record has other fields than this version writes."""
    needed, known = FORM[part]
    if not isinstance(content, dict) or not needed <= content.keys() <= known:
        raise OtherVersion
    if part is RunSpec:
        _check(content["recipe"], Recipe)
        for need in content["needs"].values():
            _check(need, RunSpec)
