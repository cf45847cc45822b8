# SPDX-License-Identifier: Apache-2.0
"""Clients that use a server until it is gone, and note what they were told."""
import itertools
import json
import random
import struct
import threading

import requests
from imago_server import PATIENCE_S, eventually, sha256

LABELS = 1000
REFUSALS = (409, 503, 504)  # not now; 409: another one works under the same Idempotency-Key
GONE = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)  # the server was killed


def unique(photo, number):
    """The same picture in a file of its own: a comment behind the start of a JPEG."""
    comment = b"%020d" % number
    return photo[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + photo[2:]


class Load:
    """Threads of clients against one server after the other; everything they do comes from the seed and their turns."""

    def __init__(self, told, photos, seed, thread_count=6):
        self.told = told
        self.photos = photos
        self.shared = [unique(photo, 0) for photo in photos[:4]]  # sent again and again
        self.numbers = itertools.count(1)
        self.dice = random.Random(seed)
        self.thread_count = thread_count
        self.threads = []

    def start(self, server):
        self.ending = threading.Event()
        self.left_over = set(self.told.keyed(answered=False))
        self.threads = [threading.Thread(target=self._client, args=(server, random.Random(self.dice.random()), number == 0))
                        for number in range(self.thread_count)]
        for thread in self.threads:
            thread.start()

    def settle(self, server):
        """Everything with an Idempotency-Key is sent again until it is answered, and every job comes to its end."""
        session = requests.Session()
        session.trust_env = False
        client = Client(self, session, server.url, self.dice, True)
        for reference in self.told.keyed(answered=False):
            eventually(lambda: client.send_keyed(reference) or self.told.requests[reference].results or self.told.wrong,
                       f"an answer to {reference}")
        for id in self.told.jobs:
            client.see_end_of(id)
        session.close()
        assert not self.told.wrong, self.told.wrong[:5]

    def join(self):
        """After the server is gone, or to stop."""
        self.ending.set()
        for thread in self.threads:
            thread.join(4 * PATIENCE_S)
            assert not thread.is_alive(), "a client still waits for its answer"
        assert not self.told.wrong, self.told.wrong[:5]

    def _client(self, server, dice, is_patient):
        session = requests.Session()
        session.trust_env = False
        client = Client(self, session, server.url, dice, is_patient)
        try:
            while not self.ending.is_set():
                client.act()
        except GONE:
            pass
        except Exception as error:  # noqa: BLE001 - told by join()
            self.told.wrong.append(repr(error))
        finally:
            session.close()


class Client:
    def __init__(self, load, session, url, dice, is_patient):
        self.load, self.told, self.session, self.url, self.dice = load, load.told, session, url, dice
        self.is_patient = is_patient  # sends again what a dead server worked on, which takes as long as its lease
        self.mine = []  # ids of predictions that this client was told of in this round

    def act(self):
        actions = {self.predict_one: 32, self.predict_many: 16, self.predict_keyed: 12, self.send_again: 6, self.read: 6,
                   self.give_feedback: 8, self.erase: 8, self.put_image: 8, self.start_job: 4, self.predict_later: 2,
                   self.cancel_job: 1}
        self.dice.choices(list(actions), list(actions.values()))[0]()

    def send(self, method, path, good, **options):
        """The response, or None if the server refused for the moment."""
        response = self.session.request(method, self.url + path, timeout=2 * PATIENCE_S, **options)
        if response.status_code in REFUSALS:
            with self.told.lock:
                self.told.refused += 1
            return None
        if response.status_code not in good:
            self.told.wrong.append(f"{method} {path}: {response.status_code} {response.text[:300]}")
            return None
        return response

    def picture(self):
        if self.dice.random() < 0.25:
            return self.dice.choice(self.load.shared)
        return unique(self.dice.choice(self.load.photos), next(self.load.numbers))

    def told_of(self, reference, results):
        self.told.answer(reference, results)
        self.mine += [result["id"] for result in results if "id" in result]

    def predict_one(self):
        picture, reference = self.picture(), f"one-{next(self.load.numbers)}"
        self.told.ask(reference, [sha256(picture)])
        response = self.send("POST", "/v1/predict", (200,), data=picture, params={"reference": reference},
                             headers={"Content-Type": "image/jpeg"})
        if response is not None:
            self.told_of(reference, [response.json()])

    def predict_many(self):
        pictures = [self.picture() for _ in range(self.dice.randint(2, 8))]
        if self.dice.random() < 0.3:
            pictures[self.dice.randrange(len(pictures))] = b"broken"
        reference = f"many-{next(self.load.numbers)}"
        self.told.ask(reference, [sha256(picture) if picture != b"broken" else None for picture in pictures])
        files = [("image", ("photo.jpg", picture)) for picture in pictures]
        response = self.send("POST", "/v1/predict", (200,), files=files, data={"reference": reference})
        if response is not None:
            self.told_of(reference, response.json()["results"])

    def predict_keyed(self):
        files = [self.picture() for _ in range(self.dice.choice([1, 1, 2, 5]))]
        reference = f"keyed-{next(self.load.numbers)}"
        self.told.ask(reference, [sha256(picture) for picture in files], files)
        self.send_keyed(reference)

    def send_again(self):
        """What was not answered, by an earlier server or while another client waits for it; or what was."""
        references = self.told.keyed(answered=self.dice.random() < 0.3)
        if not self.is_patient:
            references = [reference for reference in references if reference not in self.load.left_over]
        if references:
            self.send_keyed(self.dice.choice(references))

    def send_keyed(self, reference):
        """One whose results are not erased, so that the same answer must come again and again."""
        files = [("image", ("photo.jpg", picture)) for picture in self.told.requests[reference].files]
        response = self.send("POST", "/v1/predict", (200,), files=files, data={"reference": reference},
                             headers={"Idempotency-Key": f'"{reference}"'})
        if response is not None:
            results = response.json()["results"] if len(files) > 1 else [response.json()]
            # With none of its pictures stored, it is as if it had not been sent.
            if any("id" in result for result in results):
                self.told.answer(reference, results)

    def one_of_mine(self):
        return self.dice.choice(self.mine) if self.mine else None

    def read(self):
        """What was answered is in the history at once."""
        if (id := self.one_of_mine()) is None:
            return
        response = self.send("GET", f"/v1/predictions/{id}", (200,))
        if response is not None:
            answered, found = self.told.predictions[id], response.json()
            if {name: found[name] for name in answered} != answered:
                self.told.wrong.append(f"answered {json.dumps(answered)}, found {response.text}")

    def give_feedback(self):
        if (id := self.one_of_mine()) is None:
            return
        class_id = self.dice.randrange(LABELS)
        with self.told.lock:
            self.told.maybe_feedback[id].add(class_id)
        if self.send("POST", f"/v1/predictions/{id}/feedback", (200,), json={"class_id": class_id}) is not None:
            with self.told.lock:
                self.told.feedback[id] = class_id
                self.told.maybe_feedback[id].clear()

    def erase(self):
        if (id := self.one_of_mine()) is None:
            return
        self.mine.remove(id)
        with self.told.lock:
            self.told.maybe_erased.add(id)
        if self.send("DELETE", f"/v1/predictions/{id}", (204,)) is not None:
            with self.told.lock:
                self.told.erased.add(id)
                self.told.maybe_erased.discard(id)

    def put_image(self):
        picture = unique(self.dice.choice(self.load.photos), next(self.load.numbers))
        response = self.send("PUT", "/v1/images", (201,), data=picture, headers={"Content-Type": "image/jpeg"})
        if response is not None:
            with self.told.lock:
                self.told.images[response.json()["sha256"]] = picture

    def accepted(self, reference, response):
        if response is not None:
            with self.told.lock:
                self.told.jobs[response.json()["id"]] = reference

    def start_job(self):
        with self.told.lock:
            stored = list(self.told.images)
        if not stored:
            return
        hashes = [self.dice.choice(stored) for _ in range(self.dice.randint(1, 12))]
        reference = f"job-{next(self.load.numbers)}"
        self.told.ask(reference, hashes)
        self.accepted(reference, self.send("POST", "/v1/jobs", (202,), json={"images": hashes, "reference": reference}))

    def predict_later(self):
        pictures = [self.picture() for _ in range(self.dice.randint(1, 6))]
        reference = f"later-{next(self.load.numbers)}"
        self.told.ask(reference, [sha256(picture) for picture in pictures])
        files = [("image", ("photo.jpg", picture)) for picture in pictures]
        self.accepted(reference, self.send("POST", "/v1/predict", (202,), files=files, data={"reference": reference},
                                           headers={"Prefer": "respond-async"}))

    def see_end_of(self, id):
        """Each picture of a job that is done has its prediction, once; one that ended otherwise was to, or has been
        begun too often."""
        def ended():
            job = self.send("GET", f"/v1/jobs/{id}", (200,), params={"wait": 10})
            return job if job is not None and job.json()["ended_at"] else None
        job = eventually(ended, f"the end of job {id}").json()
        results = job["results"]
        assert len(results) == job["counts"]["total"] == len(self.told.requests[self.told.jobs[id]].pictures)
        assert sum("id" in (result or {}) for result in results) == job["counts"]["done"]
        if job["state"] == "done":
            assert all(result and "id" in result for result in results), job
        else:
            assert job["state"] == "cancelled" and id in self.told.cancelled or job["state"] == "dead" and job["reason"], job
        extra = ("reference", "feedback", "metadata")
        self.told.answer(self.told.jobs[id], [{name: value for name, value in result.items() if name not in extra}
                                              for result in results if result and "id" in result])

    def cancel_job(self):
        with self.told.lock:
            jobs = list(self.told.jobs)
        if jobs:
            id = self.dice.choice(jobs)
            with self.told.lock:
                self.told.cancelled.add(id)
            self.send("DELETE", f"/v1/jobs/{id}", (200, 202))
