"""All three operations of SageMaker Runtime against the embedded local endpoint.

A digit recogniser is trained on the spot, served by `aiosmrt.local`, and called as an
endpoint in AWS would be: over a socket, with a signature, in event-stream frames. Point
`aiosmrt.Session` at AWS (leave its arguments out) and the calls stay the same.
"""

from __future__ import annotations

import asyncio
import csv
import io
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from aiosmrt.local import LocalEndpoint, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHADES = " .:-=+*#%@"


class DigitModel:
    """Recognises 8 x 8 images of digits, sent as CSV rows of 64 numbers."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.classifier = LogisticRegression(max_iter=200).fit(images / 16, labels)

    def read(self, request: ModelRequest) -> np.ndarray:
        return np.loadtxt(io.BytesIO(request.body), delimiter=",", ndmin=2) / 16

    async def predict(self, request: ModelRequest) -> ModelResponse:
        """CSV rows in, one digit a line out."""
        # In a thread, so that the endpoint goes on answering others meanwhile.
        digits = await asyncio.to_thread(self.classifier.predict, self.read(request))
        return ModelResponse("\n".join(map(str, digits)), content_type="text/csv")

    async def explain(self, request: ModelRequest) -> AsyncIterator[bytes]:
        """One CSV row in; the image, and then what speaks for each digit, a line a part."""
        image = self.read(request)[0]
        for row in image.reshape(8, 8):
            yield "".join(SHADES[int(value * 9)] * 2 for value in row).encode()
            await asyncio.sleep(0.02)  # a model that takes its time, to see parts arrive
        chances = self.classifier.predict_proba([image])[0]
        for digit in np.argsort(-chances)[:3]:
            bar = "█" * round(chances[digit] * 30)
            yield f"{digit}: {chances[digit]:6.1%} {bar}".encode()
            await asyncio.sleep(0.02)


def to_csv(rows: np.ndarray) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows.astype(int).tolist())
    return text.getvalue()


def title(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}")


async def main() -> None:
    digits = load_digits()
    seen, unseen, labels, truth = train_test_split(
        digits.data, digits.target, test_size=400, random_state=7
    )
    model = DigitModel(seen, labels)
    print(f"Trained on {len(seen)} images of digits; {len(unseen)} others are kept for questions.")

    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("digits", model.predict)
        local.add_model("digits-explained", model.explain)
        print(f"SageMaker Runtime, local edition, answers at {local.url}")

        title("InvokeEndpoint: 400 images, 40 calls at once")
        started = time.perf_counter()
        batches = np.array_split(unseen, 40)
        outputs = await asyncio.gather(
            *(
                session.invoke_endpoint(
                    "digits", to_csv(batch), content_type="text/csv", accept="text/csv"
                )
                for batch in batches
            )
        )
        took = time.perf_counter() - started
        answers = np.array([int(line) for output in outputs for line in output.text().split()])
        first = outputs[0]
        print(f"  variant    {first.invoked_production_variant}")
        print(f"  request id {first.metadata.request_id}, attempts {first.metadata.attempts}")
        print(f"  answers    {answers[:20]} ...")
        print(f"  truth      {truth[:20]} ...")
        print(f"  accuracy   {np.mean(answers == truth):.1%} in {took * 1000:.0f} ms")

        title("InvokeEndpointWithResponseStream: one image explained, part by part")
        started = time.perf_counter()
        async with session.invoke_endpoint_with_response_stream(
            "digits-explained", to_csv(unseen[:1]), content_type="text/csv"
        ) as stream:
            async for part in stream:
                elapsed = (time.perf_counter() - started) * 1000
                print(f"  {elapsed:6.1f} ms  {part.bytes.decode()}")
        print(f"  the truth is {truth[0]}")

        title("InvokeEndpointAsync: the input lies in S3, and so will the output")
        source = f"s3://{local.output_bucket}/questions.csv"
        local.put_object(source, to_csv(unseen).encode())
        invocation = await session.invoke_endpoint_async(
            "digits", input_location=source, content_type="text/csv"
        )
        print(f"  inference  {invocation.inference_id}")
        print(f"  output at  {invocation.output_location}")
        result = await invocation.result(timeout=30)
        answers = np.array(result.body.split(), dtype=int)
        print(f"  fetched    {len(answers)} answers, accuracy {np.mean(answers == truth):.1%}")


if __name__ == "__main__":
    asyncio.run(main())
