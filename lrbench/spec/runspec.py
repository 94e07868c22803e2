"""The spec of a run: all that can move its score, and the id that this hashes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from lrbench.spec.recipes import Recipe

PROTOCOL = 2  # raised when a change of lrbench itself moves the scores of classifiers
RESTORATION_PROTOCOL = 1  # the same for SR nets, whose scores protocol 2 did not move
# Fields that were added later -> the value that means what was done before. Ids are taken without a field that has it.
ADDED = {"dropout": 0.0, "rare_classes": "by share"}


def frozen(value: Any) -> Any:
    """The same value, its dicts and lists being copies that raise TypeError when they are changed."""
    if isinstance(value, dict):
        return _Dict({name: frozen(item) for name, item in value.items()})
    return _List(map(frozen, value)) if isinstance(value, list) else value


def _refuse(*_: Any, **__: Any) -> Any:
    raise TypeError("a spec does not change; make another with model_copy(update=...)")


class _Dict(dict):
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and unpickled whole: item by item it would refuse."""
        return type(self), (dict(self),)


class _List(list):
    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = clear = extend = insert = pop = remove = _refuse
    reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


class RunSpec(BaseModel):
    """One run of one method. A run is a pure function of its spec, in which nothing can be changed.

    The id is taken from the canonical JSON of all fields, needs included: it is the same on every machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int = PROTOCOL
    method: str
    version: str = Field("1", description="the method's own version, or the hash of a draft's file")
    config: Annotated[dict[str, JsonValue], AfterValidator(frozen)] = Field({}, validate_default=True)
    dataset: str
    fingerprint: Annotated[dict[str, str], AfterValidator(frozen)] = Field(
        description="split -> sha256 of its content, whatever the order"
    )
    degradation: str | None = Field(description="None for a method that is trained and tested on HR")
    scale: int | None = Field(description="HR side / LR side; None with degradation None")
    backbone: str
    width: float = Field(gt=0)
    dropout: float = Field(0.0, ge=0, lt=1, description="of the features in front of the classifier's linear layer")
    recipe: Recipe
    precision: Literal["fp32", "bf16"]
    select: Literal["none", "best-epoch", "held-out", "val"] = Field(
        "none",
        description="best-epoch: the best epoch on held-out training images is tested; held-out: they are held out "
        "and measured, to choose settings by, and the last epoch is tested; val: what protocol 1 called best-epoch",
    )
    limit_train: int | None = None
    limit_test: int | None = None
    rare_classes: Literal["by share", "kept"] = Field(
        "by share",
        description="kept: a limit would leave out classes whose share is less than an image; one of each is in it",
    )
    seed: int
    needs: Annotated[dict[str, RunSpec], AfterValidator(frozen)] = Field({}, validate_default=True)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return id_of(self.model_dump(mode="json"))

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunSpec) and self.id == other.id

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> RunSpec:
        """Another spec, validated, with an id of its own: pydantic's copy would keep the id of this one."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(values | dict(update or {})))

    def walk(self) -> Iterator[RunSpec]:
        """This run and all it needs, each once, needs first."""
        needed = {spec.id: spec for need in self.needs.values() for spec in need.walk()}
        yield from needed.values()
        yield self


def id_of(content: dict[str, Any]) -> str:
    """The id of the spec that was dumped as this JSON."""
    canonical = json.dumps(stripped(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def stripped(content: Mapping[str, Any], names: Collection[str] = ()) -> dict[str, Any]:
    """A spec as JSON, without some fields and without those added later that are as before; those it needs alike."""
    kept = {
        name: value
        for name, value in content.items()
        if name not in names and not (name in ADDED and ADDED[name] == value)
    }
    return kept | {"needs": {role: stripped(need, names) for role, need in content["needs"].items()}}
