"""The top of the command line: help without torch, exit statuses, one clear message."""

import subprocess
import sys

import pytest

from sfumato import __version__
from sfumato.cli import dispatch, main
from sfumato.errors import MissingExtra, SfumatoError
from sfumato.system import CommandEntry, commands


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running ``code``."""
    text = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["sample", "--help"], ["models", "--json"],
                                   ["train", "--help"], ["tour", "--help"], ["data", "list"],
                                   ["evaluate", "--help"], ["encode", "--help"]])  # fmt: skip
def test_help_does_not_wait_for_torch(words: list[str]) -> None:
    modules = loaded_by(f"from sfumato.cli import main\nmain({words!r})")
    assert "sfumato" in modules
    assert modules.isdisjoint({"torch", "accelerate", "matplotlib", "scipy"})


def test_top_help_does_not_even_import_tyro() -> None:
    assert loaded_by("from sfumato.cli import main\nmain(['--help'])").isdisjoint(
        {"tyro", "rich", "numpy"}
    )


def test_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sfumato", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"sfumato {__version__}\n")


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in commands().values():
        assert f"  {command.name} " in shown
        assert command.summary in shown


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["smaple"], 2, "sfumato: unknown command 'smaple'; did you mean 'sample'?"),
        (["--n", "3"], 2, "sfumato: expected a command before '--n'; see sfumato --help"),
        (["sample", "tiny-gray"], 2, "sfumato sample: unknown model 'tiny-gray'; did you mean "
         "'tiny-faces' or 'tiny-grey' or 'tiny-phase'?"),
        (["sample", "no/such"], 2, "sfumato sample: there is no folder 'no/such'; a model of that "
         "name on the Hugging Face hub is fetched with: sfumato models no/such --download (in "
         "Python: sfumato.download('no/such'))"),
        (["sample", "tiny-grey", "--steps", "0"], 2,
         "sfumato sample: --steps must be at least 1, got 0"),
        (["sample", "tiny-grey", "--n", "0"], 2, "sfumato sample: --n must be at least 1, got 0"),
        (["sample", "tiny-grey", "--out", "a.jpg"], 2,
         "sfumato sample: --out a.jpg: expected .png or .webp (a sheet), .npz (arrays) or a "
         "folder; got '.jpg'"),
        (["sample", "tiny-grey", "--eta", "1"], 2,
         "sfumato sample: --eta belongs to --solver ddim, got --solver auto"),
        (["sample", "tiny-grey", "--label", "10"], 2,
         "sfumato sample: the label 'class' has the values 0 to 9 (a, b, c, d, e, f, g, h, i, j), "
         "got 10"),
        (["sample", "tiny-faces", "--label", "stile=micah"], 2,
         "sfumato sample: unknown label axis 'stile'; did you mean 'style'?"),
        (["sample", "tiny-faces", "--label", "style=mica"], 2,
         "sfumato sample: unknown value of the label 'style' 'mica'; did you mean 'micah'?"),
        (["sample", "tiny-points", "--label", "3"], 2,
         "sfumato sample: this model was trained without labels, got the label '3'"),
        (["sample", "tiny-points", "--guidance", "2"], 2,
         "sfumato sample: guidance needs a model with labels; this one has none"),
        (["sample", "tiny-points", "--out", "folder"], 2,
         "sfumato sample: points are written as .png, .webp or .npz, not as a folder"),
        (["sample", "tiny-grey", "--solver", "genie"], 2,
         "sfumato sample: 'tiny-grey' has no derivative head: train one with `sfumato train genie "
         "--model tiny-grey --out runs/genie` and sample runs/genie, or take --solver taylor, "
         "which computes the derivative at three evaluations a step"),
        (["sample", "tiny-phase", "--solver", "taylor"], 2,
         "sfumato sample: a derivative along γ = σ/α needs a scheduled process, got "
         "CriticallyDamped(beta0=4.0, beta1=0.0, mass_inv=4.0, gamma=0.04, noise=White())"),
        (["sample", "tiny-phase", "--solver", "deis"], 2,
         "sfumato sample: the solver 'deis' needs a model with a noise level σ/α, which this one "
         "has not: take dpmpp2m, or sscs for a model with a velocity"),
        (["sample", "tiny-grey", "--solver", "sscs"], 2,
         "sfumato sample: splitting (SSCS) is for critically damped Langevin diffusion, got "
         "Scheduled(schedule=EDM(sigma_max=80.0), noise=White()): use EulerMaruyama or Ancestral"),
        (["models", "tiny-gery"], 2, "sfumato models: unknown model 'tiny-gery'; did you mean "
         "'tiny-faces' or 'tiny-grey' or 'tiny-phase'?"),
        (["data", "show", "fashon-mnist"], 2, "sfumato data: unknown data set 'fashon-mnist'; did "
                                              "you mean 'fashion-mnist'?"),
        (["data", "fetch", "digts"], 2, "sfumato data: unknown data set 'digts'; did you mean "
                                        "'digits'?"),
        (["train", "fasion"], 2, "sfumato train: unknown recipe 'fasion'; did you mean "
                                 "'fashion'?"),
        (["evaluate", "tiny-grey", "--data", "fashion"], 2,
         "sfumato evaluate: unknown data set 'fashion'; did you mean 'fashion-mnist'?"),
        (["evaluate", "tiny-grey", "--steps", "3,0"], 2,
         "sfumato evaluate: --steps must be at least 1, got 0"),
        (["evaluate", "x.npz"], 2,
         "sfumato evaluate: say with --data what the pictures should be compared with"),
        (["encode", "tiny-grey", "x.npz", "--solver", "ancestral"], 2,
         "sfumato encode: encoding follows an ODE: take a solver without noise, eta and churn 0"),
        (["tour", "--seconds", "0"], 2, "sfumato tour: --seconds must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_sentence(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == status
    out, err = capsys.readouterr()
    assert err == message + "\n"
    assert out == ""


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sample", "tiny-grey", "--solver", "hoin"], ["unknown solver 'hoin'", "'heun'"]),
        (["sample", "tiny-grey", "--grid", "karas"], ["unknown grid 'karas'", "'karras'"]),
        (["sample", "tiny-grey", "--stepps", "3"], ["--stepps", "--steps"]),
        (["sample", "tiny-grey", "--n", "many"], ["--n", "many"]),
        (["sample"], ["NAME"]),
        (["data", "lst"], ["unknown action 'lst'", "'list'"]),
        (["evaluate", "tiny-grey", "--steps", "3,x"], ["whole numbers", "3,x"]),
    ],
)
def test_options_that_do_not_parse_exit_2(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    err = " ".join(capsys.readouterr().err.replace("│", " ").split())
    for part in parts:
        assert part in err
    assert "Traceback" not in err


def raises(error: BaseException) -> CommandEntry:
    def run(words: list[str]) -> None:
        raise error

    module = type(sys)("tests_broken_command")
    module.main = run  # type: ignore[attr-defined]
    sys.modules["tests_broken_command"] = module
    return CommandEntry("broken", "tests_broken_command", "")


def noted(error: BaseException, note: str) -> BaseException:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SfumatoError("the disk is full"), 1, "sfumato tour: the disk is full\n"),
        (MissingExtra("pip install 'sfumato[data]'"), 1,
         "sfumato tour: pip install 'sfumato[data]'\n"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), 1,
         "sfumato tour: a.png: no such file or folder\n"),
        (RuntimeError("odd"), 1, "sfumato tour: RuntimeError: odd (this may be a bug; --debug "
                                 "shows where it happened)\n"),
        (KeyboardInterrupt(), 130, "\nsfumato: interrupted; nothing that was there has changed; "
                                   "the same command begins again\n"),
        (noted(KeyboardInterrupt(), "half is kept"), 130, "\nsfumato: interrupted; half is kept\n"),
        (noted(SfumatoError("full"), "half is kept"), 1, "sfumato tour: full; half is kept\n"),
    ],
)  # fmt: skip
def test_failures(
    error: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dispatch, "find", lambda *_: raises(error))
    assert main(["tour"]) == status
    assert capsys.readouterr().err == message
    with pytest.raises(type(error)):
        main(["tour", "--debug"])


def test_debug_is_not_taken_from_behind_two_dashes() -> None:
    assert dispatch._take(["a", "--debug", "--", "--debug"], "--debug") == (["a", "--", "--debug"],
                                                                            True)  # fmt: skip
    assert dispatch._take(["a", "--", "--debug"], "--debug") == (["a", "--", "--debug"], False)


def test_damaged_weights_are_refused(
    zoo_folder, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(zoo_folder / "tiny-grey", broken)
    data = bytearray((broken / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (broken / "model.safetensors").write_bytes(data)
    assert main(["sample", str(broken)]) == 1
    err = capsys.readouterr().err
    assert "model.safetensors" in err and "checksum" in err and err.count("\n") == 1


def test_an_empty_folder_is_no_model(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    assert main(["sample", str(tmp_path / "run")]) == 1
    assert "is not a model" in capsys.readouterr().err
