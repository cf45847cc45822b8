# SPDX-License-Identifier: Apache-2.0
"""imago gives the answers that Pillow and OpenVINO give, on every photograph of a varied set.

Given by the environment: IMAGO_BIN (the program), IMAGO_MODELS (model repository), IMAGO_PHOTOS (folder).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "model"))
from reference import Reference, photographs  # noqa: E402

MODELS = ["efficientnet-lite0", "efficientnet-lite0-fp32"]
PHOTOS_MIN = 200
SAME_TOP1_MIN = 0.99
SCORE_DIFFERENCE_MAX = 0.02


def setting(name):
    if name not in os.environ:
        pytest.skip(f"{name} is not set")
    return os.environ[name]


@pytest.fixture(scope="module", params=MODELS)
def answers(request):
    """[(file name, imago's answer, the reference's probability of every class)], for one model."""
    program, models, folder = setting("IMAGO_BIN"), setting("IMAGO_MODELS"), setting("IMAGO_PHOTOS")
    command = [program, "predict", "--models", models, "--model", request.param, "--format", "jsonl", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    given = {Path(answer["file"]).name: answer for answer in map(json.loads, done.stdout.splitlines())}
    reference = Reference(models, request.param)
    photos = list(photographs([folder]))
    assert sorted(given) == sorted(photo.name for photo in photos)
    return [(photo.name, given[photo.name], reference.scores(photo)) for photo in photos]


def test_every_photograph_is_answered(answers):
    assert len(answers) >= PHOTOS_MIN
    assert [name for name, answer, _ in answers if not answer.get("predictions")] == []


def test_top1_is_the_same(answers):
    differ = [
        f"{name}: {answer['predictions'][0]['class_id']}, reference {scores.argmax()}"
        for name, answer, scores in answers
        if answer["predictions"][0]["class_id"] != scores.argmax()
    ]
    assert len(differ) <= (1 - SAME_TOP1_MIN) * len(answers), "\n".join(differ)


def test_scores_are_close(answers):
    far = [
        f"{name}: class {prediction['class_id']} has {prediction['score']}, reference {scores[prediction['class_id']]}"
        for name, answer, scores in answers
        for prediction in answer["predictions"]
        if abs(prediction["score"] - scores[prediction["class_id"]]) > SCORE_DIFFERENCE_MAX
    ]
    assert far == [], "\n".join(far)


def test_predictions_are_in_order_and_labelled(answers):
    labels = (Path(setting("IMAGO_MODELS")) / MODELS[0] / "1" / "labels.txt").read_text().splitlines()
    for name, answer, _ in answers:
        scores = [prediction["score"] for prediction in answer["predictions"]]
        assert scores == sorted(scores, reverse=True), name
        assert all(labels[p["class_id"]] == p["label"] for p in answer["predictions"]), name


def test_image_facts_are_true(answers):
    """Sizes are of the upright picture."""
    manifest = Path(setting("IMAGO_PHOTOS")) / "manifest.json"
    if not manifest.exists():
        pytest.skip("the photographs have no manifest")
    facts = {photo["file"]: photo for photo in json.loads(manifest.read_text())}
    for name, answer, _ in answers:
        image = answer["image"]
        assert (image["width"], image["height"]) == (facts[name]["width"], facts[name]["height"]), name
        assert image["format"] == "jpeg", name
