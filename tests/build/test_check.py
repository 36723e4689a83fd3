"""The pieces of minidl build: right solutions pass, mistakes are named, broken files are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minidl import __main__ as program
from minidl.study.build import student as running
from minidl.study.build.__main__ import main
from minidl.study.build.pieces import PIECES
from minidl.study.build.student import Student, StudentError
from minidl.study.terminal import UsageError

SOLUTIONS = Path(__file__).with_name("solutions.py")
SOURCE = SOLUTIONS.read_text(encoding="utf-8")


def altered(folder, old, new, also=()):
    """A file with the solutions, in which `new` stands for `old`."""
    text = SOURCE
    for before, after in ((old, new), *also):
        assert before in text, before
        text = text.replace(before, after)
    path = folder / "my_engine.py"
    path.write_text(text, encoding="utf-8")
    return path


def marked(path, piece):
    return PIECES[piece].mark(Student(path))


def test_the_solutions_are_right(capsys):
    assert main(["check", str(SOLUTIONS)]) == 0
    out = capsys.readouterr().out
    assert "14 of 14 pieces right" in out and f"python -m tasks denoise --with {SOLUTIONS} trains" in out


MISTAKES = [  # piece, what stands in the solutions, what is written in its place, what is said
    ("value", "self.grad = 1.0", "self.grad = 0.0", "the grad of a is 0, right is 1"),
    ("value", "x.grad += v.grad * slope", "x.grad = v.grad * slope", "a * a + b (a is used twice)"),
    ("value", "(other.data, self.data)", "(self.data, other.data)", "a * b at a = 0.6, b = -1.7: the grad of a is 0.6"),
    ("value", "(1 - t * t,)", "(1 - t,)", "a.tanh() + b"),
    ("value", "__radd__ = __add__", "pass", "unsupported operand"),
    ("value", "for v in consumers_first(self):", "for v in deeper(self):", "walk with a list"),
    ("tensor", "found.pop(y)", "found[y]", None),
    ("tensor", "found[x] + gx if x in found else gx", "gx", "the cotangent of a is"),
    ("tensor", "return found\n", "return None\n", "walk returns a NoneType"),
    ("tensor", "self.data.sum()", "self.data.sum(0)", "(a * b).sum() is array"),
    ("tensor", "unbroadcast(g * b, a.shape)", "g * a", "the cotangent of a"),
    ("broadcasting", "g.sum((*range(lead), *ones))", "g.mean((*range(lead), *ones))", "it is the mean over"),
    ("broadcasting", ".reshape(shape)\n\n\ndef matmul", "\n\n\ndef matmul", "its shape is (2,), (2, 1) is right"),
    ("broadcasting", "tuple(unbroadcast(g, s) for s in shapes)", "(g, g)", "has shape (2, 3), b has (3,)"),
    ("matmul", "g @ b.T, a.T @ g", "a.T @ g, g @ b.T", "ga and gb are exchanged"),
    ("matmul", "g @ b.T, a.T @ g", "-g @ b.T, a.T @ g", "ga: the sign is wrong"),
    ("conv", "w.reshape(len(w), -1) @", "w[..., ::-1, ::-1].reshape(len(w), -1) @", "the kernel is flipped"),
    ("conv", "[:, :, ::stride, ::stride]\n    n, c", "\n    n, c", "but with stride 2: the stride is left out"),
    ("conv", "return y.reshape(len(x), len(w), *size)", "return y", "its shape is (1, 1, 12), (1, 1, 3, 4) is right"),
    ("conv-input", "+= taps", "= taps", "and each tap overwrites the others"),
    ("conv-input", "taps = w.reshape", "w = w[:, :, ::-1, ::-1]\n    taps = w.reshape", "the kernel is flipped"),
    ("conv-input", "x[:, :, padding : padding + shape[2], padding : padding + shape[3]]", "x",
     "the padding is not cut off"),
    ("conv-weight", "by_image.sum(0)", "by_image.mean(0)", "it is divided by the number"),
    ("conv-weight", "by_image.sum(0).reshape(shape)", "by_image.sum(0).reshape(shape)[..., ::-1, ::-1]",
     "it is reversed"),
    ("conv-transpose", "return conv_backward_input(x, w,", "return conv_backward_input(x, w[..., ::-1, ::-1],",
     "flipped"),
    ("pooling", ".max((4, 5))", ".max((4, 5)).clip(0)", "zero counts as an entry"),
    ("pooling", "np.add.at(gx, (n, c, stride", "gx[n, c, stride * i + first // size, stride * j + first % size] = g\n"
     "    np.add.at(0 * gx, (n, c, stride", "and each overwrites the others"),
    ("batch-norm", "x.var((0, 2, 3))", "x.var((0, 2, 3), ddof=1)",
     "moments: with one channel: var: the variance divides by n - 1"),
    ("batch-norm", "np.sqrt(var + eps)) + each", "(np.sqrt(var) + eps)) + each",
     "eps is added to the standard deviation"),
    ("batch-norm", "- h * each(gweight / n)", "", "gx: the term of the variance"),
    ("batch-norm", "each(gbias / n) - h * each(gweight / n)", "each(0 * gbias)",
     "mean and variance are taken for constants"),
    ("sgd", "momentum * v + g\n", "momentum * v + (1 - momentum) * g\n", "g is multiplied by 1 - momentum"),
    ("sgd", "w - lr * v, v", "w + lr * v, v", "w: w goes uphill"),
    ("adam", "(m / (1 - beta1**step))", "m", "m is not corrected"),
    ("adam", "(np.sqrt(v / (1 - beta2**step)) + eps)", "np.sqrt(v / (1 - beta2**step) + eps)",
     "eps is inside of the root"),
    ("adam", "(1 - beta2) * g * g", "(1 - beta2) * g", "v averages g, not its square"),
    ("cross-entropy", "z = logits - logits.max(1, keepdims=True)", "z = logits", "exp overflows"),
    ("cross-entropy", "p[np.arange(len(p)), target] -= 1", "pass", "the one at the target class is not subtracted"),
    ("soft-dice", "- each_map(soft_dice(p, t, eps)) * p", "", "the denominator is taken for a constant"),
    ("soft-dice", "(2 * (p * t)", "((p * t)", "the 2 is missing"),
]  # fmt: skip
DEEPER = """
def deeper(y):
    seen, order = set(), []
    def visit(v):
        if v not in seen:
            seen.add(v)
            for x in v.inputs:
                visit(x)
            order.append(v)
    visit(y)
    return order[::-1]

