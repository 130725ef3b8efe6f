"""Training: the loop, averaged weights, checkpoints, the log."""

from sfumato.train.adversary import Adversary
from sfumato.train.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    differences,
    find_checkpoint,
    load_weights,
    newest_checkpoint,
    parse_json,
)
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Data, Draws, Loss, Microbatch, positions, standard_loss
from sfumato.train.ema import Ema, ema_decay
from sfumato.train.levels import Levels, level, level_edges
from sfumato.train.loop import train
from sfumato.train.report import read_log
from sfumato.train.run import Sheet, Stopped

__all__ = [
    "Adversary",
    "Checkpoint",
    "Data",
    "Draws",
    "Ema",
    "Levels",
    "Loss",
    "Microbatch",
    "Sheet",
    "Stopped",
    "TrainConfig",
    "checkpoint_folders",
    "differences",
    "ema_decay",
    "find_checkpoint",
    "level",
    "level_edges",
    "load_weights",
    "newest_checkpoint",
    "parse_json",
    "positions",
    "read_log",
    "standard_loss",
    "train",
]
