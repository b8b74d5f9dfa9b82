"""A file of images through an endpoint into a file of answers: batch inference on real data.

1,797 images of handwritten digits, a line of JSON each, go through a recogniser that
`aiosmrt.local` serves, eight to a request. The run is broken off on its way and
resumed: every image has its line once. Point `aiosmrt.Session` at AWS (leave its
arguments out) and `aiosmrt.batch.run` stays the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import aiosmrt.batch
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse


class DigitModel:
    """Recognises 8 x 8 images of digits, a JSON record a line."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.classifier = LogisticRegression(max_iter=200).fit(images / 16, labels)
        self.asked = 0
        self.is_busy = asyncio.Event()

    async def predict(self, request: ModelRequest) -> ModelResponse:
        images = [json.loads(line)["pixels"] for line in request.body.splitlines()]
        self.asked += len(images)
        if self.asked > 600:
            self.is_busy.set()
        if any(len(image) != 64 for image in images):
            raise ModelFailure(400, "an image has 64 pixels")
        # In a thread, so that the endpoint goes on answering others meanwhile.
        chances = await asyncio.to_thread(self.classifier.predict_proba, np.array(images) / 16)
        answers = [{"digit": int(row.argmax()), "chance": round(row.max(), 3)} for row in chances]
        return ModelResponse(
            "\n".join(map(json.dumps, answers)), content_type="application/jsonlines"
        )


def write_images(path: Path, images: np.ndarray) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, pixels in enumerate(images.astype(int).tolist()):
            file.write(json.dumps({"id": f"image-{number:04}", "pixels": pixels}) + "\n")


def read_answers(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


async def main(folder: Path) -> None:
    digits = load_digits()
    # Every other image is learnt from; all are asked for.
    model = DigitModel(digits.data[::2], digits.target[::2])
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    write_images(source, digits.data)
    print(f"{len(digits.data)} images, {source.stat().st_size:,} bytes of JSON Lines")

    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("digits", model.predict)
        run = partial(
            aiosmrt.batch.run,
            session,
            "digits",
            source,
            output,
            key_field="id",
            records_per_request=8,
            concurrency=16,
            resume=True,
        )
        broken = asyncio.ensure_future(run())
        await model.is_busy.wait()
        broken.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await broken
        print(f"\nBroken off: {len(read_answers(output))} lines are there, all whole.")

        print("\nResumed:")
        summary = await run()
        print(summary)

    answers = read_answers(output)
    most = max(Counter(answer["key"] for answer in answers).values())
    print(f"\n{len(answers)} lines, at most {most} for an image; the first of them:")
    for line in output.read_text(encoding="utf-8").splitlines()[:3]:
        print(f"  {line}")
    found = {answer["index"]: answer["output"]["digit"] for answer in answers}
    unseen = range(1, len(digits.target), 2)
    right = sum(found[index] == digits.target[index] for index in unseen)
    print(f"Right on {right} of the {len(unseen)} images that it had not seen.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(Path(place)))
