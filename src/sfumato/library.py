"""What belongs to no paper's room: the library's own solvers, grids, data sets and commands.

Declared as a system declares its own, and read through the tables of `sfumato.system`.
"""

from __future__ import annotations

from sfumato.system import (
    CommandEntry,
    DataEntry,
    GridEntry,
    KindEntry,
    ProcessEntry,
    SolverEntry,
    System,
)

SOLVERS = (
    SolverEntry("ddim", "sfumato.solve:DDIM", "DDIM",
        "first order; --eta adds noise (Song et al. 2021)", options=("eta",)),
    SolverEntry("dpmpp2m", "sfumato.solve:DPMSolverPP", "DPM-Solver++ 2M",
        "multistep exponential integration, second order (Lu et al. 2022)", arguments={"order": 2}),
    SolverEntry("dpmpp3m", "sfumato.solve:DPMSolverPP", "exponential 3M",
        "multistep exponential integration, third order", arguments={"order": 3},
        evaluations=(1, 1)),
    SolverEntry("unipc", "sfumato.solve:UniPC", "UniPC-2",
        "DPM-Solver++ 2M and a corrector, third order (Zhao et al. 2023)", compared=()),
    SolverEntry("deis", "sfumato.solve:DEIS", "DEIS",
        "polynomials through past estimates of the noise (Zhang and Chen 2023)", level=True),
    SolverEntry("heun", "sfumato.solve:Heun", "Heun",
        "trapezoidal steps of the probability flow, with --churn (Karras et al. 2022)",
        options=("churn", "churn_min", "churn_max"), evaluations=(2, -1)),
    SolverEntry("euler", "sfumato.solve:Euler", "Euler", "Euler's method on the probability flow",
        compared=()),
    SolverEntry("ancestral", "sfumato.solve:Ancestral", "ancestral (DDPM)",
        "draws from the posterior at each step (Ho et al. 2020)", noisy=True),
    SolverEntry("euler-maruyama", "sfumato.solve:EulerMaruyama", "Euler-Maruyama",
        "Euler's method on the reverse SDE; on EDM's process, stochastic DDIM", noisy=True,
        compared=(2,)),
    SolverEntry("dormand-prince", "sfumato.solve:DormandPrince", "Dormand-Prince",
        "adaptive steps of order 5(4), with as many evaluations as they take", compared=()),
)  # fmt: skip

GRIDS = (
    GridEntry("karras", "sfumato.times:karras", "σ^(1/7) in equal steps", level=True),
    GridEntry("log-snr", "sfumato.times:log_snr", "ln σ/α in equal steps", level=True),
    GridEntry("uniform", "sfumato.times:uniform", "t in equal steps"),
    GridEntry("quadratic", "sfumato.times:quadratic", "√t in equal steps"),
)  # fmt: skip

_PLANE = {
    "8-gaussians": "8 Gaussians on a circle",
    "25-gaussians": "25 Gaussians on a grid",
    "diamond": "9 Gaussians on a turned grid",
    "swiss-roll": "a spiral",
    "multi-swiss-roll": "5 small spirals",
    "checkerboard": "8 squares of a board",
    "two-moons": "two interlocking half circles",
}

DATA = (
    DataEntry("fashion-mnist", "70,000 grey pictures of clothes, 28x28",
        "sfumato.data.named:fashion", packages=("fashion-mnist",)),
    DataEntry("digits", "10,000 handwritten digits, 28x28", "sfumato.data.named:handwritten",
        packages=("digits",)),
    DataEntry("avatars", "illustrated faces with known attributes, at any size",
        "sfumato.data.named:faces", trained=40_000),
    DataEntry("photographs", "random crops of a few real photographs, at any size",
        "sfumato.data.named:crops",
        packages=("photographs-16.04", "photographs-20.04", "photographs-test")),
    DataEntry("emoji", "1,561 things as drawn by four vendors, at any size",
        "sfumato.data.named:drawn_emoji",
        packages=("emoji-noto", "emoji-twemoji", "emoji-openmoji", "emoji-fluent")),
    DataEntry("stamps", "785 photographs and drawings of single things, at any size",
        "sfumato.data.named:drawn_stamps", packages=("stamps",)),
    *(DataEntry(name, f"points in the plane: {summary}", "sfumato.data.named:plane",
        arguments={"name": name}, trained=20_000) for name, summary in _PLANE.items()),
)  # fmt: skip

PROCESSES = (
    ProcessEntry("EDM", "sfumato.schedule:EDM", "x = x_0 + σ ε up to σ = 80 (Karras et al. 2022)",
        "EDM", law="sfumato.loss:edm_times"),
    ProcessEntry("VP", "sfumato.schedule:VPLinear",
        "variance preserving, β linear (Song et al. 2021)", "V"),
    ProcessEntry("FLOW", "sfumato.schedule:RectifiedFlow", "straight paths (Liu et al. 2023)",
        "FLOW", start=0.0001),
    ProcessEntry("DAMPED", "sfumato.damped:CriticallyDamped",
        "critically-damped Langevin diffusion (Dockhorn et al. 2022)", "VELOCITY_NOISE",
        mixed=True),
)  # fmt: skip

COMMANDS = (
    CommandEntry("sample", "sfumato.cli.sample",
        "draw samples: a sheet, a folder of pictures or an npz"),
    CommandEntry("train", "sfumato.cli.train", "train a model from a recipe, or resume a run"),
    CommandEntry("evaluate", "sfumato.cli.evaluate",
        "measure a model, or pictures, against real data"),
    CommandEntry("encode", "sfumato.cli.encode", "turn data into latents along the ODE, and back"),
    CommandEntry("studio", "sfumato.cli.studio",
        "a page on this machine to draw and paint with words"),
    CommandEntry("data", "sfumato.cli.data", "list, show, fetch and look at data sets"),
    CommandEntry("models", "sfumato.cli.models", "list the shipped models, show the card of one"),
    CommandEntry("tour", "sfumato.cli.tour",
        "write a page of pictures of everything, in two minutes"),
)  # fmt: skip

LIBRARY = System(
    "library", solvers=SOLVERS, grids=GRIDS, processes=PROCESSES, data=DATA, commands=COMMANDS,
    kinds=(KindEntry("sfumato.model.description:ModelConfig"),),
    parts=(
        "sfumato.process:Scheduled", "sfumato.damped:CriticallyDamped", "sfumato.bridge:Bridge",
        "sfumato.schedule:SymmetricBrownian", "sfumato.schedule:VPLinear",
        "sfumato.schedule:VPCosine", "sfumato.schedule:Shifted", "sfumato.schedule:VE",
        "sfumato.schedule:EDM", "sfumato.schedule:RectifiedFlow", "sfumato.noise:White",
        "sfumato.nn:UNetConfig", "sfumato.nn:MLPConfig", "sfumato.nn:EncoderWidths",
        "sfumato.nn:ContextConfig", "sfumato.data:LabelAxis", "sfumato.data.degrade:Task",
        "sfumato.data.degrade:*KINDS", "sfumato.loss:LogNormal",
    ),
)  # fmt: skip
