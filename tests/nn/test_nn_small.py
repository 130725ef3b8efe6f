"""The embedding, the perceptron for points and the small classifier."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.nn import MLP, Classifier, ClassifierConfig, MLPConfig
from sfumato.nn.embed import Conditioning, NoiseFeatures


def test_noise_features_are_the_formula():
    c = torch.tensor([-1.7, 0.0, 0.3], dtype=torch.float64)
    got = NoiseFeatures(8)(c)
    f = torch.tensor([2.0 ** (-4 + 7 * j / 3) for j in range(4)], dtype=torch.float64)
    phase = 2 * math.pi * c[:, None] * f
    want = math.sqrt(2) * torch.cat([phase.cos(), phase.sin()], 1)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.square().mean(1), torch.ones(3, dtype=torch.float64))


def test_noise_features_do_not_lose_phase_in_bfloat16():
    features = NoiseFeatures(32)
    c = torch.linspace(-2, 1.5, 50)
    torch.testing.assert_close(features.bfloat16()(c), features(c.double()).float())


def test_noise_features_tell_levels_apart():
    y = NoiseFeatures(32)(torch.linspace(-2, 1.5, 200))
    gaps = torch.cdist(y, y)
    assert gaps[~torch.eye(200, dtype=torch.bool)].min() > 0.3
    assert (y[1:] - y[:-1]).norm(dim=1).max() < 6  # of at most 2 sqrt(32) = 11.3: smooth


def test_conditioning_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    net = Conditioning(8, 16, labels=(2, 3))
    level, labels = torch.randn(4), torch.tensor([[0, 0], [1, 2], [2, 3], [2, 1]])
    e = net.second(torch.nn.functional.silu(net.first(net.noise(level))))
    rows = [[0, 3], [1, 5], [2, 6], [2, 4]]  # axis 0 has rows 0-2, axis 1 rows 3-6
    want = torch.nn.functional.silu(e + torch.stack([net.table[a] + net.table[b] for a, b in rows]))
    torch.testing.assert_close(net(level, labels), want)


@pytest.mark.parametrize("kind", ["plain", "labels", "embedding"])
def test_points_network(kind):
    torch.manual_seed(0)
    config = MLPConfig(
        4, 2, width=32, blocks=2,
        labels=(5,) if kind == "labels" else (), embedding=3 if kind == "embedding" else 0,
    )  # fmt: skip
    net = MLP(config)
    x, level = torch.randn(6, 4), torch.randn(6)
    cond = {"plain": None, "labels": torch.arange(6), "embedding": torch.randn(6, 3)}[kind]
    assert not net(x, level, cond).any()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    y = net(x, level, cond)
    assert y.shape == (6, 2)
    torch.testing.assert_close(net.head(net.features(x, level, cond)), y)
    for i in range(6):
        one = slice(i, i + 1)
        alone = net(x[one], level[one], None if cond is None else cond[one])
        torch.testing.assert_close(alone, y[one], rtol=1e-5, atol=1e-5)
    (y.square().mean() + net(x, level, None).square().mean()).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
    if kind == "labels":
        torch.testing.assert_close(y[5], net(x, level, None)[5])


def test_points_network_learns_a_function():
    torch.manual_seed(0)
    net = MLP(MLPConfig(2, 1, width=32, blocks=2))
    x, level = torch.randn(256, 2), torch.rand(256) * 2 - 1
    want = (x[:, :1] * x[:, 1:]) + level[:, None]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(100):
        loss = (net(x, level) - want).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * want.var()


def test_points_network_refuses_bad_input():
    net = MLP(MLPConfig(2, 2, width=16))
    with pytest.raises(ValueError, match=r"shape \(B, 2\), got \(3, 4\)"):
        net(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match=r"noise_level of shape \(3,\), got \(2,\)"):
        net(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="blocks >= 1, got 0"):
        MLPConfig(blocks=0)
    with pytest.raises(ValueError, match="even width of at least 4, got 7"):
        MLPConfig(width=7)


@pytest.mark.parametrize("side", [28, 32])
def test_classifier_shapes_features_and_heads(side):
    torch.manual_seed(0)
    net = Classifier(ClassifierConfig(3, (10, 4), channels=8)).eval()
    x = torch.randn(5, 3, side, side)
    features, logits = net.features(x), net(x)
    assert features.shape == (5, net.width) == (5, 32)
    assert [tuple(z.shape) for z in logits] == [(5, 10), (5, 4)]
    for head, z in zip(net.heads, logits, strict=True):
        torch.testing.assert_close(head(features), z)
    torch.testing.assert_close(net.features(x[:1]), features[:1], rtol=1e-5, atol=1e-5)


def test_classifier_learns_stripes():
    torch.manual_seed(0)
    net = Classifier(ClassifierConfig(1, (2,), channels=8, multipliers=(1, 2)))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)

    def batch(n):
        labels = torch.randint(2, (n,))
        rows = torch.sign(torch.sin(torch.arange(12) * 2.0 + 6.28 * torch.rand(n, 1)))
        flat = rows[:, None, :, None].expand(n, 1, 12, 12)
        x = torch.where(labels[:, None, None, None] == 1, flat, flat.mT)
        return x + 0.3 * torch.randn_like(x), labels

    for _ in range(30):
        x, labels = batch(64)
        loss = torch.nn.functional.cross_entropy(net(x)[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    x, labels = batch(200)
    assert (net(x)[0].argmax(1) == labels).float().mean() > 0.97


def test_classifier_refuses_bad_input():
    with pytest.raises(ValueError, match="at least one label axis"):
        ClassifierConfig(1, ())
    with pytest.raises(ValueError, match=r"shape \(B, 1, H, W\), got \(2, 3, 8, 8\)"):
        Classifier(ClassifierConfig(1, (2,), channels=4))(torch.zeros(2, 3, 8, 8))
