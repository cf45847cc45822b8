# SPDX-License-Identifier: Apache-2.0
"""The commands of imago, as a person or a script types them."""
import csv
import io
import json
import os
import pty
import random
import re
import select
import shutil
import subprocess

import pytest
import yaml
from imago_server import ENGINE, IMAGO, MODELS, PATIENCE_S, PHOTOS, ROOT, SCENES, environment, sha256
from PIL import Image

COMMANDS = re.findall(r"^COMMAND\((\w+),", (ROOT / "src/cli/commands.def").read_text(), re.M)
MODEL = "efficientnet-lite0"


def imago(*arguments, stdin=None, env=None, cwd=None):
    """(exit status, standard output, standard error)"""
    done = subprocess.run([str(IMAGO), *map(str, arguments)], input=stdin, capture_output=True, timeout=5 * PATIENCE_S,
                          env=environment(**(env or {})), cwd=cwd, **({} if stdin is not None else {"stdin": None}))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def succeed(*arguments, **options):
    status, out, err = imago(*arguments, **options)
    assert status == 0, err
    return out


def fail(status, *arguments, **options):
    """Standard error of a run that must end with this status and say why, in one line."""
    given, out, err = imago(*arguments, **options)
    assert given == status, (given, out, err)
    assert err.startswith("imago: "), err
    return err


# --- help and version ------------------------------------------------------------------------

def test_help_lists_every_command():
    for how in "--help", "-h", "help":
        text = succeed(how)
        assert all(re.search(rf"^  {command} +\S", text, re.M) for command in COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "version"])
def test_every_command_has_help(command):
    for how in "--help", "-h":
        text = succeed(command, how)
        assert text.startswith(f"usage: imago {command}")
        assert all(len(line) <= 100 for line in text.splitlines()), max(text.splitlines(), key=len)


def test_no_command_and_an_unknown_one():
    status, out, err = imago()
    assert status == 2 and out == "" and "usage" in err
    assert "brew" in fail(2, "brew")


def test_version():
    for how in "version", "--version":
        text = succeed(how)
        assert re.match(r"imago \d+\.\d+\.\d+\n", text)
        assert all(name in text for name in ("jpeg", "png", "webp", "gif"))
    fail(2, "version", "x")


# --- predict ---------------------------------------------------------------------------------

COMPILED = []


@pytest.fixture(scope="module", autouse=True)
def compiled(warm_cache):
    """Where the models need not be compiled for every run of the program."""
    COMPILED[:] = ["--cache", warm_cache]


def predict(*arguments):
    return ["predict", "--models", MODELS, *COMPILED, *(["--engine", ENGINE] if ENGINE else []), *arguments]


CAT = SCENES / "cat.jpg"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_photos):
    """Pictures at two depths, beside files that are none."""
    root = tmp_path_factory.mktemp("folder")
    (root / "below" / "deeper").mkdir(parents=True)
    for number, photo in enumerate(small_photos[:8]):
        place = [root, root / "below", root / "below" / "deeper"][number % 3]
        (place / f"{number}.{'JPG' if number % 2 else 'jpeg'}").write_bytes(photo)
    (root / "notes.txt").write_text("not a picture")
    (root / ".hidden.jpg").write_bytes(small_photos[0])
    (root / "circle").symlink_to(root)
    return root


@pytest.mark.real_engine
def test_predict_labels_a_cat():
    answer, = lines(succeed(*predict(CAT)))
    assert "cat" in answer["predictions"][0]["label"]


def test_predict_says_what_the_server_says(server, manifest):
    files = [PHOTOS / photo["file"] for photo in manifest[:20]]
    for answer, file in zip(lines(succeed(*predict(*files))), files, strict=True):
        wanted = server.answer(file.read_bytes())
        assert answer.pop("file") == str(file)
        assert list(answer) == list(wanted)
        assert answer["image"] == wanted["image"]
        assert [p["class_id"] for p in answer["predictions"]][:1] == [p["class_id"] for p in wanted["predictions"]][:1]
        assert abs(answer["predictions"][0]["score"] - wanted["predictions"][0]["score"]) <= 0.02


