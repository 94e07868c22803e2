"""The baselines' and DFD's losses against their equations, image by image in float64 numpy."""

import numpy as np
import pytest
import torch
from helpers import tiny
from scipy.special import log_softmax

from lrbench.method import registry
from lrbench.train.build import start_from


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def cross_entropy(features: np.ndarray, classifier: torch.nn.Linear, y: torch.Tensor, smoothing: float = 0.0) -> float:
    """Eq. 2 and 3, the mean over the batch; Szegedy et al. 2016 section 7 for the smoothing."""
    weight, bias = array(classifier.weight), array(classifier.bias)
    total = 0.0
    for feature, label in zip(features, y.tolist(), strict=True):
        p = log_softmax(weight @ feature + bias)
        target = np.full(len(bias), smoothing / len(bias))
        target[label] += 1 - smoothing
        total -= target @ p
    return total / len(y)


def weights(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("lam", [0.0, 0.5, 2.0, 10.0])
def test_dfd_is_equations_1_to_4(lam, reduction):
    dfd, batch = tiny.method("dfd", {"lam": lam, "reduction": reduction}), tiny.batch()
    student, teacher = dfd.backbone, dfd.needs["teacher"].backbone
    f_s, f_t = array(student.features(batch.up)), array(teacher.features(batch.hr))
    assert f_s.shape == (6, 64) and not np.allclose(f_s, f_t)
    distillation = 0.0
    for s, t in zip(f_s, f_t, strict=True):
        squared_norm = sum((a - b) ** 2 for a, b in zip(s, t, strict=True))
        distillation += squared_norm / 2 / (1 if reduction == "sum" else len(s))  # Eq. 1
    distillation /= len(f_s)
    recognition = cross_entropy(f_s, student.classifier, batch.y)
    terms = dfd.loss(batch)
    assert set(terms) == {"recognition", "distillation"}
    assert terms["recognition"].item() == pytest.approx(recognition, rel=1e-5)
    assert terms["distillation"].item() == pytest.approx(lam * distillation, rel=1e-5)
    assert sum(terms.values()).item() == pytest.approx(recognition + lam * distillation, rel=1e-5)  # Eq. 4
    assert all(term.shape == () for term in terms.values())


def test_dfd_as_it_comes_is_the_paper():
    config = tiny.method("dfd").config
    assert (config.lam, config.reduction, config.init) == (2.0, "mean", "scratch")


def test_no_gradient_reaches_the_teacher():
    dfd, batch = tiny.method("dfd"), tiny.batch()
    teacher = dfd.needs["teacher"]
    before = weights(teacher)
    dfd.train()
    optimizers = dfd.optimizers(10)
    dfd.step(batch, optimizers)
    sum(dfd.loss(batch).values()).backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    teachers = {id(value) for value in teacher.parameters()}
    held = [weight for group in optimizers[0].optimizer.param_groups for weight in group["params"]]
    assert held and not teachers & {id(weight) for weight in held}
    assert set(dfd.state_dict()) == set(tiny.method("lr-baseline").state_dict())  # no teacher in the checkpoint


def test_distillation_stops_at_the_features():
    dfd, batch = tiny.method("dfd"), tiny.batch()
    dfd.loss(batch)["distillation"].backward()
    assert all(weight.grad is None for weight in dfd.backbone.classifier.parameters())
    others = [value for name, value in dfd.backbone.named_parameters() if not name.startswith("classifier")]
    assert others and all(weight.grad.abs().max() > 0 for weight in others)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_distillation_pulls_the_features_by_lambda_times_their_distance(reduction):
    dfd, batch, lam = tiny.method("dfd", {"lam": 0.7, "reduction": reduction}), tiny.batch(), 0.7
    kept = []
    features = dfd.backbone.features

    def keep(x):
        kept.append(features(x))
        kept[-1].retain_grad()
        return kept[-1]

    dfd.backbone.features = keep
    dfd.loss(batch)["distillation"].backward()
    (f_s,) = kept
    f_t = dfd.needs["teacher"].backbone.features(batch.hr)
    expected = lam * (array(f_s) - array(f_t)) / len(f_s)  # d/df of lambda/2 ||f - t||^2, batch mean
    if reduction == "mean":
        expected /= f_s.shape[1]
    assert np.allclose(array(f_s.grad), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("recipe", "smoothing"), [("paper", 0.0), ("strong", 0.1)])
@pytest.mark.parametrize(("name", "view"), [("lr-baseline", "up"), ("hr-baseline", "hr"), ("dfd", "up")])
def test_recognition_is_the_softmax_loss_on_the_methods_view(name, view, recipe, smoothing):
    method, batch = tiny.method(name, recipe=recipe), tiny.batch()
    features = array(method.backbone.features(getattr(batch, view)))
    expected = cross_entropy(features, method.backbone.classifier, batch.y, smoothing)
    terms = method.loss(batch)
    assert terms["recognition"].item() == pytest.approx(expected, rel=1e-5)
    assert set(terms) == ({"recognition", "distillation"} if name == "dfd" else {"recognition"})


@pytest.mark.parametrize("name", ["lr-baseline", "hr-baseline", "dfd"])
def test_the_test_path_is_the_backbone_alone(name):
    method, images = tiny.method(name).eval(), tiny.batch().up
    assert torch.equal(method(images), method.backbone.head(method.backbone.features(images)))
    assert method(images).shape == (6, 3)


def test_hr_baseline_alone_is_tested_on_hr():
    methods = {name: registry.method(name) for name in registry.methods()}
    assert {"hr-baseline", "lr-baseline", "dfd"} <= methods.keys()
    assert [name for name, cls in methods.items() if cls.view == "hr"] == ["hr-baseline"]


@pytest.mark.parametrize(("init", "source"), [("lr-baseline", "lr-baseline"), ("teacher", "hr-baseline")])
@pytest.mark.parametrize("name", ["dfd", "lr-baseline"])
def test_a_student_starts_from_the_weights_it_names(name, init, source):
    student = tiny.method(name, {"init": init}, seed=5)
    role = type(student).starts_from(student.config)
    assert student.needs[role].name == source
    origin = tiny.method(source, seed=5)
    with torch.no_grad():  # as a trained run would be: buffers moved too
        for number, value in enumerate(student.needs[role].state_dict().values()):
            value.add_(number % 7)
        for number, value in enumerate(origin.state_dict().values()):
            value.add_(number % 7)
    assert not torch.equal(student.backbone.classifier.weight, origin.backbone.classifier.weight)
    start_from(student, student.needs[role])
    wanted, got = origin.state_dict(), student.state_dict()
    assert set(got) == set(wanted)
    for key, value in wanted.items():
        assert torch.equal(got[key], value), key
    with torch.no_grad():  # a copy: training on leaves the run it started from alone
        student.backbone.classifier.weight.zero_()
    assert student.needs[role].backbone.classifier.weight.any()


def test_from_scratch_starts_from_nothing():
    for name in ("dfd", "lr-baseline"):
        cls = registry.method(name)
        config = cls.Config(init="scratch")
        assert cls.starts_from(config) is None and "init" not in cls.needs_of(config)


def test_optimizers_are_the_recipes_sgd():
    method = tiny.method("lr-baseline", recipe="strong", backbone="alexnet")
    (one,) = method.optimizers(100)
    (group,) = one.optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.01, 0.9, 5e-4, True)
    assert {id(weight) for weight in group["params"]} == {id(weight) for weight in method.parameters()}
    rates = []
    for done in range(100):
        one.set_rate(done)
        rates.append(group["lr"])
    assert max(rates) == pytest.approx(0.01, rel=1e-2) and rates[0] < 0.01 and rates[-1] < 1e-4


def test_a_step_goes_down_the_gradient_of_the_sum_of_terms():
    method, twin, batch = tiny.method("dfd"), tiny.method("dfd"), tiny.batch()
    optimizers = method.optimizers(4)
    for one in optimizers:
        one.set_rate(0)
    terms = method.step(batch, optimizers)
    loss = sum(twin.loss(batch).values())
    loss.backward()
    assert sum(terms.values()).item() == pytest.approx(loss.item())
    decay, rate = 5e-4, 0.1
    for (name, after), before in zip(method.named_parameters(), twin.parameters(), strict=True):
        expected = before - rate * (before.grad + decay * before)
        assert torch.allclose(after, expected, rtol=1e-4, atol=1e-6), name
