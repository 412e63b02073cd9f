"""A Hugging Face Hub of one process: repositories in memory, answered over HTTP on this machine.

As much of its protocol as `huggingface_hub` uses to make repositories, to write commits of files
small enough to go along with them, and to download.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"
_MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"


@dataclass
class Repository:
    """Its files by name, and whether strangers see it."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        """Of what it holds."""
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


@dataclass
class Hub:
    """The repositories by name, and the requests so far: (method, path)."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A Hub that answers within."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *said) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "no"}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        answers = (
            (rf"{_MODEL}(/revision/[^/]+)?", self._info),
            (rf"{_MODEL}/tree/[^/]+", self._tree),
            (rf"{_MODEL}/preupload/[^/]+", self._preupload),
            (rf"{_MODEL}/commit/[^/]+", self._commit),
            (r"/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>.+)", self._file),
        )
        matches = [(re.fullmatch(pattern, path), respond) for pattern, respond in answers]
        found, respond = next((one for one in matches if one[0]), (None, None))
        if found is None:
            return self._json({"error": path}, 404)
        repository = self.hub.repositories.get(found["repo"])
        if repository is None:
            return self._json({"error": "none"}, 404, {"X-Error-Code": "RepoNotFound"})
        return respond(repository, found, body)

    def _create(self, asked) -> None:
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.repositories[name] = Repository(private=bool(private))
        self._json({"url": f"{self.hub.address}/{name}", "id": name})

    def _info(self, repository, found, body) -> None:
        siblings = [{"rfilename": name} for name in sorted(repository.files)]
        told = {"id": found["repo"], "modelId": found["repo"], "sha": repository.sha}
        self._json({**told, "private": repository.private, "siblings": siblings})

    def _tree(self, repository, found, body) -> None:
        self._json(
            [
                {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
                for name, content in sorted(repository.files.items())
            ]
        )

    def _preupload(self, repository, found, body) -> None:
        files = [one["path"] for one in json.loads(body)["files"]]
        modes = [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in files]
        self._json({"files": modes})

    def _commit(self, repository, found, body) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                repository.messages.append(entry["value"]["summary"])
            elif entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                repository.files[entry["value"]["path"]] = content
        address = f"{self.hub.address}/{found['repo']}/commit/{repository.sha}"
        self._json({"success": True, "commitOid": repository.sha, "commitUrl": address})

    def _file(self, repository, found, body) -> None:
        content = repository.files.get(found["file"])
        if content is None:
            return self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": repository.sha}
        self._send(200, content, {"Content-Type": "application/octet-stream", **headers})

    def _json(self, value, status=200, headers=()) -> None:
        content = json.dumps(value).encode()
        self._send(status, content, {"Content-Type": "application/json", **dict(headers)})

    def _send(self, status, content, headers) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
