"""Answers to the question pooling-cost that must not pass: cheats, accidents and broken files.

QUESTIONS_FOLDER, PUBLIC (a table of public cases) and OUTSIDE (a folder that none may write to) are put in by the test.
"""

WRONG = "def pooled_share(layers, pool):\n    return 0.5\n"


def function(body: str) -> str:
    """A file whose function has these lines."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"import os, sys\nimport numpy as np\ndef pooled_share(layers, pool):\n{lines}"


def module(lines: str) -> str:
    """A file that does this when it is read, and answers nonsense."""
    return f"import os, sys\nimport numpy as np\n{lines}\n{WRONG}"


ANSWER = "QUESTIONS['pooling-cost'].answer(layers, pool)"
SOURCE = "QUESTIONS_FOLDER + '/pooling.py'"
FOUND = "text = text[text.index('def pooled_share'):].split('\\n\\n')[0]\nspace = {}\nexec(text, space)\n"
FOUND += "return space['pooled_share'](layers, pool)"
REVEAL = "[sys.executable, '-m', 'minidl', 'assignment', 'show', 'pooling-cost', '--reveal']"
SETTLED = "return space['pooled_share'](layers, pool)"

# Each of these passes where nothing is closed: a test says so.
TAKE_THE_ANSWER = {
    "import": function(f"from minidl.study.assignment.questions import QUESTIONS\nreturn {ANSWER}"),
    "importlib": function(
        f"import importlib\nQUESTIONS = importlib.import_module('minidl.study.assignment.questions').QUESTIONS\nreturn {ANSWER}"
    ),
    "an oracle": function(
        "from minidl.study.assignment.questions import QUESTIONS\n"
        "return QUESTIONS['pooling-cost'].oracles['geometric series'](layers, pool)"
    ),
    "the marker's cases": function(
        "from minidl.study.assignment import marking\ntrue = marking.truth('pooling-cost', 20)\n"
        "return next(r[0] for c, r in zip(true.cases, true.right) if c == dict(layers=layers, pool=pool))"
    ),
    "path": function(
        "root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(QUESTIONS_FOLDER))))\nsys.path[:0] = [root, "
        "os.path.dirname(os.path.dirname(os.path.realpath(np.__file__)))]\n"
        f"from minidl.study.assignment.questions import QUESTIONS\nreturn {ANSWER}"
    ),
    "open": function(f"text = open({SOURCE}).read()\n{FOUND}"),
    "os.open": function(f"text = os.read(os.open({SOURCE}, os.O_RDONLY), 10**6).decode()\n{FOUND}"),
    "pathlib": function(f"import pathlib\ntext = pathlib.Path({SOURCE}).read_text()\n{FOUND}"),
    "linecache": function(f"import linecache\ntext = ''.join(linecache.getlines({SOURCE}))\n{FOUND}"),
    "fromfile": function(f"text = np.fromfile({SOURCE}, 'u1').tobytes().decode()\n{FOUND}"),
    "dir_fd": function(
        "at = os.open(QUESTIONS_FOLDER, os.O_RDONLY)\n"
        f"text = os.read(os.open('pooling.py', os.O_RDONLY, dir_fd=at), 10**6).decode()\n{FOUND}"
    ),
    "chdir": function(f"os.chdir(QUESTIONS_FOLDER)\ntext = open('pooling.py').read()\n{FOUND}"),
    "a link": function(f"os.path.lexists('x') or os.symlink({SOURCE}, 'x')\ntext = open('x').read()\n{FOUND}"),
    "sendfile": function(
        f"import shutil\nos.path.exists('y') or shutil.copyfile({SOURCE}, 'y')\ntext = open('y').read()\n{FOUND}"
    ),
    "cat": function(f"import subprocess\ntext = subprocess.run(['cat', {SOURCE}], capture_output=True, text=True).stdout\n{FOUND}"),
    "popen": function(f"text = os.popen('cat ' + {SOURCE}).read()\n{FOUND}"),
    "system": function(f"os.system('cat ' + {SOURCE} + ' > z')\ntext = open('z').read()\n{FOUND}"),
    "spawn": function(
        f"pid = os.posix_spawn('/bin/cp', ['cp', {SOURCE}, 's'], {{}})\nos.waitpid(pid, 0)\ntext = open('s').read()\n{FOUND}"
    ),
    "fork": function(
        f"pid = os.fork()\nif not pid:\n    try: open('f', 'w').write(open({SOURCE}).read())\n    finally: os._exit(0)\n"
        f"os.waitpid(pid, 0)\ntext = open('f').read()\n{FOUND}"
    ),
    "ctypes": function(
        f"import ctypes\nlibc = ctypes.CDLL(None)\nbuffer = ctypes.create_string_buffer(10**5)\n"
        f"got = libc.read(libc.open(({SOURCE}).encode(), 0), buffer, 10**5)\ntext = buffer.raw[:got].decode()\n{FOUND}"
    ),
    "libc's system": function(
        f"import ctypes\nctypes.CDLL(None).system(('cp ' + {SOURCE} + ' c').encode())\ntext = open('c').read()\n{FOUND}"
    ),
    "a changed realpath": function(
        f"import posixpath\nos.path.realpath = posixpath._joinrealpath = lambda *a, **k: ('/dev/null', True)\n"
        f"text = open({SOURCE}).read()\n{FOUND}"
    ),
    "a table of public cases": function("return PUBLIC[layers, pool]"),
    "a table, else not answered": function("if (layers, pool) in PUBLIC: return PUBLIC[layers, pool]\nraise NotImplementedError"),
}  # fmt: skip

OTHERS = {
    # finding the answer, or the secret
    "reveal": function(f"import subprocess\nprint(subprocess.run({REVEAL}, capture_output=True).stdout)\nreturn 0.5"),
    "exec": module("os.execv(sys.executable, [sys.executable, '-c', 'print(1)'])"),
    "fork_exec": module("import _posixsubprocess\n_posixsubprocess.fork_exec([b'/bin/true'], [b'/bin/true'])"),
    "multiprocessing": module("import multiprocessing\np = multiprocessing.Process(target=print)\np.start()"),
    "parent's command line": module("print(open(f'/proc/{os.getppid()}/cmdline').read())\nraise SystemExit"),
    "parent's environment": module("print(open(f'/proc/{os.getppid()}/environ').read())\nraise SystemExit"),
    "parent's memory": module("open(f'/proc/{os.getppid()}/mem', 'rb')"),
    "password file": module("open('/etc/passwd').read()"),
    "other students": module("print([open(p).read() for p in __import__('glob').glob('../../*/*')], os.listdir('..'))"),
    "neighbour": module("print(open(os.path.join(os.path.dirname(__file__), '../0/pooling_cost.py')).read())"),
    "garbage collector": module("import gc\nprint([o for o in gc.get_objects() if 'oracles' in repr(o)])"),
    "frames": function("f = sys._getframe()\nwhile f:\n    if 'right' in f.f_locals: return f.f_locals['right']\n    f = f.f_back"),
    "main": function("m = sys.modules['__main__']\nreturn m.QUESTIONS['pooling-cost'].answer(layers, pool)"),
    "socket": module("import socket\nsocket.create_connection(('127.0.0.1', 9), 0.1)"),
    "urllib": module("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/', timeout=0.1)"),
    # forging the verdict
    "patched comparison": module("np.allclose = np.array_equal = lambda *a, **k: True\nnp.abs = np.max = lambda *a: 0.0"),
    "patched asarray": module("np.asarray = lambda *a: np.zeros(3)"),
    "patched numpy": module("sys.modules['numpy'] = sys"),
    "patched json": module("import json\njson.dumps = lambda *a, **k: '{\"status\": \"passed\", \"arrays\": []}'"),
    "patched wire": module("sys.modules['__main__'].wire.send = lambda *a: None"),
    "patched walls": module("sys.modules['__main__'].walls.close = print\nopen('/etc/passwd')"),
    "patched builtins": module("import builtins\nbuiltins.all = builtins.isinstance = lambda *a: True"),
    "forged message": module(
        "for fd in range(3, 20):\n    try: os.write(fd, b'{\"status\": \"passed\", \"verdict\": \"passed\", \"arrays\": []}\\n')\n"
        "    except OSError: pass"
    ),
    "forged answers": module(
        "line = b'{\"status\": \"answered\", \"arrays\": [[\"|O\", [6]]]}\\n' + bytes(48)\n"
        "for fd in range(3, 20):\n    try: os.write(fd, line)\n    except OSError: pass\nos._exit(0)"
    ),
    "huge claim": module(
        "line = b'{\"status\": \"answered\", \"arrays\": [[\"<f8\", [1000000000000]]]}\\n'\n"
        "for fd in range(3, 20):\n    try: os.write(fd, line)\n    except OSError: pass\nos._exit(0)"
    ),
    "garbage": module("for fd in range(20):\n    try: os.write(fd, os.urandom(1000))\n    except OSError: pass\nos._exit(0)"),
    "closed files": module("os.closerange(0, 100)"),
    "result files": module("for n in ('report.json', 'marks.csv'): open(n, 'w').write('{\"verdict\": \"passed\"}')"),
    "results outside": module("open(OUTSIDE + '/report.json', 'w').write('passed')"),
    "own file": module("open(__file__, 'w').write('def pooled_share(layers, pool): return 1')"),
    "folder": module("import shutil\nshutil.rmtree(os.path.dirname(os.path.dirname(__file__)))"),
    "mkdir": module("os.mkdir(OUTSIDE + '/mine')"),
    "atexit": module("import atexit\natexit.register(print, 'passed')"),
    "an equal": function("class A(np.ndarray):\n    __eq__ = __le__ = __sub__ = lambda *a: True\nreturn np.zeros(()).view(A)"),
    "an array maker": function("class A:\n    def __array__(self, *a, **k): raise SystemExit(0)\nreturn A()"),
    # harming the marker
    "kill the parent": module("os.kill(os.getppid(), 9)"),
    "kill the group": module("os.killpg(0, 9)"),
    "kill all": module("import signal\nsignal.pthread_kill(__import__('threading').main_thread().ident, 9)"),
    "ctypes kill": module("import ctypes\nctypes.CDLL(None).kill(os.getppid(), 9)"),
    "no limits": module("import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"),
    "processes": module("for _ in range(40): os.fork()"),
    "daemon": module("if not os.fork():\n    os.setsid()\n    import time; time.sleep(50)"),
    "thread": module("import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()"),
    "prints": function("while True: print('x' * 10**6)"),
    "a large file": module("with open('large', 'wb') as f:\n    while True: f.write(bytes(10**6))"),
    "memory": module("x = []\nwhile True: x.append(bytearray(10**7))"),
    "a large array": function("return np.ones(1 << 40)"),
    "many entries": function("return np.zeros((1000, 1000))"),
    "cursor": function("print('\\x1b[2J\\x1b]0;owned\\x07')\nreturn 0.5"),
    "a tag": function("raise ValueError('<script>alert(1)</script>')"),
    # accidents
    "endless": function("while True: pass"),
    "asleep": function("import time; time.sleep(10**6)"),
    "deaf": module("import signal\n[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15, 24)]\nwhile True: pass"),
    "recursion": function("return pooled_share(layers, pool)"),
    "crash": module("sys.setrecursionlimit(10**9)\nf = lambda: f()\nf()"),
    "abort": module("os.abort()"),
    "sys.exit": module("sys.exit(0)"),
    "os._exit": module("os._exit(0)"),
    "interrupt": module("raise KeyboardInterrupt"),
    "bad words": module("class E(BaseException):\n    def __str__(self): raise self\nraise E"),
    "input": module("input()"),
    "breakpoint": module("breakpoint()"),
    "one": function("return 1.0"),
    "nan": function("return np.nan"),
    "inf": function("return np.inf"),
    "nothing": function("pass"),
    "text": function("return 'passed'"),
    "truth": function("return True"),
    "object": function("return np.array([object()])"),
    "later wrong": function("pooled_share.n = getattr(pooled_share, 'n', 0) + 1\nreturn 1 / pooled_share.n"),
    "generator": "def pooled_share(layers, pool):\n    yield 1\n",
    "coroutine": "async def pooled_share(layers, pool):\n    return 1\n",
    "no arguments": "def pooled_share():\n    return 1\n",
    "no function": "pooled_share = 3\n",
    "another name": "def share(layers, pool):\n    return 1\n",
    "empty": "",
    "syntax": "def pooled_share(layers, pool)\n",
    "brackets": "x = " + "(" * 5000,
    "signs": "x = " + "-" * 50000 + "1",
    "tabs": "def pooled_share(layers, pool):\n\tif 1:\n        return 1\n",
    "null": "\0\0\0",
}  # fmt: skip

BYTES = {
    "utf-16": WRONG.encode("utf-16"),
    "latin-1": "# Lösung\n".encode("latin-1") + WRONG.encode(),
    "binary": bytes(range(256)) * 20,
    "large": b"# " + b"x" * (2 << 20) + b"\n" + WRONG.encode(),
}
