"""``sfumato private``: train under differential privacy, export with a certificate, check it."""

from sfumato.console.verbs import Verbs

main = Verbs(
    "private",
    __name__,
    "Synthetic data with a certificate: the training adds noise so that no record of the\n"
    "data can be found out from the model or from what it draws.",
    {
        "plan": "work out noise, steps or epsilon before any training",
        "train": "train a model whose training is differentially private",
        "export": "draw a labelled data set from it, with a certificate",
        "check": "check a certificate against its ledger and files",
    },
    (
        "plan --records 5000 --batch 512 --epochs 60 --epsilon 3",
        "train fashion --privacy.epsilon 10 --out runs/private",
        "export runs/private --n 10000 --out synthetic.npz",
        "check synthetic.certificate.json",
    ),
)
