"""The loopback provider with OpenAI's files and batches: …/v1/files, …/v1/batches.

A batch goes from validating to in_progress to its end, a step per retrieval. ``fault`` says what happens to a request:
"" answered, "malformed", "truncated", "missing" (in neither file), or a status code for the error file.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from tests.provider import Answer, Behaviour, Body, Provider, malformed, tokens

Fault = Callable[[Body], str | int]


class BatchProvider(Provider):
    """``end``: how batches end. ``steps``: retrievals until then. ``lose_create``: takes a batch and answers 500.

    ``refuse``: the status with which batches are refused. ``without_usage``: answers tell no tokens.
    """

    def __init__(self, behaviour: Behaviour | None = None, answer: Answer | None = None) -> None:
        super().__init__(behaviour, answer)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Body] = {}
        self.fault: Fault = lambda body: ""
        self.end, self.steps = "completed", 2
        self.lose_create = self.without_usage = False
        self.refuse = 0
        self.downloads = 0

    def asked(self) -> list[Body]:
        """The bodies of all requests in batches."""
        inputs = [self.files[batch["input_file_id"]] for batch in self.batches.values()]
        return [json.loads(line)["body"] for content in inputs for line in content.splitlines()]

    async def _respond(self, head: str, body: bytes) -> tuple[int, list[str], bytes]:
        method, path = head.split(" ", 2)[:2]
        place = path.partition("?")[0].removeprefix("/v1")
        if not re.match(r"/(files|batches)\b", place):
            return await super()._respond(head, body)
        if self.behaviour.status != 200:
            return self.behaviour.status, [], _json({"error": {"message": self.behaviour.error, "code": "x"}})
        if place == "/files":
            return 200, [], self._upload(head, body)
        if place.endswith("/content"):
            self.downloads += 1
            return 200, [], self.files[place.split("/")[2]]
        if place == "/batches" and method == "POST":
            return self._create(json.loads(body))
        if place == "/batches":
            return 200, [], _json({"object": "list", "data": list(self.batches.values()), "has_more": False})
        return self._retrieve(place.split("/")[2])

    def _upload(self, head: str, body: bytes) -> bytes:
        boundary = re.search(r"boundary=(\S+)", head)
        assert boundary
        parts = body.split(b"--" + boundary[1].encode())
        content = next(part for part in parts if b"filename=" in part).partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        described = {"id": name, "object": "file", "bytes": len(content), "created_at": 1, "purpose": "batch"}
        return _json({**described, "filename": "batch.jsonl", "status": "processed"})

    def _create(self, given: Body) -> tuple[int, list[str], bytes]:
        if self.refuse:
            return self.refuse, [], _json({"error": {"message": "no", "code": "no"}})
        name = f"batch_{len(self.batches) + 1}"
        self.batches[name] = {
            "id": name, "object": "batch", "status": "validating", "created_at": 1, "errors": None,
            "output_file_id": None, "error_file_id": None, "request_counts": {"total": 0, "completed": 0, "failed": 0},
            **given,
        }  # fmt: skip
        if self.lose_create:
            return 500, [], _json({"error": {"message": "gone", "code": "x"}})
        return 200, [], _json(self.batches[name])

    def _retrieve(self, name: str) -> tuple[int, list[str], bytes]:
        if name not in self.batches:
            return 404, [], _json({"error": {"message": "no such batch", "code": "not_found"}})
        batch = self.batches[name]
        seen = batch["seen"] = batch.get("seen", 0) + 1
        if batch["output_file_id"] is None and batch["status"] not in ("failed", "cancelled", "expired"):
            batch["status"] = "in_progress" if seen < self.steps else self.end
            if seen >= self.steps:
                self._finish(batch)
        return 200, [], _json({key: value for key, value in batch.items() if key != "seen"})

    def _finish(self, batch: Body) -> None:
        if self.end == "failed":
            problem = {"code": "token_limit_exceeded", "message": "too many", "line": None, "param": None}
            batch["errors"] = {"object": "list", "data": [problem]}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        outputs, errors = [], []
        for line in lines:
            fault = self.fault(line["body"])
            if fault == "missing":
                continue
            if isinstance(fault, int) or fault == "expired":
                errors.append(_refused(line["custom_id"], fault))
            else:
                outputs.append(self._line(line, str(fault)))
        for key, content in (("output_file_id", outputs), ("error_file_id", errors)):
            if content:
                name = f"file-{len(self.files) + 1}"
                self.files[name] = b"".join(_json(one) + b"\n" for one in content)
                batch[key] = name

    def _line(self, line: Body, fault: str) -> Body:
        body, content, reason = line["body"], self.answer(line["body"]), "stop"
        if fault == "malformed":
            content = malformed(content, 0)
        if fault == "truncated":
            content, reason = content[: len(content) * 2 // 3], "length"
        prompt = "".join(message["content"] for message in body["messages"])
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
        answer: Body = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"]}
        answer["choices"] = [choice]
        if not self.without_usage:
            answer["usage"] = {"prompt_tokens": tokens(prompt), "completion_tokens": tokens(content)}
        response = {"status_code": 200, "request_id": "r", "body": answer}
        return {"id": "b", "custom_id": line["custom_id"], "response": response, "error": None}


def _refused(key: str, fault: str | int) -> Body:
    if fault == "expired":
        return {"id": "b", "custom_id": key, "response": None, "error": {"code": "batch_expired", "message": "late"}}
    message = "This model's maximum context length is 10 tokens" if fault == 413 else "bad"
    body = {"error": {"message": message, "type": "x", "code": "x"}}
    return {"id": "b", "custom_id": key, "response": {"status_code": fault, "body": body}, "error": None}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
