"""What every degradation owes, derived over all of `KINDS`: a new one without examples fails."""

from __future__ import annotations

import json
from inspect import isabstract

import pytest
import torch
from torch import Tensor

from sfumato.data import degrade as d
from sfumato.data.degrade import Degradation
from sfumato.model.codec import decode, encode
from sfumato.seeds import generators

F64 = torch.float64
NARROW = d.Blur(d.BlurKernel.GAUSSIAN, 3, (0.5, 0.5))

EXAMPLES: dict[type[Degradation], dict[str, Degradation]] = {
    d.Bicubic: {f"bicubic-{f}": d.Bicubic(f) for f in (2, 3, 4)},
    d.Blur: {
        "blur-uniform": d.Blur(d.BlurKernel.UNIFORM, 9),
        "blur-gauss": d.Blur(),
        "blur-drawn": d.Blur(d.BlurKernel.GAUSSIAN, 13, (0.8, 2.5)),
    },
    d.CentreMask: {"centre": d.CentreMask()},
    d.Chain: {
        "chain-linear": d.Chain((d.Pooled(2), NARROW)),
        "chain-noisy": d.Chain((d.Bicubic(2), d.Noisy((0.1, 0.2)), d.Grey())),
        "chain-jpeg": d.Chain((NARROW, d.Jpeg((20, 20)))),
        "chain-one": d.Chain((d.CentreMask(),)),
    },
    d.FreeForm: {"free-form": d.FreeForm(0.1, 0.4)},
    d.Grey: {"grey": d.Grey()},
    d.Jpeg: {
        "jpeg": d.Jpeg(),
        "jpeg-444": d.Jpeg((40, 40), subsample=False),
        "jpeg-drawn": d.Jpeg((5, 60)),
        "jpeg-cubic": d.Jpeg((30, 30), rounding=d.Rounding.CUBIC),
    },
    d.JpegFile: {"file": d.JpegFile(), "file-drawn": d.JpegFile((5, 60))},
    d.Noisy: {"noisy": d.Noisy(), "noisy-drawn": d.Noisy((0.1, 0.5))},
    d.Given: {"pairs": d.Given(), "given-name": d.Given("scratches")},
    d.Pooled: {f"pooled-{f}": d.Pooled(f) for f in (2, 3)},
    d.PublishedBlur: {
        "published-uniform": d.PublishedBlur(),
        "published-gauss": d.PublishedBlur(d.BlurKernel.GAUSSIAN),
    },
}
ALL = {name: kind for kinds in EXAMPLES.values() for name, kind in kinds.items()}
APPLIED = {name: kind for name, kind in ALL.items() if not isinstance(kind, d.Given)}

# facts of each example, written down here and not taken from its card
DRAWN = {"blur-drawn", "centre", "chain-noisy", "chain-one", "free-form", "jpeg-drawn",
         "file-drawn", "noisy", "noisy-drawn"}  # fmt: skip
NOISE = {"centre", "chain-noisy", "chain-one", "free-form", "noisy", "noisy-drawn"}
OFFSET = NOISE | {"published-uniform", "published-gauss"}  # y = A x + b with b != 0
CURVED = {"jpeg", "jpeg-444", "jpeg-drawn", "jpeg-cubic", "chain-jpeg", "file", "file-drawn"}
FLAT = CURVED - {"jpeg-cubic"}  # nothing flows back

each = pytest.mark.parametrize("name", APPLIED)


def pictures(n: int, height: int = 12, width: int = 12, dtype: torch.dtype = F64) -> Tensor:
    """Whole levels of 0 ... 255, so that a file holds them exactly."""
    g = torch.Generator().manual_seed(5)
    levels = torch.randint(0, 256, (n, 3, height, width), generator=g)
    return (levels.to(F64) / 127.5 - 1).to(dtype)


def apply(kind: Degradation, x: Tensor, seed: int = 0) -> Tensor:
    return kind(x, generators(seed, range(len(x))))


def below(kind: type) -> set[type]:
    """All that is derived from a class, however far."""
    return {c for k in kind.__subclasses__() for c in {k} | below(k)}


def test_every_kind_has_examples_and_every_degradation_is_a_kind() -> None:
    assert set(EXAMPLES) == set(d.KINDS)
    assert all(type(k) is cls for cls, kinds in EXAMPLES.items() for k in kinds.values())
    assert all(EXAMPLES.values())
    ours = {c for c in below(Degradation) if c.__module__.startswith("sfumato.")}
    assert {c for c in ours if not isabstract(c)} - {d.FromFunction} == set(
        d.KINDS
    )  # a function cannot be written into a file


