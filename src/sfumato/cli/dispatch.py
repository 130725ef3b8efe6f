"""The top of the command line: find the command, run it, turn errors into one sentence.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated. ``--debug``
anywhere before a literal ``--`` shows the traceback of an error instead of its sentence alone.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sfumato.console.verbs import listing
from sfumato.errors import DISK, SfumatoError, UsageError, reason
from sfumato.system import CommandEntry, commands, find

_BEGINS = "nothing that was there has changed; the same command begins again"
"""What an interrupted command says if it does not know better."""

_OPTIONS = """\
options:
  -h, --help     this text; after a command, the options of the command
  --version      the version
  --debug        show tracebacks

examples:
  sfumato tour                                            a page of pictures, to begin with
  sfumato models                                          what is shipped
  sfumato sample fashion --n 64 --steps 18 --out sheet.png
  sfumato train fashion --out runs/fashion                 train; add --resume to go on
  sfumato restore photo.jpg better.png --task jpeg --compare
  sfumato evaluate runs/fashion --data fashion-mnist --steps 10,18,50
"""


def overview() -> str:
    """The text of ``sfumato --help``."""
    return listing(
        "COMMAND [options]",
        "Diffusion models on one small, exact core.",
        "command",
        {name: command.summary for name, command in commands().items()},
        _OPTIONS,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process by default); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are no characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words, debug = _take(words, "--debug")
    name = words[0] if words else ""
    try:
        if name in ("", "-h", "--help", "help"):
            print(overview(), end="")
            _flush()
            return 0 if name else 2
        if name == "--version":
            print(_version())
            return 0
        if name.startswith("-"):
            raise UsageError(f"expected a command before {name!r}; see sfumato --help")
        with _terminable():
            status = _run(find("command", name, commands()), words[1:])
        _flush()
        return status
    except SystemExit as stop:  # tyro has said what is wrong, or printed the help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as stop:
        if debug:
            raise
        what = "stopped by SIGTERM" if stop.args == (signal.SIGTERM,) else "interrupted"
        _tell(f"\nsfumato: {'; '.join([what, *(_notes(stop) or [_BEGINS])])}")
        return 143 if stop.args else 130
    except BrokenPipeError:  # the reader went away, as in `sfumato models | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        return _say(name, error, 2, debug)
    except (SfumatoError, OSError) as error:
        return _say(name, error, 1, debug)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, ValueError) and _at_our_door(error):
            return _say(name, error, 2, debug)
        kind = type(error).__name__
        hint = "this may be a bug; --debug shows where it happened"
        return _say(name, f"{kind}: {error} ({hint})", 1, debug)


def _run(command: CommandEntry, words: list[str]) -> int:
    run: Callable[[list[str]], int | None] = importlib.import_module(command.module).main
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return run(words) or 0


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops a command as Ctrl-C does, so that it clears up and says what is kept."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _flush() -> None:
    """Find out here, and not at the end of the process, whether what was printed went out."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SfumatoError(f"what is printed cannot be written ({reason(error)})") from error


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning is a sentence too, without the line of code that it comes from."""
    print(f"warning: {message}", file=sys.stderr)


def _take(words: list[str], flag: str) -> tuple[list[str], bool]:
    """``words`` without ``flag``, and whether it was there (not looking behind ``--``)."""
    end = words.index("--") if "--" in words else len(words)
    head = [w for w in words[:end] if w != flag]
    return head + words[end:], len(head) < end


def _say(name: str, error: object, status: int, debug: bool) -> int:
    if debug and isinstance(error, BaseException):
        raise error
    where = f"sfumato {name}" if name in commands() else "sfumato"
    notes = _notes(error) if isinstance(error, BaseException) else []
    if isinstance(error, OSError) and error.errno in DISK and error.filename is None:
        error = f"{reason(error)}, perhaps where what is printed goes"
    elif isinstance(error, OSError) and error.errno:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        error = f"{' to '.join(names)}: {reason(error)}".removeprefix(": ")
    _tell("; ".join([f"{where}: {error}", *notes]))
    return status


def _tell(text: str) -> None:
    with suppress(OSError):  # nobody can be told that nobody can be told
        print(text, file=sys.stderr)


def _at_our_door(error: BaseException) -> bool:
    """Whether sfumato's own code raised this: its ValueErrors say what was expected."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    ours = str(Path(__file__).resolve().parent.parent)
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours)


def _version() -> str:
    from sfumato import __version__

    return f"sfumato {__version__}"
