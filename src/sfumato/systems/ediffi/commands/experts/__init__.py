"""``sfumato experts``: models for parts of the noise levels: plan a split, put experts together."""

from sfumato.console.verbs import Verbs

main = Verbs(
    "experts",
    __name__,
    "An ensemble of expert denoisers (eDiff-I): train one model, go on from it on parts of the\n"
    "noise levels, and put the parts together. It draws as fast as one of them.",
    {
        "plan": "show which noise levels the experts of a split have",
        "join": "make one model of the runs of experts",
    },
    ("plan 3.7 3.0", "join runs/most-noise runs/least-noise runs/rest --out models/imagine"),
)
