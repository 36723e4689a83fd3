"""The frame of the tasks: the list, names, and errors that become one line."""

import importlib

import pytest

import tasks.__main__ as frame
from minidl.core.advice import install
from minidl.study.terminal import Commands
from tasks import command, plot
from tasks.denoise.train import Settings
from tasks.run import SETTINGS, Job


def test_no_name_lists_the_tasks_with_one_line_each(capsys):
    assert frame.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in frame.TASKS:
        assert sum(line.split()[:1] == [name] for line in lines) == 1
        assert len(frame.COMMANDS.describe(name).split()) > 2
    assert "denoise" in frame.TASKS


@pytest.mark.parametrize("name", frame.TASKS)
def test_every_task_shows_its_options(name, capsys):
    with pytest.raises(SystemExit) as stop:
        frame.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: python -m tasks {name}" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["denoize"], ["denoise", "--stpes", "3"], ["denoise", "--step", "3"]])
def test_a_typo_is_one_line_with_a_suggestion_and_2(argv, capsys):
    assert frame.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("minidl: error: ") and error.count("\n") == 1
    assert f"did you mean {'--steps' if len(argv) > 1 else 'denoise'}?" in error


@pytest.mark.parametrize(
    "raised, code, message",
    [
        (command.UsageError("a number is missing"), 2, "minidl: error: a number is missing\n"),
        (ValueError("3 is not 4"), 1, "minidl: error: 3 is not 4\n"),
        (FileNotFoundError(2, "No such file", "x.png"), 1, "minidl: error: x.png: No such file\n"),
        (ZeroDivisionError(), 1, "minidl: error: ZeroDivisionError: \n"),
        (KeyError("name"), 1, "minidl: error: KeyError: 'name'\n"),
        (ModuleNotFoundError("No module named 'skimage'"), 1, f"{install('tasks')}\n"),
        (KeyboardInterrupt(), 130, "\nminidl: interrupted\n"),
        (KeyboardInterrupt("stopped after step 3"), 130, "\nminidl: stopped after step 3\n"),
    ],
)
def test_what_becomes_of_an_exception(raised, code, message, capsys, monkeypatch):
    def run(self, argv):
        raise raised

    monkeypatch.setattr(Commands, "run", run)
    assert frame.main([]) == code
    assert capsys.readouterr().err.endswith(message)


def test_traceback_lets_an_exception_through(monkeypatch):
    monkeypatch.setattr(Commands, "run", lambda self, argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        frame.main(["--traceback", "denoise"])


@pytest.mark.parametrize("kind, text", [(command.whole(1), t) for t in ("0", "-1", "2.5", "x", "")] + [
    (command.real(0), t) for t in ("-0.1", "nan", "inf", "x")] + [(command.real(0, above=True), "0")])
def test_numbers_out_of_range_are_refused(kind, text):
    with pytest.raises(Exception, match="must be"):
        kind(text)


def test_numbers_in_range_are_taken():
    assert command.whole(1)("7") == 7
    assert command.real(0)("0") == 0
    assert command.real(0, above=True)("2.5") == 2.5


@pytest.mark.usefixtures("figures")
def test_a_figure_that_cannot_be_drawn_leaves_the_old_one(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"the old one")
    figure = plot.pyplot().figure()
    figure.savefig = lambda file, **options: (file.write(b"half"), 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plot.save(figure, path)
    assert path.read_bytes() == b"the old one" and [p.name for p in tmp_path.iterdir()] == ["figure.png"]
    plot.save(plot.pyplot().figure(), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_public_names_of_the_packages_are_there():
    for package in (*frame.TASKS.values(), "tasks.models"):
        module = importlib.import_module(package)
        assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == [], package


def test_a_folder_with_a_run_of_another_task_is_refused(tmp_path):
    (tmp_path / SETTINGS).write_text('{"no_setting_of_ours": 1}')
    job = Job(Settings(), tmp_path)
    with pytest.raises(ValueError, match=r"settings.json is not of a run of this task .* another folder with --out"):
        job.begin()
    (tmp_path / SETTINGS).unlink()
    job.begin()
    assert (tmp_path / SETTINGS).exists()
