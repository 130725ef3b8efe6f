"""What cannot be private is refused, with a reason."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoise import Preconditioned
from sfumato.errors import SfumatoError, UsageError
from sfumato.process import Scheduled
from sfumato.schedule import EDM
from sfumato.systems.dpdm.accounting import most_steps
from sfumato.systems.dpdm.coupling import refuse_coupling
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.systems.dpdm.options import PrivacyConfig
from sfumato.train import Player, TrainConfig


class Net(nn.Module):
    """A network of two layers with something between them."""

    def __init__(self, between: nn.Module, zero: bool = False) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(1, 4, 3, padding=1), between
        self.last = nn.Conv2d(4, 1, 3, padding=1)
        if zero:
            nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.last(self.between(self.first(x)))


class LessTheMean(nn.Module):
    """Couples examples, under a name that tells nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class Remembers(nn.Module):
    """Keeps something of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.mul_(0.9).add_(0.1 * x.detach().mean())
        return x


def denoiser(between: nn.Module, zero: bool = False) -> Preconditioned:
    return Preconditioned(Net(between, zero), Scheduled(EDM()))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("between", "said"),
    [
        (nn.BatchNorm2d(4), r"'network\.between' is a BatchNorm2d.*group normalisation"),
        (nn.SyncBatchNorm(4), "is a SyncBatchNorm"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "is a InstanceNorm2d"),
        (LessTheMean(), r"'network\.between' \(LessTheMean\) gives an example another output"),
        (nn.Dropout(0.5), "draws random numbers of its own"),
        (Remembers(), r"buffer 'network\.between\.seen' changes"),
    ],
)
def test_networks_that_mix_their_examples(between: nn.Module, said: str, zero: bool) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_coupling(denoiser(between, zero), (1, 8, 8))


@pytest.mark.parametrize(
    "between",
    [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.Identity(), nn.SiLU()],
)
def test_networks_that_do_not(between: nn.Module) -> None:
    made = denoiser(between)
    before = {k: v.clone() for k, v in made.state_dict().items()}
    made.eval()
    refuse_coupling(made, (1, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())
    assert not made.training


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampling": "shuffle"}, "Poisson sampling.*Leave it at 'poisson'"),
        ({"epsilon": 0.0}, "privacy.epsilon"),
        ({"epsilon": float("inf")}, "privacy.epsilon"),
        ({"delta": 1.0}, "privacy.delta"),
        ({"clip": 0.0}, "privacy.clip"),
        ({"noise": -1.0}, "privacy.noise"),
        ({"multiplicity": 0}, "privacy.multiplicity"),
        ({"physical": 0}, "privacy.physical"),
        ({"population": -1}, "privacy.population"),
    ],
)
def test_settings(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PrivacyConfig(**settings)


def test_delta_batch_and_population_against_the_data(runs, tmp_path) -> None:
    def told(match: str, privacy=runs.PRIVACY, **settings) -> None:
        with pytest.raises(UsageError, match=match):
            runs.private_train(tmp_path / "x", privacy, replace(runs.toy.SETTINGS, **settings))
        assert not (tmp_path / "x").exists()  # nothing was begun

    told(r"privacy.delta: 0.01 is not below 1/100", replace(runs.PRIVACY, delta=0.01))
    told("population: 101 is more than the 100 records", replace(runs.PRIVACY, population=101))
    told("train.batch: 128 is more than the 100 records", batch=128)
    told(
        "train.batch: 64 is more than the 50 records",
        replace(runs.PRIVACY, population=50),
        batch=64,
    )
    told("fp16", mixed_precision="fp16")
    told("train.compile", compile=True)


def test_a_public_population_sets_the_rate(runs, tmp_path) -> None:
    out = tmp_path / "x"
    runs.private_train(out, replace(runs.PRIVACY, population=80))
    made = Ledger.read(out / NAME).mechanism
    assert (made.rate, made.records, made.population_is_exact) == (16 / 80, 80, False)


def test_a_second_player(runs, tmp_path) -> None:
    with pytest.raises(UsageError, match="second player sees the data"):
        runs.private_train(
            tmp_path / "x", others=[Player(nn.Linear(1, 1), lambda *a: torch.zeros(1), "adversary")]
        )


@pytest.fixture(scope="module")
def finished(runs, tmp_path_factory):
    """A private run of 30 steps."""
    out = tmp_path_factory.mktemp("finished") / "run"
    runs.private_train(out)
    return out


LONGER = {"steps": 60}


def longer(runs) -> TrainConfig:
    return replace(runs.toy.SETTINGS, **LONGER)


def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_a_spent_budget(runs, finished, tmp_path) -> None:
    out = copied(finished, tmp_path)
    with pytest.raises(UsageError, match="budget is spent: 30 steps.*one more would pass 3"):
        runs.private_train(out, settings=longer(runs), resume=True)
    assert Ledger.read(out / NAME).steps == 30
    more = replace(runs.PRIVACY, epsilon=3.5)
    runs.private_train(out, more, longer(runs), resume=True)
    made = Ledger.read(out / NAME)
    most = most_steps(3.5, made.mechanism.noise, 0.16, 1e-3, more.accountant)
    assert 30 < made.steps == most < 60


def test_a_budget_ends_a_run_early(runs, tmp_path) -> None:
    privacy = replace(runs.PRIVACY, noise=1.1, epsilon=4.0)
    last = runs.private_train(tmp_path / "run", privacy, replace(runs.toy.SETTINGS, steps=400))
    most = most_steps(4.0, 1.1, 0.16, 1e-3, privacy.accountant)
    assert 5 < most < 400
    assert Ledger.read(tmp_path / "run" / NAME).steps == most
    assert last.name == f"step-{most:08d}"


def test_weights_and_ledger_must_belong_together(runs, finished, tmp_path) -> None:
    out = copied(finished, tmp_path)
    good = (out / NAME).read_bytes()
    more = replace(runs.PRIVACY, epsilon=9.0)

    def told(error: type, match: str, privacy=more) -> None:
        with pytest.raises(error, match=match):
            runs.private_train(out, privacy, longer(runs), resume=True)

    (out / NAME).unlink()
    told(SfumatoError, "no readable ledger")
    (out / NAME).write_bytes(b"".join(good.splitlines(keepends=True)[:-3]))
    told(UsageError, "after 30 counted steps, of which .* does not tell")
    (out / NAME).write_bytes(good.replace(b'"n":7', b'"n":8'))
    told(SfumatoError, "line 8 does not follow")
    other = tmp_path / "other"
    runs.private_train(other)
    shutil.copy(other / NAME, out / NAME)
    told(UsageError, "is the ledger of")
    (out / NAME).write_bytes(good)
    told(UsageError, "clip: 1.0 there, 0.5 here", replace(more, clip=0.5))
    told(UsageError, "multiplicity: 3 there, 4 here", replace(more, multiplicity=4))
    told(UsageError, "randomness: reproducible there", replace(more, randomness=_fresh()))
    assert (out / NAME).read_bytes() == good


def _fresh():
    from sfumato.systems.dpdm.randomness import Randomness

    return Randomness.FRESH


def test_private_and_public_steps_do_not_mix(runs, finished, tmp_path) -> None:
    out = copied(finished, tmp_path)
    with pytest.raises(UsageError, match="a step without noise would end what it promises"):
        runs.toy.toy_train(out, longer(runs), resume=True)
    public = tmp_path / "public"
    runs.toy.toy_train(public)
    with pytest.raises(UsageError, match="not trained privately.*no later step takes that back"):
        runs.private_train(public, settings=longer(runs), resume=True)
    assert not (public / NAME).exists()


def test_a_sheet_shows_no_record() -> None:
    """The labels of records are not used for a private run's pictures."""
    import numpy as np

    from sfumato.data import DataCard, ImageSet, LabelAxis
    from sfumato.model.fit import sheet_labels

    axes = (LabelAxis("a", ("x", "y", "z")), LabelAxis("b", ("x", "y")))
    images = np.zeros((50, 1, 4, 4), np.uint8)
    labels = np.full((50, 2), 1)
    data = ImageSet("d", images, labels, axes, DataCard("d", "made", "none", ""))
    assert sheet_labels((3, 2), 40, data).unique().tolist() == [1]
    private = sheet_labels((3, 2), 40, data, private=True)
    assert private[:, 0].unique().tolist() == [0, 1, 2]
    assert private[:, 1].unique().tolist() == [0, 1]


def test_a_loss_that_draws_or_looks_at_others() -> None:
    """Numbers of the global generator go by place in the batch; a mean goes by everyone."""
    from sfumato.nn import MLP, MLPConfig
    from sfumato.train import standard_loss

    made = Preconditioned(MLP(MLPConfig(2, 2, width=8, blocks=1)), Scheduled(EDM()))
    refuse_coupling(made, (2,))
    with pytest.raises(UsageError, match="draw from the part's own generators"):
        refuse_coupling(made, (2,), loss=lambda d, p: standard_loss(d, p) * torch.rand(len(p.x0)))

    def relative(d: nn.Module, p: object) -> Tensor:
        losses = standard_loss(d, p)
        return losses / losses.mean().detach()

    with pytest.raises(UsageError, match="'the loss' .* gives an example another output"):
        refuse_coupling(made, (2,), loss=relative)