"""


@pytest.mark.parametrize("piece, old, new, words", MISTAKES)
def test_a_mistake_is_named(tmp_path, piece, old, new, words):
    mark = marked(altered(tmp_path, old, new, also=[("\nclass Tensor", DEEPER + "\nclass Tensor")]), piece)
    if words is None:
        assert mark.verdict == "wrong" and mark.words
    else:
        assert words in mark.words
        assert mark.verdict in ("wrong", "raises") and mark.read.startswith("docs/chapters/")


@pytest.mark.parametrize("piece", [p for p in PIECES.values() if p.functions], ids=lambda p: p.name)
def test_each_known_mistake_gets_its_own_words(piece):
    """Of the functions with mistakes: the wrong function of each, as if a student had written it."""
    for function in piece.functions:
        for words, wrong in function.mistakes.items():

            class Fake:
                def call(self, name, *arguments, wrong=wrong):
                    return wrong(*arguments)

            with np.errstate(all="ignore"):
                assert words in function.problem(Fake()), (function.name, words)


def test_the_oracles_of_pooling_and_updates_are_ours():
    """Those that no complex step proves, by the engine."""
    import minidl as md
    from minidl import functional as F

    for _, (g, x, size, stride) in PIECES["pooling"].functions[1].drawn():
        leaf = md.tensor(x, requires_grad=True)
        y = F.max_pool(leaf, size, stride=stride)
        y.backward(g)
        np.testing.assert_allclose(PIECES["pooling"].functions[1].right(g, x, size, stride), leaf.grad.numpy())
        np.testing.assert_allclose(PIECES["pooling"].functions[0].right(x, size, stride), y.numpy())
    w, g = np.array([1.0, -2.0]), np.array([0.3, 4.0])
    for name, optimiser, rest in (("sgd", md.optim.SGD, (0.1, 0.9)), ("adam", md.optim.Adam, (0.1, 0.9, 0.999, 1e-8))):
        p = md.Parameter(w.copy())
        update = optimiser([p], lr=0.1, **({"momentum": 0.9} if name == "sgd" else {}))
        state = [np.zeros(2)] * (1 if name == "sgd" else 2)
        mine = w
        for step in (1, 2):
            p.grad = md.tensor(g)
            update.step()
            mine, *state = PIECES[name].functions[0].right(mine, g, *state, *(() if name == "sgd" else (step,)), *rest)
        np.testing.assert_allclose(mine, p.data, rtol=1e-12)


# --- the same for all functions of arrays


@pytest.mark.parametrize("line, words", [
    ("    w *= 2\n    return w - lr * v, v", "it changes its arguments: work on a copy"),
    ("    return w - lr * (momentum * v + g)", "it returns one ndarray, a tuple (w, v) is asked for"),
    ("    momentum * v + g", "it returns None"),
    ("    v = momentum * v + g\n    return (w - lr * v).astype(float), v",
     "w is float64 where the arguments are float32"),
    ("    return w * 1j, v", "w is of dtype complex128"),
    ("    return [[1], [1, 2]], v", "w is a list whose rows differ in length"),
    ("    return w * np.nan, v", "w: 6 of 6 entries are not finite"),
    ("    return w[0], v", "w: its shape is (3,), (2, 3) is right"),
])  # fmt: skip
def test_what_is_returned_is_looked_at(tmp_path, line, words):
    body = "    v = momentum * v + g\n    return w - lr * v, v"
    assert words in marked(altered(tmp_path, body, line), "sgd").words


# --- files that cannot be run


@pytest.mark.parametrize("text, error, words", [
    ("def conv(x:\n    pass\n", StudentError, "my_engine.py, line 1 (def conv(x:): SyntaxError: "),
    ("import numpy as np\nnp.nothing\n", StudentError, "line 2 (np.nothing): AttributeError: module 'numpy' has no"),
    ("import sys\nsys.exit(3)\n", StudentError, "line 2 (sys.exit(3)): SystemExit: 3"),
    (None, UsageError, "No such file or directory; minidl build start FOLDER writes one"),
])  # fmt: skip
def test_a_broken_file_is_one_line(tmp_path, text, error, words):
    path = tmp_path / "my_engine.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(error) as caught:
        Student(tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_exception_is_told_with_the_line_of_the_student(tmp_path):
    mark = marked(altered(tmp_path, "    v = momentum * v + g", "    v = momentum * v + g[9]"), "sgd")
    line = 1 + SOURCE[: SOURCE.index("    v = momentum")].count("\n")
    assert mark.verdict == "raises"
    assert mark.words.startswith(f"my_engine.py, line {line} (v = momentum * v + g[9]): IndexError: index 9 is out of")


def test_an_endless_loop_is_stopped(tmp_path):
    student = Student(altered(tmp_path, "    v = momentum * v + g", "    while True: pass"))
    with running.limited(0.2), pytest.raises(StudentError, match=r"\(while True: pass\): stopped after"):
        student.call("sgd", 0, 0, 0, 0, 0)


def test_functions_that_are_missing_are_not_written(tmp_path):
    path = tmp_path / "my_engine.py"
    path.write_text("def moments(x):\n    return x.mean((0, 2, 3)), x.var((0, 2, 3))\nconv = 3\n", encoding="utf-8")
    assert marked(path, "sgd").verdict == "not written"
    mark = marked(path, "batch-norm")
    assert mark.verdict == "begun" and mark.words == "my_engine.py defines no batch_norm"
    assert marked(path, "conv").words == "my_engine.py: conv is a int, not a function"


# --- the command


def test_start_writes_a_file_that_waits(tmp_path, capsys):
    assert main(["start", str(tmp_path / "new")]) == 0
    path = tmp_path / "new" / "my_engine.py"
    student = Student(path)
    for piece in PIECES.values():
        assert piece.mark(student).verdict == "not written", piece.name
        assert f"# --- {piece.name}: " in path.read_text(encoding="utf-8")
    assert main(["check", str(path)]) == 4
    assert "0 of 14 pieces right\nnext: value," in capsys.readouterr().out
    with pytest.raises(UsageError, match="is there already"):
        main(["start", str(tmp_path / "new")])


def test_one_piece_and_json(tmp_path, capsys):
    path = str(altered(tmp_path, "momentum * v + g\n", "momentum * v - g\n"))
    assert main(["check", path, "adam"]) == 0
    assert main(["check", path, "sgd", "--json"]) == 1
    out = capsys.readouterr().out
    (piece,) = json.loads(out[out.index("{") :])["pieces"]
    assert piece["piece"] == "sgd" and piece["verdict"] == "wrong" and piece["read"].endswith("03-gradient-descent.md")
    with pytest.raises(UsageError, match="did you mean conv"):
        main(["check", path, "conf"])
    assert main(["list"]) == 0 and "conv-transpose" in capsys.readouterr().out
    assert "build" in program.TOOLS


def test_every_chapter_that_is_named_is_there():
    root = Path(program.__file__).parents[1]
    assert all((root / piece.read).is_file() for piece in PIECES.values())
