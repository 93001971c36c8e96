"""A small Hugging Face Hub on the loopback interface.

It answers the three requests that `snapshot_download` makes: what is this
revision, which files has it, and give me this file.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def digest(path: Path) -> str:
    """Return what the Hub would call the file's version."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def serve(folder: Path, repository: str, revision: str):
    """Serve the files of `folder`; give the address and the paths asked."""
    with serve_all({(repository, revision): folder}) as served:
        yield served


def find_file(folder: Path, repository: str, revision: str, asked: str):
    """Return the body and the headers of an answer, or None."""
    model = f"/api/models/{repository}"
    files = f"/{repository}/resolve/{revision}/"
    headers = {"X-Repo-Commit": revision}
    content = sorted(folder.iterdir())
    if asked.startswith(f"{model}/revision/{revision}"):
        siblings = [{"rfilename": path.name} for path in content]
        answer = {"id": repository, "sha": revision}
        return json.dumps({**answer, "siblings": siblings}).encode(), headers
    if asked.startswith(f"{model}/tree/{revision}"):
        answer = [
            {
                "type": "file",
                "path": path.name,
                "size": path.stat().st_size,
                "oid": digest(path),
            }
            for path in content
        ]
        return json.dumps(answer).encode(), headers
    if asked.startswith(files):
        path = folder / asked.removeprefix(files)
        headers["ETag"] = f'"{digest(path)}"'
        return path.read_bytes(), headers
    return None


@contextmanager
def serve_all(folders: dict[tuple[str, str], Path]):
    """Serve a folder for each pair of repository and revision."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, with_body=True):
            asked.append(self.path)
            answers = [
                find_file(folder, *names, self.path)
                for names, folder in folders.items()
            ]
            body, headers = next(filter(None, answers), (None, None))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def do_HEAD(self):
            self.do_GET(with_body=False)

        def log_message(self, *arguments):
            """Keep the test output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