def test_predict_folder(folder, small_photos):
    answers = lines(succeed(*predict(folder)))
    names = [answer["file"] for answer in answers]
    assert names == sorted(names) and len(names) == 8
    assert {answer["image"]["sha256"] for answer in answers} == {sha256(photo) for photo in small_photos[:8]}


def test_predict_keeps_the_order_of_the_command_line():
    files = sorted(PHOTOS.glob("*.jpg"))[:40]
    random.Random(3).shuffle(files)
    assert [answer["file"] for answer in lines(succeed(*predict(*files, "--top-k=1")))] == [str(f) for f in files]


def test_predict_standard_input():
    answer, = lines(succeed(*predict("-"), stdin=CAT.read_bytes()))
    assert (answer["file"], answer["image"]["sha256"]) == ("-", sha256(CAT.read_bytes()))
    assert "empty" in imago(*predict("-"), stdin=b"")[1]


def test_predict_csv():
    rows = list(csv.DictReader(io.StringIO(succeed(*predict(CAT, "--format=csv", "--top-k=3")), newline="")))
    wanted = lines(succeed(*predict(CAT, "--top-k=3")))[0]["predictions"]
    assert [(row["file"], int(row["rank"]), int(row["class_id"]), row["label"]) for row in rows] == \
        [(str(CAT), rank, p["class_id"], p["label"]) for rank, p in enumerate(wanted, 1)]


def test_predict_table():
    text = succeed(*predict(CAT, "--format=table", "--top-k=2"))
    wanted = lines(succeed(*predict(CAT, "--top-k=2")))[0]["predictions"]
    first, *rest = text.splitlines()
    assert first == str(CAT) and len(rest) == 2
    for line, prediction in zip(rest, wanted):
        assert prediction["label"] in line and f"{100 * prediction['score']:.2f} %" in line


def test_predict_options():
    full = lines(succeed(*predict(CAT, "--top-k=1000")))[0]["predictions"]
    few = lines(succeed(*predict(CAT, "--top-k", 1000, "--min-score", 0.01)))[0]["predictions"]
    assert len(full) == 1000 and [p["class_id"] for p in few] == [p["class_id"] for p in full if p["score"] >= 0.01]
    other, = lines(succeed(*predict("--model", MODEL + "-fp32", "--version=1", CAT)))
    assert other["model"] == MODEL + "-fp32"


def test_predict_without_a_file():
    fail(2, *predict())


@pytest.mark.parametrize("option", ["--top-k=0", "--top-k=1001", "--min-score=2", "--format=xml", "--batch=0", "--bogus", "-x",
                                    "--workers=many", "--top-k"])
def test_predict_with_a_wrong_option(option):
    err = fail(2, *predict(CAT), option)
    assert option.split("=")[0] in err


def test_predict_exit_statuses(tmp_path, folder):
    """As --help says: 7 cannot be decoded, 6 over a limit, 4 missing, 2 a wrong command line."""
    help = succeed("predict", "--help")
    assert all(re.search(rf"\b{status}\b", help) for status in (0, 7, 6, 4, 2))
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(CAT.read_bytes()[:5000])
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (5, 5)).save(tiny)
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    for file, status in (text, 7), (cut, 7), (tiny, 6), (empty, 2):
        given, out, err = imago(*predict(file))
        assert given == status, (file, given, err)
        problem, = lines(out)
        assert problem["file"] == str(file) and problem["type"].startswith("/problems/") and problem["detail"]
        assert "1 of 1" in err
    assert "nowhere.jpg" in fail(4, *predict(tmp_path / "nowhere.jpg"))
    assert "no-model" in fail(4, *predict(CAT, "--model", "no-model"))
    fail(4, "predict", "--models", tmp_path / "nowhere", CAT)
    (tmp_path / "no pictures").mkdir()
    fail(4, *predict(tmp_path / "no pictures"))


