"""Training of any module: players and their tasks, the loop, checkpoints, the log."""

from sfumato.train.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    differences,
    find_checkpoint,
    load_weights,
    newest_checkpoint,
    parse_json,
)
from sfumato.train.config import TrainConfig, small
from sfumato.train.diffusion import DiffusionTask, Loss, Microbatch, diffusion, standard_loss
from sfumato.train.draws import Draws, positions
from sfumato.train.ema import Ema, ema_decay
from sfumato.train.levels import Levels, level, level_edges
from sfumato.train.loop import train
from sfumato.train.report import read_log
from sfumato.train.run import Sheet, Stopped
from sfumato.train.task import Data, Observer, Part, Player, Task, TensorData

__all__ = [
    "Checkpoint", "Data", "DiffusionTask", "Draws", "Ema", "Levels", "Loss", "Microbatch",
    "Observer", "Part", "Player", "Sheet", "Stopped", "Task", "TensorData", "TrainConfig",
    "checkpoint_folders", "differences", "diffusion", "ema_decay", "find_checkpoint", "level",
    "level_edges", "load_weights", "newest_checkpoint", "parse_json", "positions", "read_log",
    "small", "standard_loss", "train",
]  # fmt: skip
