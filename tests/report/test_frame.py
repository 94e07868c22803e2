"""The frame of results: a row per run, and the runs that stand in one table."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from helpers import tiny
from helpers.records import LR, diverged, net, record

from lrbench.report.frame import CONDITIONS, SHARED, WAY, WITHIN, classifiers, conditions, failures_of, frame, tables
from lrbench.spec.runspec import RunSpec
from lrbench.store.store import Store


def test_a_row_per_run_with_settings_metrics_and_environment():
    runs = [record("dfd", 70.0 + seed, seed, {"lam": 0.5}) for seed in (0, 1)] + [record(LR, 60.0), net()]
    found = frame(runs)
    assert list(found["id"]) == [one.id for one in runs]
    first = found.iloc[0]
    assert (first["method"], first["set.lam"], first["seed"], first["top1"]) == ("dfd", 0.5, 0, 70.0)
    assert json.loads(first["config"]) == runs[0].spec.config
    assert (first["status"], first["size"], first["tested_on"], first["env.finished"]) == (
        "done",
        "8x8",
        "lr",
        "2026-01-01",
    )
    assert (first["recipe"], first["recipe.batch_size"], first["data.test_images"]) == ("paper", 128, 10_000)
    assert first["needs"] == " ".join(f"{role}={need.id}" for role, need in sorted(runs[0].spec.needs.items()))
    assert pd.isna(found["set.lam"][2]) and pd.isna(found["top1"][3]) and found["psnr"][3] == 25.0
    assert list(classifiers(found)["id"]) == [one.id for one in runs[:3]]


def test_seeds_of_one_experiment_share_it_and_nothing_else_does():
    same = [record("dfd", seed=seed) for seed in range(3)]
    other = [record("dfd", settings={"lam": 0.5}), record("dfd", scale=2), record(LR)]
    assert len({*frame(same)["experiment"]}) == 1
    assert len({*frame(same[:1] + other)["experiment"]}) == 4


def test_every_field_of_the_spec_makes_a_way_of_training_or_splits_tables_or_may_differ():
    named = {"fingerprint": "content"}
    found = frame([record()])
    for field in RunSpec.model_fields:
        assert named.get(field, field) in found
        assert (field in WAY) + (field in WITHIN) + (named.get(field, field) in CONDITIONS) == 1


def test_settings_that_hold_others_are_json():
    arguments = {"num_feat": 32}
    one = record(spec={"config": {"arch": "EDSR", "args": arguments}})
    assert json.loads(frame([one])["set.args"][0]) == arguments


def test_an_empty_frame_has_no_tables():
    assert len(frame([])) == 0 and tables(frame([])) == [] and len(classifiers(frame([]))) == 0


def test_the_named_recipe_of_every_backbone_is_one_recipe():
    runs = [record(backbone=backbone) for backbone in ("resnet18", "alexnet")]
    assert runs[0].spec.recipe.lr != runs[1].spec.recipe.lr  # each has its own rate
    assert len(tables(frame(runs))) == 1


SPLITTING = {
    "scale": 2,
    "degradation": "area",
    "recipe": "quick",
    "epochs": 50,
    "batch_size": 32,
    "limit_train": 10_000,
    "limit_test": 1000,
    "select": "held-out",
    "dropout": 0.5,
}


@pytest.mark.parametrize("name", SPLITTING)
def test_what_differs_in_a_condition_stands_in_another_table(name):
    split = tables(frame([record(), record(seed=1), record(**{name: SPLITTING[name]})]))
    assert sorted(len(table) for table in split) == [1, 2]


def test_protocol_and_content_split_too_and_precision_does_not():
    other = [record(spec={"protocol": 1}), record(spec={"fingerprint": {"train": "3c", "test": "4d"}})]
    split = tables(frame([record(), *other]))
    assert len(split) == 3
    for by in (CONDITIONS, SHARED):  # the content is named, since one name has stood for two
        words = [conditions(table.iloc[0], by) for table in split]
        assert len(set(words)) == 3 and all("cifar10 with content" in one for one in words)
    assert "content" not in conditions(frame([record()]).iloc[0])
    assert len(tables(frame([record(), record(precision="bf16"), record(width=0.5), record(backbone="vgg16")]))) == 1


def test_rare_classes_that_a_limit_keeps_are_named_in_a_table_of_their_own():
    few = record(limit_train=60)
    kept = record(spec={"limit_train": 60, "rare_classes": "kept"})
    split = tables(frame([few, kept]))
    assert [list(table["id"]) for table in split] == [[few.id], [kept.id]]
    assert [("rare_classes kept" in conditions(table.iloc[0])) for table in split] == [False, True]
    assert "rare_classes" not in conditions(split[0].iloc[0])


def test_tables_stand_in_order_those_of_all_images_first():
    few = {"limit_train": 10_000, "epochs": 20}
    runs = [record(spec={"protocol": 1}), record(dataset="svhn"), record(scale=2), record(**few), record()]
    heads = [table.iloc[0] for table in tables(frame(runs))]
    order = [(head["protocol"], head["dataset"], head["scale"], head["recipe.epochs"]) for head in heads]
    assert order == [
        (2, "cifar10", 4, 100),
        (2, "cifar10", 4, 20),
        (2, "cifar10", 2, 100),
        (2, "svhn", 4, 100),
        (1, "cifar10", 4, 100),
    ]


def test_a_run_on_hr_stands_in_every_table_of_its_data_and_conditions():
    hr, other = record("hr-baseline", 90.0), record("hr-baseline", 90.0, recipe="quick")
    split = tables(frame([record(), record(scale=2), record(dataset="svhn"), hr, other]))
    with_hr = [(table.iloc[0]["dataset"], table.iloc[0]["scale"]) for table in split if hr.id in set(table["id"])]
    assert with_hr == [("cifar10", 4), ("cifar10", 2)]
    [alone] = [table for table in split if other.id in set(table["id"])]
    assert list(alone["id"]) == [other.id]  # no run on LR shares its recipe


def test_runs_that_failed_are_rows_and_belong_to_tables(tmp_path):
    store = Store(tmp_path)
    data = replace(tiny.info(32), name="cifar10", counts={"train": 50_000, "test": 10_000})
    own = {"data": data, "width": 1.0}
    student, net_x4, net_x2 = (
        tiny.spec("dfd", seed=7, **own), tiny.spec("sr-espcn", **own), tiny.spec("sr-espcn", **(own | {"scale": 2}))
    )  # fmt: skip
    for spec in (student, net_x4, net_x2):
        store.write_failure(spec, "out of memory")
    assert set(frame(store)["status"]) == {"failed"}
    results = frame([record()], store.failures())
    failed = results[results["status"] == "failed"].set_index("id")
    assert failed.loc[student.id, "size"] == "8x8" and failed.loc[student.id, "why"] == "out of memory"
    [table] = tables(results)
    assert set(failures_of(results, table)["id"]) == {student.id, net_x4.id}


def test_a_failure_that_another_version_has_made_good_is_no_row():
    older = record().spec.model_copy(update={"version": "0"})
    assert list(frame([record(seed=1)], [(older, "a bug")])["status"]) == ["done", "failed"]
    assert list(frame([record()], [(older, "a bug")])["id"]) == [record().id]


def test_runs_know_their_teachers_and_a_diverged_teacher_has_no_score():
    student, teacher = record("dfd"), record("hr-baseline", 90.0)
    assert list(student.spec.needs.values()) == [teacher.spec]
    for one, top1 in ((teacher, 90.0), (diverged(teacher), None)):
        found = frame([student, one]).set_index("id")["teacher_top1"]
        assert found[student.id] == top1 if top1 else pd.isna(found[student.id])
        assert pd.isna(found[one.id])


def test_what_is_deployed_is_what_the_record_says_or_where_nothing_stands_in_front_all_parameters():
    through, plain = record("espcn"), record("lr-baseline")
    plain = plain.model_copy(update={"metrics": plain.metrics | {"parameters": 1000}})
    known = through.model_copy(update={"metrics": through.metrics | {"deployed_parameters": 1023}})
    assert list(frame([known, plain])["deployed"]) == [1023, 1000]
    assert pd.isna(frame([through])["deployed"][0])  # an older record: nothing is known of the SR net's share


def test_what_one_looks_for_stands_first():
    assert list(frame([record()]).columns)[:8] == [
        "id",
        "name",
        "backbone",
        "dataset",
        "size",
        "seed",
        "status",
        "top1",
    ]


def test_a_run_from_before_a_setting_was_added_counts_as_with_its_default():
    older = record("dfd", seed=0)
    rest = {name: value for name, value in older.spec.config.items() if name != "reduction"}
    older = record("dfd", seed=0, spec={"config": rest})
    found = frame([older, record("dfd", seed=1)])
    assert json.loads(found["config"][0]) == json.loads(found["config"][1])
    assert found["experiment"].nunique() == 1 and older.id != record("dfd", seed=0).id