def test_predict_goes_on_after_a_bad_file(tmp_path, small_photos):
    """The first failure's status, and an answer for every file."""
    kinds = []
    for number, photo in enumerate(small_photos):
        bad = number % 5 == 4
        (tmp_path / f"{number:02}.jpg").write_bytes(photo[:900] if bad else photo)
        kinds.append(not bad)
    for format in "jsonl", "csv", "table":
        status, out, err = imago(*predict(tmp_path, "--format", format))
        assert status == 7 and f"{kinds.count(False)} of {len(kinds)}" in err
        if format == "jsonl":
            assert ["predictions" in answer for answer in lines(out)] == kinds
        elif format == "csv":
            rows = list(csv.DictReader(io.StringIO(out, newline="")))
            good = {row["file"]: not row["problem"] for row in rows}
            assert list(good.values()) == kinds
        else:
            assert sum(line.startswith(str(tmp_path)) for line in out.splitlines()) == len(kinds)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_predict_a_file_that_may_not_be_read(tmp_path):
    shutil.copy(CAT, tmp_path / "a.jpg")
    (tmp_path / "a.jpg").chmod(0)
    assert imago(*predict(tmp_path))[0] == 4


def test_predict_a_folder_named_as_a_picture(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    shutil.copy(CAT, tmp_path / "b.jpg")
    answers = lines(succeed(*predict(tmp_path)))
    assert [answer["file"] for answer in answers] == [str(tmp_path / "b.jpg")]


def test_predict_odd_names(tmp_path):
    names = ["with space.jpg", 'quote".jpg', "comma,.jpg", "ümlaut.jpg", "line\nfeed.jpg", "-dash.jpg"]
    for name in names:
        shutil.copy(CAT, tmp_path / name)
    rows = list(csv.DictReader(io.StringIO(succeed(*predict("--format=csv", "--top-k=1", tmp_path)), newline="")))
    assert sorted(row["file"] for row in rows) == sorted(str(tmp_path / name) for name in names)
    answer, = lines(succeed(*predict("--", "-dash.jpg"), cwd=tmp_path))
    assert answer["file"] == "-dash.jpg"
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(CAT.read_bytes())
    assert len(lines(succeed(*predict(tmp_path)))) == len(names) + 1


def test_predict_limits():
    size = CAT.stat().st_size
    assert imago(*predict(CAT, f"--image-size={size}"))[0] == 0
    assert imago(*predict(CAT, f"--image-size={size - 1}"))[0] == 6
    assert imago(*predict(CAT, "--image-side-max=200"))[0] == 6
    assert imago(*predict(CAT, "--image-pixels=1k"))[0] == 6


def test_predict_an_answer_that_is_too_long(tmp_path):
    """Every row names the file, and a name doubles where it is quoted."""
    folder = tmp_path
    while len(str(folder)) < 3500:
        folder /= '"' * 250
    os.makedirs(folder)
    shutil.copy(CAT, folder / "a.jpg")
    assert "over the limit" in fail(6, *predict("--format=csv", "--top-k=1000", folder / "a.jpg"))


def test_predict_into_a_closed_pipe():
    """`imago predict ... | head -1` ends, without a crash."""
    command = subprocess.Popen([str(IMAGO), *map(str, predict(PHOTOS, "--top-k=1000"))], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment())
    command.stdout.readline()
    command.stdout.close()
    err = command.stderr.read().decode()
    command.stderr.close()
    status = command.wait(PATIENCE_S)
    assert status in (1, -13), err
    assert "Sanitizer" not in err


@pytest.mark.real_engine
def test_predict_cache(tmp_path):
    first = succeed(*predict(CAT, "--cache", tmp_path / "cache"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert before
    second = succeed(*predict(CAT, "--cache", tmp_path / "cache"))
    # Networks for other batch sizes, which the first run had no time to compile, may have come.
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert lines(first)[0]["predictions"] == lines(second)[0]["predictions"]


def on_terminal(*arguments, term="xterm"):
    """(exit status, what a terminal of 100 columns was sent)"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(IMAGO), [str(IMAGO), *map(str, arguments)], environment(TERM=term))
    shown = b""
    while select.select([terminal], [], [], 5 * PATIENCE_S)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_on_a_terminal_it_is_a_table():
    status, shown = on_terminal(*predict(CAT))
    assert status == 0
    assert str(CAT) in shown and " % " in shown and "{" not in shown


def test_long_work_shows_a_progress_bar_on_a_terminal():
    status, shown = on_terminal(*predict(PHOTOS, "--workers=1"))
    assert status == 0
    bars = re.findall(r"\[([#.]{10,})\] +(\d+)%  (\d+)/(\d+)", shown)
    assert len(bars) >= 2
    total = len(list(PHOTOS.glob("*.jpg")))
    assert {int(bar[3]) for bar in bars} == {total}
    done = [int(bar[2]) for bar in bars]
    assert done == sorted(done) and 0 < done[0] and done[-1] <= total
    # It is wiped before the next line, and at the end.
    assert "\r\x1b[K" in shown and shown.rstrip("\r\n").rpartition("\x1b[K")[2].count("[#") == 0


def test_no_progress_bar_elsewhere():
    some = sorted(PHOTOS.glob("*.jpg"))[:60]
    assert "\x1b" not in imago(*predict(*some))[2]
    assert "\x1b" not in on_terminal(*predict(*some), term="dumb")[1]


# --- config ----------------------------------------------------------------------------------

ROW = re.compile(r'^OPTION\("([^"]*)", (\w+), (\w+), "([^"]*)", (\d+), (\d+), "([^"]*)"', re.M)
OPTIONS = {name: (kind, preset, int(low), int(high), shape) for _, name, kind, preset, low, high, shape in
           ROW.findall("".join((ROOT / f"src/config/{table}.def").read_text() for table in ("options", "stores")))}
LINE = re.compile(r"^([a-z-]+): +(.*?) +# (default|file|environment|flag)$")


def printed(*arguments, **options):
    """{setting: (value as text, source)} of `imago config --print`."""
    text = succeed("config", "--print", *arguments, **options)
    parsed = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(parsed), text
    return {match[1].replace("-", "_"): (yaml.safe_load(match[2]) if match[2].startswith('"') else match[2], match[3])
            for match in parsed}


def legal_value(name, dice):
    """Another legal value of a setting, in the form in which it is printed."""
    kind, preset, low, high, shape = OPTIONS[name]
    if kind == "BOOL":
        return dice.choice(["true", "false"])
    if kind == "TEXT":
        return dice.choice(shape.split("|")) if "|" in shape else dice.choice(
            ["somewhere", "a b", 'quo"te', "back\\slash", "#hash", "colon: x", "ü", "'", "{}", "true", "1"])
    number = dice.choice([low, high, dice.randint(low, high), dice.randint(low, min(high, low + 1000))])
    if kind == "REAL":
        return f"{number}"
    if kind == "COUNT":
        return str(number)
    units = {"SIZE": [("Gi", 1 << 30), ("G", 10**9), ("Mi", 1 << 20), ("M", 10**6), ("Ki", 1024), ("k", 1000), ("", 1)],
             "DURATION": [("h", 3600000), ("m", 60000), ("s", 1000), ("ms", 1)]}[kind]
    if number == 0:
        return "0s" if kind == "DURATION" else "0"
    return next(f"{number // factor}{suffix}" for suffix, factor in units if number % factor == 0)


def flag(name):
    return "--" + name.replace("_", "-")


def variable(name):
    return "IMAGO_" + name.upper()


def test_config_prints_every_setting_with_its_default():
    values = printed()
    assert list(values) == list(OPTIONS) and len(values) > 25
    assert all(source == "default" for _, source in values.values())
    assert {name: value for name, (value, _) in values.items()} == {name: row[1] for name, row in OPTIONS.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_flag_beats_environment_beats_file_beats_default(tmp_path, name):
    dice = random.Random(name)
    by_flag, by_variable, by_file = (legal_value(name, dice) for _ in range(3))
    file = tmp_path / "imago.yaml"
    file.write_text(f"{name.replace('_', '-') if dice.random() < 0.5 else name}: {json.dumps(by_file, ensure_ascii=False)}\n")
    env, arguments, config = {variable(name): by_variable}, [f"{flag(name)}={by_flag}"], ["--config", file]
    if OPTIONS[name][0] == "BOOL":
        arguments = [flag(name) if by_flag == "true" else flag(name).replace("--", "--no-", 1)]
    elif dice.random() < 0.5:
        arguments = [flag(name), by_flag]
    default = OPTIONS[name][1]
    assert printed()[name] == (default, "default")
    assert printed(*config)[name] == (by_file, "file")
    assert printed(env={"IMAGO_CONFIG": str(file)})[name] == (by_file, "file")
    assert printed(env=env)[name] == (by_variable, "environment")
    assert printed(*config, env=env)[name] == (by_variable, "environment")
    assert printed(*arguments, *config, env=env)[name] == (by_flag, "flag")
    assert printed(*config, *arguments)[name] == (by_flag, "flag")
    others = printed(*config, *arguments, env=env)
    assert all(others[other] == (OPTIONS[other][1], "default") for other in OPTIONS if other != name)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_printed_is_a_file_of_the_same_settings(tmp_path, seed):
    dice = random.Random(seed)
    wanted = {name: legal_value(name, dice) for name in OPTIONS}
    text = succeed("config", "--print", *(f"{flag(name)}={value}" for name, value in wanted.items()))
    file = tmp_path / "imago.yaml"
    file.write_text(text)
    assert isinstance(yaml.safe_load(text), dict)
    again = printed("--config", file)
    assert {name: value for name, (value, _) in again.items()} == wanted
    assert {source for _, source in again.values()} == {"file"}


def bad_values(name):
    kind, _, low, high, shape = OPTIONS[name]
    common = {"COUNT": ["", "x", "-1", "1.5", "0x10", " 1", "1 ", "1k", "99999999999999999999"],
              "SIZE": ["", "x", "-1", "1.5M", "5Q", "1 k", "5mi", "99999999999G", "k"],
              "DURATION": ["", "x", "-1s", "5", "1.5s", "5 s", "5d", "99999999h", "ms"],
              "REAL": ["", "x", "nan", "inf"], "BOOL": ["", "yes", "1", "TRUE"],
              "TEXT": ["loud", ""] if "|" in shape else []}[kind]
    unit = {"COUNT": "", "SIZE": "", "DURATION": "ms"}.get(kind)
    if unit is not None:
        common += [f"{high + 1}{unit}"] + ([f"{low - 1}{unit}"] if low > 0 else [])
    return common


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_value_names_the_setting_and_what_it_may_be(tmp_path, name):
    kind, _, low, high, shape = OPTIONS[name]
    def check(place, err, value):
        assert place in err, err
        assert f"'{value[:60]}'" in err
        if kind in ("COUNT", "SIZE", "DURATION"):
            assert " from " in err and " to " in err
        elif kind == "BOOL":
            assert "true" in err and "false" in err
        elif kind == "TEXT":
            assert shape in err

    values = bad_values(name)
    for value in values:
        check(flag(name), fail(2, "config", "--print", f"{flag(name)}={value}"), value)
    for value in values[-1:]:
        check(variable(name), fail(2, "config", "--print", env={variable(name): value}), value)
        file = tmp_path / "imago.yaml"
        file.write_text(f"\n{name}: {json.dumps(value)}\n")
        check("imago.yaml:2", fail(2, "config", "--print", "--config", file), value)
        # The server refuses it in the same words, before it does anything.
        assert fail(2, "serve", f"{flag(name)}={value}") == fail(2, "config", "--print", f"{flag(name)}={value}")


@pytest.mark.parametrize("text,word", [
    ("lisen: 1\n", "listen"), ("workers: [1]\n", "workers"), ("- workers\n", ""), ("workers: {a: 1}\n", "workers"),
    ("workers: &a 1\nwaiting: *a\n", ""), ("workers: 1\nworkers: 2\n", "workers"), ("workers\n", ""), ("a: 'b\n", ""),
    ("workers: 1\n---\nwaiting: 1\n", ""), ("\x00\x01", ""), ("workers: \n", "workers"), ("x" * 70000, "")])
def test_a_bad_file(tmp_path, text, word):
    file = tmp_path / "imago.yaml"
    file.write_text(text)
    status, out, err = imago("config", "--print", "--config", file)
    assert status in (2, 6), (status, out)
    assert "imago.yaml" in err and word in err


def test_files_that_are_fine(tmp_path):
    file = tmp_path / "imago.yaml"
    for text in "", "# nothing\n", "---\nworkers: 3\n...\n", "{workers: 3}\n", "workers: '3'\n", "\ufeffworkers: 3\n":
        file.write_text(text)
        assert printed("--config", file)["workers"][0] == ("3" if "3" in text else "0"), text


def test_a_missing_file(tmp_path):
    assert "nowhere.yaml" in fail(4, "config", "--print", "--config", tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in fail(4, "config", "--print", env={"IMAGO_CONFIG": str(tmp_path / "nowhere.yaml")})


@pytest.mark.parametrize("arguments,words", [
    (["--lisen=1"], ["--lisen", "--listen"]), (["--workers"], ["--workers"]), (["extra"], ["extra"]), (["-w"], ["-w"]),
    (["--no-workers"], ["--no-workers"]), (["--no-access-log=true"], ["--no-access-log"]), (["--config"], ["--config"])])
def test_a_wrong_flag(arguments, words):
    err = fail(2, "config", "--print", *arguments)
    assert all(word in err for word in words), err


def test_help_of_serve_shows_every_setting():
    text = succeed("serve", "--help")
    for name, (kind, preset, *_) in OPTIONS.items():
        assert f"  {flag(name)}" in text
        assert not preset or f"[{preset}]" in re.sub(r"\s+", " ", text)


def test_the_reference_page_shows_every_setting():
    text = succeed("config", "--reference")
    for name in OPTIONS:
        assert re.search(rf"^\| `{flag(name)}[ `].*`{variable(name)}`", text, re.M)
    assert all(line.count("|") >= 5 for line in text.splitlines() if line.startswith("| `"))


# --- model -----------------------------------------------------------------------------------

@pytest.mark.real_engine
def test_model_list():
    head, *rows = succeed("model", "list", "--models", MODELS).splitlines()
    assert head.split() == ["MODEL", "VERSION", "PRECISION", "CLASSES", "INPUT"]
    assert [row.split()[0] for row in rows] == sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert all(row.split()[1:2] + row.split()[3:] == ["1", "1000", "224", "x", "224"] for row in rows)


@pytest.mark.real_engine
@pytest.mark.parametrize("name", [MODEL, MODEL + "-fp32"])
def test_model_inspect(name):
    """A first model.yaml: valid, near what the model's own says, with comments to check."""
    text = succeed("model", "inspect", MODELS / name / "1" / "model.onnx")
    given, real = yaml.safe_load(text), yaml.safe_load((MODELS / name / "1" / "model.yaml").read_text())
    assert given["task"] == "classification" and set(given) <= set(real) | {"precision"}
    for key in "name", "width", "height", "layout", "type":
        assert given["input"][key] == real["input"][key], key
    assert given["output"]["name"] == real["output"]["name"]
    assert "#" in text


@pytest.mark.real_engine
def test_what_inspect_writes_can_be_served(tmp_path):
    """Beside the graph and the labels, it is a model."""
    version = tmp_path / "models" / "mine" / "1"
    version.mkdir(parents=True)
    for name in "model.onnx", "labels.txt":
        shutil.copy(MODELS / (MODEL + "-fp32") / "1" / name, version)
    text = succeed("model", "inspect", version / "model.onnx")
    facts = yaml.safe_load(text)
    facts["name"], facts["version"] = "mine", "1"
    (version / "model.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    answer, = lines(succeed("predict", "--models", tmp_path / "models", CAT))
    assert answer["model"] == "mine" and len(answer["predictions"]) == 5


@pytest.mark.real_engine
def test_model_refusals(tmp_path):
    assert "nowhere.onnx" in fail(4, "model", "inspect", tmp_path / "nowhere.onnx")
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"junk")
    status, out, err = imago("model", "inspect", junk)
    assert status != 0 and "junk.onnx" in err and out == ""
    fail(2, "model", "brew")
    fail(2, "model", "inspect")
    fail(4, "model", "list", "--models", tmp_path / "nowhere")


# --- serve -----------------------------------------------------------------------------------

def test_serve_takes_no_files():
    assert "photo.jpg" in fail(2, "serve", "photo.jpg")
