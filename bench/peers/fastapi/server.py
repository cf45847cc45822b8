# SPDX-License-Identifier: Apache-2.0
"""The Python peer: FastAPI on uvicorn with uvloop and httptools, one process a core, Pillow, and ONNX
Runtime or OpenVINO with one thread a process.

    server.py HOST:PORT MODEL-FOLDER [--engine onnxruntime|openvino] [--workers N]

POST /v1/predict takes a JPEG as the body, or as the field `image` of a form, and answers the five
best labels as JSON. The precision is the model file's: int8 or fp32.
"""
import argparse
import io
import os
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from PIL import Image
import orjson

SIDE, TOP, BODY_MAX = 224, 5, 20_000_000
MEAN, SCALE = np.float32(127), np.float32(1 / 128)


def onnxruntime_engine(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    return (lambda pixels: session.run(None, {source.name: pixels})[0][0]), source.type == "tensor(uint8)"


def openvino_engine(path):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    whole = model.inputs[0].element_type == openvino.Type.u8
    model.reshape([1, SIDE, SIDE, 3] if whole else [1, 3, SIDE, SIDE])
    # f32 for what is not int8 in the graph: otherwise such a CPU takes bf16 unasked.
    tuned = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    tuned["INFERENCE_PRECISION_HINT"] = "f32"
    request = core.compile_model(model, "CPU", tuned).create_infer_request()
    return (lambda pixels: request.infer([pixels], share_inputs=True, share_outputs=True)[0][0]), whole


ENGINES = {"onnxruntime": onnxruntime_engine, "openvino": openvino_engine}


# What undoes each EXIF orientation.
TURNS = dict(enumerate(
    ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), start=2
))


def read_pixels(data):
    """uint8 [224, 224, 3]: the centre square of 7/8 of the shorter side, bicubic with antialias."""
    image = Image.open(io.BytesIO(data))
    turn = TURNS.get(image.getexif().get(0x0112)) if "exif" in image.info else None
    image = image if image.mode == "RGB" else image.convert("RGB")
    if turn:
        image = image.transpose(Image.Transpose[turn])
    width, height = image.size
    side = min(width, height) * 7 // 8
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    # Not resize(box=...), whose filter would reach over the crop's edges.
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def create_app():
    folder = Path(os.environ["PEER_MODEL"])
    run, takes_pixels = ENGINES[os.environ["PEER_ENGINE"]](str(folder / "model.onnx"))
    labels = (folder / "labels.txt").read_text().splitlines()
    app = FastAPI()

    def classify(data):
        pixels = read_pixels(data)
        if not takes_pixels:
            pixels = ((pixels.transpose(2, 0, 1).astype(np.float32) - MEAN) * SCALE)
        scores = run(pixels[np.newaxis])
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
        best = np.argpartition(scores, -TOP)[-TOP:]
        best = best[np.argsort(-scores[best])]
        found = [{"class_id": int(c), "label": labels[c], "score": float(scores[c])} for c in best]
        return orjson.dumps({"model": "efficientnet-lite0", "predictions": found})

    @app.post("/v1/predict")
    async def predict(request: Request):
        if int(request.headers.get("content-length", 0)) > BODY_MAX:
            raise HTTPException(413)
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form() as form:
                data = await form["image"].read()
        else:
            data = await request.body()
        # In the loop's own thread: there is a process for each core, and a hop to a thread pool only
        # adds switches.
        try:
            return Response(classify(data), media_type="application/json")
        except OSError as error:
            raise HTTPException(422, str(error)) from error

    @app.get("/health")
    async def health():
        return "ready"

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("listen")
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", choices=ENGINES, default="onnxruntime")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    os.environ.update(PEER_MODEL=str(options.model), PEER_ENGINE=options.engine)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    host, port = options.listen.rsplit(":", 1)
    uvicorn.run(
        "server:create_app", factory=True, app_dir=str(Path(__file__).parent), host=host, port=int(port),
        workers=options.workers, loop="uvloop", http="httptools", access_log=False, log_level="warning",
    )


if __name__ == "__main__":
    main()
