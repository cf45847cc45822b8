# SPDX-License-Identifier: Apache-2.0
"""What the server has told its clients, and what therefore must hold after any crash."""
import threading
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Request:
    """One POST /v1/predict, under a reference that no other has."""
    pictures: list  # their hashes, in order; None for one that is broken
    results: list = None  # as answered; None: no answer came, or not a success
    keyed: bool = False  # sent with an Idempotency-Key, and so again until it is answered
    files: list = None  # of a keyed one: the bytes


@dataclass
class Told:
    """Everything is written by client threads, under the lock, and read between rounds."""
    requests: dict = field(default_factory=dict)  # reference -> Request
    predictions: dict = field(default_factory=dict)  # id -> the prediction as answered
    references: dict = field(default_factory=dict)  # id -> reference
    erased: set = field(default_factory=set)
    maybe_erased: set = field(default_factory=set)  # no answer came
    feedback: dict = field(default_factory=dict)  # id -> class_id, as last answered
    maybe_feedback: dict = field(default_factory=lambda: defaultdict(set))  # id -> class_ids without an answer since
    images: dict = field(default_factory=dict)  # hash -> bytes, of PUT /v1/images alone
    jobs: dict = field(default_factory=dict)  # id -> reference, of what was accepted
    cancelled: set = field(default_factory=set)  # ids of jobs that somebody wanted to end
    refused: int = 0  # 503 and 504: neither kept nor billed
    wrong: list = field(default_factory=list)  # answers that should not be
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, reference, pictures, files=None):
        with self.lock:
            self.requests[reference] = Request(pictures, keyed=files is not None, files=files)

    def answer(self, reference, results):
        with self.lock:
            request = self.requests[reference]
            if request.results is not None and request.results != results:
                self.wrong.append(f"{reference}: answered {request.results}, then {results}")
            request.results = results
            for result in results:
                if "id" in result:
                    self.predictions[result["id"]] = result
                    self.references[result["id"]] = reference

    def kept(self):
        """Ids of what was answered and may not be gone."""
        return self.predictions.keys() - self.erased - self.maybe_erased

    def keyed(self, answered):
        """References of requests with an Idempotency-Key."""
        with self.lock:
            return [reference for reference, request in self.requests.items()
                    if request.keyed and (request.results is not None) == answered]

    def count_answers(self):
        with self.lock:
            return len(self.predictions)
