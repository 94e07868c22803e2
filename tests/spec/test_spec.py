"""A spec is frozen, and its id depends on all of it and on nothing else."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import lrbench
from lrbench.spec.recipes import Recipe
from lrbench.spec.runspec import ADDED, RunSpec, id_of

RECIPE = dict(
    epochs=100,
    batch_size=128,
    lr=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=5e-4,
    schedule="step",
    crop=0.125,
    flip=True,
    label_smoothing=0.0,
    ema=0.0,
)
TEACHER = dict(
    protocol=1,
    method="hr-baseline",
    version="1",
    config={},
    dataset="digits",
    fingerprint={"train": "1a", "test": "2b"},
    degradation=None,
    scale=None,
    backbone="resnet18",
    width=0.25,
    recipe=RECIPE,
    precision="fp32",
    select="none",
    limit_train=None,
    limit_test=None,
    seed=0,
    needs={},
)
STUDENT = TEACHER | dict(
    method="dfd",
    config={"lam": 0.1, "init": "scratch"},
    degradation="pil-bicubic",
    scale=4,
    needs={"teacher": TEACHER},
)
# The stored runs of everybody are found by such ids: a change here makes all of them stale.
TEACHER_ID, STUDENT_ID = "06c5d46f6da63511", "65d778734f2a7521"

OTHER = dict(
    protocol=2,
    method="lr-baseline",
    version="2",
    config={"lam": 0.2, "init": "scratch"},
    dataset="svhn",
    fingerprint={"train": "1a", "test": "2c"},
    degradation="area",
    scale=2,
    backbone="vgg16",
    width=0.5,
    dropout=0.5,
    recipe=RECIPE | {"epochs": 99},
    precision="bf16",
    select="val",
    limit_train=100,
    limit_test=100,
    rare_classes="kept",
    seed=1,
    needs={"teacher": TEACHER | {"seed": 1}},
)
OTHER_RECIPE = dict(
    epochs=99,
    batch_size=64,
    lr=0.01,
    momentum=0.8,
    nesterov=True,
    weight_decay=1e-4,
    schedule="cosine",
    crop=0.25,
    flip=False,
    label_smoothing=0.1,
    ema=0.999,
)


@pytest.fixture
def student():
    return RunSpec(**STUDENT)


def test_equal_specs_have_equal_ids(student):
    turned = {name: STUDENT[name] for name in reversed(STUDENT)} | {
        "fingerprint": {"test": "2b", "train": "1a"},
        "config": {"init": "scratch", "lam": 0.1},
    }
    twin = RunSpec(**turned)
    assert twin.id == student.id and twin == student and hash(twin) == hash(student)
    assert len({twin, student}) == 1
    assert student != student.id and student != STUDENT


def test_ids_are_what_they_were(student):
    assert student.id == STUDENT_ID
    assert student.needs["teacher"].id == TEACHER_ID


def test_a_number_has_one_id_however_it_is_written():
    assert RunSpec(**TEACHER | {"width": 1}).id == RunSpec(**TEACHER | {"width": 1.0}).id


def test_the_id_is_the_same_in_other_processes_and_pythons():
    program = (
        "import sys; from lrbench.spec.runspec import RunSpec; print(RunSpec.model_validate_json(sys.stdin.read()).id)"
    )
    root = str(Path(lrbench.__file__).parents[1])
    pythons = [sys.executable, *filter(None, map(shutil.which, ("python3.12", "python3.13")))]
    for number, python in enumerate(pythons):
        environment = os.environ | {"PYTHONHASHSEED": str(number + 1), "PYTHONPATH": root}
        probe = subprocess.run([python, "-c", "import pydantic"], env=environment, capture_output=True)
        if probe.returncode and python != sys.executable:
            continue  # another Python, without pydantic
        answer = subprocess.run(
            [python, "-c", program], input=json.dumps(STUDENT), env=environment, capture_output=True, text=True
        )
        assert answer.stdout.strip() == STUDENT_ID, answer.stderr


@pytest.mark.parametrize("field", RunSpec.model_fields)
def test_every_field_moves_the_id(field, student):
    assert OTHER[field] != (STUDENT | ADDED)[field]
    other = RunSpec(**STUDENT | {field: OTHER[field]})
    assert other.id != student.id and other != student


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_every_field_of_the_recipe_moves_the_id(field, student):
    assert OTHER_RECIPE[field] != RECIPE[field]
    assert RunSpec(**STUDENT | {"recipe": RECIPE | {field: OTHER_RECIPE[field]}}).id != student.id


def test_what_is_not_set_is_not_the_same_as_nothing_set(student):
    assert RunSpec(**STUDENT | {"scale": None}).id != student.id
    assert RunSpec(**STUDENT | {"needs": {"other": TEACHER}}).id != student.id


@pytest.mark.parametrize("field", RunSpec.model_fields)
def test_attributes_are_frozen(field, student):
    with pytest.raises(ValidationError):
        setattr(student, field, getattr(student, field))
    with pytest.raises(ValidationError):
        delattr(student, field)


@pytest.mark.parametrize("field", ["config", "fingerprint", "needs"])
def test_dicts_are_frozen(field, student):
    held = getattr(student, field)
    before = dict(held)
    key = next(iter(before))
    for change in (
        lambda: held.__setitem__(key, 1),
        lambda: held.__delitem__(key),
        lambda: held.__ior__({"new": 1}),
        lambda: held.update(new=1),
        lambda: held.setdefault("new", 1),
        lambda: held.pop(key),
        held.popitem,
        held.clear,
    ):
        with pytest.raises(TypeError, match="does not change"):
            change()
    assert dict(held) == before


NESTED = {"args": {"x": 2, "layers": [1, {"y": [3]}]}}


def is_frozen(config):
    """Whether nothing in it can be changed, and it is as it was afterwards."""
    before = json.dumps(config)
    changes = [
        (config, "new"),
        (config["args"], "x"),
        (config["args"]["layers"], 0),
        (config["args"]["layers"][1], "y"),
    ]
    for held, key in changes:
        with pytest.raises(TypeError, match="does not change"):
            held[key] = 1
    layers = config["args"]["layers"]
    for change in (lambda: layers.append(1), layers.pop, layers.reverse, lambda: layers[1]["y"].sort()):
        with pytest.raises(TypeError, match="does not change"):
            change()
    return json.dumps(config) == before


def test_what_is_in_them_is_frozen_too():
    given = copy.deepcopy(NESTED)
    spec = RunSpec(**STUDENT | {"config": given, "needs": {"teacher": TEACHER | {"config": NESTED}}})
    run = spec.id
    assert is_frozen(spec.config) and is_frozen(spec.needs["teacher"].config) and spec.config == NESTED
    given["args"]["layers"].append(7)  # the caller keeps no hold on it
    assert spec.config == NESTED and spec.id == run == spec.model_copy().id == id_of(spec.model_dump(mode="json"))
    carried = [copy.deepcopy(spec), pickle.loads(pickle.dumps(spec)), spec.model_copy()]
    carried += [RunSpec.model_validate(spec.model_dump()), RunSpec.model_validate_json(spec.model_dump_json())]
    for there in carried:
        assert there == spec and there.config == NESTED and is_frozen(there.config)


def test_every_committed_run_has_the_id_of_its_folder():
    records = sorted((Path(__file__).parents[2] / "results" / "records").glob("[0-9a-f]*/record.json"))
    assert len(records) > 600
    for place in records:
        content = json.loads(place.read_bytes())["spec"]
        assert RunSpec.model_validate(content).id == id_of(content) == place.parent.name


def test_the_caller_keeps_no_hold_on_a_spec():
    config = {"lam": 0.1}
    spec = RunSpec(**STUDENT | {"config": config})
    config["lam"] = 9.0
    assert spec.config == {"lam": 0.1}


def test_json_round_trip(student):
    back = RunSpec.model_validate_json(student.model_dump_json())
    assert back == student and back.model_dump() == student.model_dump()
    assert isinstance(back.needs["teacher"], RunSpec)
    assert RunSpec.model_validate(json.loads(json.dumps(student.model_dump(mode="json")))).id == STUDENT_ID


def test_a_changed_copy_has_its_own_id(student):
    assert student.id == STUDENT_ID  # which is now cached
    other = student.model_copy(update={"seed": 1, "config": {"lam": 2.0}})
    assert other.id != student.id and other != student
    assert other.id == RunSpec(**STUDENT | {"seed": 1, "config": {"lam": 2.0}}).id
    assert student.model_copy() == student
    with pytest.raises(ValidationError):
        student.model_copy(update={"precision": "fp64"})


@pytest.mark.parametrize("carry", [copy.copy, copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
def test_specs_can_be_copied_and_sent_to_another_process(carry, student):
    there = carry(student)
    assert there == student and there.model_dump() == student.model_dump()


def test_walk_gives_needs_first_and_each_once(student):
    teacher = student.needs["teacher"]
    middle = RunSpec(**TEACHER | {"method": "middle", "needs": {"teacher": TEACHER}})
    top = RunSpec(**STUDENT | {"needs": {"a": middle, "b": RunSpec(**TEACHER), "c": student, "d": middle}})
    assert [spec.id for spec in top.walk()] == [teacher.id, middle.id, student.id, top.id]
    assert list(teacher.walk()) == [teacher]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 3},
        {"precision": "fp64"},
        {"select": "test"},
        {"width": 0},
        {"recipe": RECIPE | {"dropout": 0.5}},
        {"recipe": RECIPE | {"epochs": 0}},
        {"recipe": RECIPE | {"schedule": "linear"}},
        {"needs": {"teacher": TEACHER | {"teacher": None}}},
    ],
    ids=str,
)
def test_what_is_unknown_or_impossible_is_refused(wrong):
    with pytest.raises(ValidationError):
        RunSpec(**STUDENT | wrong)


def test_nothing_that_moves_scores_may_be_left_out():
    for field in (
        "method",
        "dataset",
        "fingerprint",
        "degradation",
        "scale",
        "backbone",
        "recipe",
        "precision",
        "seed",
    ):
        with pytest.raises(ValidationError):
            RunSpec(**{name: value for name, value in STUDENT.items() if name != field})