@each
def test_the_seed_alone_decides_and_the_picture_given_stays(name: str) -> None:
    kind, x = APPLIED[name], pictures(4)
    before = x.clone()
    one, again = (kind.degrade(x, generators(3, range(4))) for _ in range(2))
    assert torch.equal(one.x1, again.x1)
    assert torch.equal(x, before)
    assert (one.known is None) == (again.known is None)
    if one.known is not None and again.known is not None:
        assert torch.equal(one.known, again.known)
    assert torch.equal(kind(x, generators(3, range(4))), one.x1)
    assert (not torch.equal(apply(kind, x, seed=4), one.x1)) == (name in DRAWN)
    # one generator for the whole batch, and torch's own, are seeds too
    shared = [kind(x, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*shared)
    torch.manual_seed(1)
    free = kind(x)
    torch.manual_seed(1)
    assert torch.equal(free, kind(x))


@each
def test_a_picture_depends_on_its_own_generator_not_on_its_batch(name: str) -> None:
    kind, x = APPLIED[name], pictures(5)
    whole = kind.degrade(x, generators(0, range(5)))
    for rows in ([0], [1], [2], [3], [4], [4, 2, 0]):
        part = kind.degrade(x[rows], generators(0, rows))
        torch.testing.assert_close(part.x1, whole.x1[rows], rtol=0, atol=1e-12)
        if whole.known is not None:
            assert part.known is not None
            assert torch.equal(part.known, whole.known[rows])


@each
def test_linear_is_what_the_card_calls_linear(name: str) -> None:
    """A(a x + b y) - A(0) = a (A(x) - A(0)) + b (A(y) - A(0)), the draws being the same."""
    kind = APPLIED[name]
    x, y = pictures(6)[:3], pictures(6)[3:]
    zero = apply(kind, torch.zeros_like(x))
    both = apply(kind, 0.7 * x - 0.4 * y) - zero
    apart = 0.7 * (apply(kind, x) - zero) - 0.4 * (apply(kind, y) - zero)
    error = float((both - apart).abs().max())
    assert kind.card.linear == (name not in CURVED)
    assert (error < 1e-11) if kind.card.linear else (error > 0.01), error
    if kind.card.linear:  # and A(0) = 0 but where noise stands or [0, 1] is meant
        assert (float(zero.abs().max()) > 0.01) == (name in OFFSET)


@each
def test_gradients_are_those_of_finite_differences_where_the_card_says_so(name: str) -> None:
    kind = APPLIED[name]
    x = (0.9 * pictures(1)).requires_grad_()
    assert kind.card.differentiable == (name not in FLAT)
    if not kind.card.differentiable:
        assert not apply(kind, x).requires_grad
        return
    made = torch.autograd.gradcheck(lambda v: apply(kind, v), (x,), fast_mode=True, atol=1e-7)
    assert made


@pytest.mark.parametrize("name", [n for n in APPLIED if n not in CURVED])
def test_adjoint(name: str) -> None:
    """<A x, y> = <x, Aᵀ y>, Aᵀ by autograd; its entries are those of A on single pixels."""
    kind = APPLIED[name]
    x, y = pictures(2)[:1].requires_grad_(), pictures(3)[2:]
    zero = apply(kind, torch.zeros_like(x))
    made = apply(kind, x)
    (back,) = torch.autograd.grad(made, x, y)
    inner = float(((made - zero) * y).sum().detach())
    assert inner == pytest.approx(float((x * back).sum().detach()), rel=1e-10, abs=1e-10)
    at = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(0))[:24]
    unit = torch.zeros(24, x.numel(), dtype=F64)
    unit[torch.arange(24), at] = 1
    column = kind(unit.reshape(24, *x.shape[1:]), [generators(0, [0])[0] for _ in range(24)])
    entries = ((column - zero) * y).sum((1, 2, 3))
    torch.testing.assert_close(entries, back.flatten()[at], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_json_and_back(name: str) -> None:
    kind = ALL[name]
    read = decode(json.loads(json.dumps(encode(kind))), Degradation, d.KINDS)  # type: ignore[type-abstract]
    assert read == kind
    assert type(read) is type(kind)
    if name in APPLIED:
        x = pictures(2)
        assert torch.equal(apply(read, x), apply(kind, x))


@each
def test_an_observation_is_smaller_by_scale_and_lifting_repeats_its_pixels(name: str) -> None:
    kind, x = APPLIED[name], pictures(2, 12, 12)
    y = kind.observe(x, generators(0, range(2)))
    s = kind.scale
    assert s == getattr(kind, "factor", 1)
    assert y.shape == (2, 3, 12 // s, 12 // s)
    lifted = kind.lift(y)
    assert lifted.shape == x.shape
    for i in range(12):
        for j in range(12):
            assert torch.equal(lifted[:, :, i, j], y[:, :, i // s, j // s])
    torch.testing.assert_close(lifted, apply(kind, x), rtol=0, atol=0)


@each
def test_float32_is_float64_rounded(name: str) -> None:
    kind, x = APPLIED[name], pictures(3)
    fine, coarse = apply(kind, x), apply(kind, x.float())
    assert (fine.dtype, coarse.dtype) == (F64, torch.float32)
    if name not in NOISE:  # noise is drawn in the type that is asked for
        torch.testing.assert_close(coarse.double(), fine, rtol=0, atol=2e-5)
    known = kind.degrade(x.float(), generators(0, range(3))).known
    if known is not None:
        assert known.dtype is torch.float32
        there = known.expand_as(x) > 0
        assert torch.equal(coarse[there], x.float()[there])


@pytest.mark.parametrize("name", [n for n, k in APPLIED.items() if k.scale == 1])
def test_odd_sizes(name: str) -> None:
    """What keeps the size takes any size; a blur turns with the picture, so no side is special."""
    kind = APPLIED[name]
    square = isinstance(kind, d.PublishedBlur)
    if name.startswith("chain") and name not in ("chain-jpeg", "chain-one"):
        with pytest.raises(ValueError, match="a height and width that 2 divides"):
            apply(kind, pictures(2, 13, 19))
        return
    x = pictures(2, 13, 13 if square else 19)
    y = apply(kind, x)
    assert y.shape == x.shape
    assert bool(y.isfinite().all())
    if name in ("blur-uniform", "blur-gauss", "blur-drawn", "grey"):
        torch.testing.assert_close(apply(kind, x.flip(2, 3)).flip(2, 3), y, rtol=0, atol=1e-12)


@each
def test_what_is_no_picture_is_refused_at_the_door(name: str) -> None:
    kind, x = APPLIED[name], pictures(2)
    for bad in (x[0], x[None], (x * 100).long(), (x * 100).to(torch.uint8)):
        with pytest.raises(ValueError, match=r"expected float pictures \(B, .*, H, W\)"):
            kind(bad)
    with pytest.raises(ValueError, match="expected pictures with at least one pixel"):
        kind(x[:0])
    with pytest.raises(ValueError, match="expected pictures with at least one pixel"):
        kind(x[:, :, :0])
    if name in DRAWN:
        with pytest.raises(ValueError, match="one generator per sample, 2 of them, got 3"):
            kind(x, generators(0, range(3)))
    if kind.scale > 1:
        with pytest.raises(ValueError, match=f"that {kind.scale} divides, got \\(12, 13\\): crop"):
            kind(pictures(2, 12, 13))


@pytest.mark.parametrize(
    ("kind", "want"),
    [(d.Grey(), "3"), (d.PublishedBlur(), "3"), (d.Jpeg(), "1 or 3"), (d.JpegFile(), "1 or 3")],
    ids=["grey", "published", "jpeg", "file"],
)
def test_wrong_channels_are_named(kind: Degradation, want: str) -> None:
    with pytest.raises(ValueError, match=rf"\(B, {want}, H, W\).*\(1, 2, 12, 12\)"):
        kind(pictures(1)[:, :2])
    if want == "3":
        with pytest.raises(ValueError, match=rf"\(B, {want}, H, W\).*\(1, 1, 12, 12\)"):
            kind(pictures(1)[:, :1])


@pytest.mark.parametrize("name", [n for n in ALL if n not in APPLIED])
def test_what_is_known_by_its_results_cannot_be_applied(name: str) -> None:
    kind = ALL[name]
    assert isinstance(kind, d.Given)
    with pytest.raises(ValueError, match=f"'{kind.name}' is known by its results only"):
        kind(pictures(1))
    assert kind.card.what == kind.name
    assert not kind.card.linear
    assert not kind.card.differentiable
