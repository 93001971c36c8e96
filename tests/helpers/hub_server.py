"""A small Hugging Face Hub on the loopback interface, for one repository.

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
    asked = []
    content = sorted(folder.iterdir())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, with_body=True):
            asked.append(self.path)
            model = f"/api/models/{repository}"
            files = f"/{repository}/resolve/{revision}/"
            headers = {"X-Repo-Commit": revision}
            if self.path.startswith(f"{model}/revision/{revision}"):
                siblings = [{"rfilename": path.name} for path in content]
                answer = {"id": repository, "sha": revision}
                body = json.dumps({**answer, "siblings": siblings}).encode()
            elif self.path.startswith(f"{model}/tree/{revision}"):
                answer = [
                    {
                        "type": "file",
                        "path": path.name,
                        "size": path.stat().st_size,
                        "oid": digest(path),
                    }
                    for path in content
                ]
                body = json.dumps(answer).encode()
            elif self.path.startswith(files):
                body = (folder / self.path.removeprefix(files)).read_bytes()
                name = self.path.removeprefix(files)
                headers["ETag"] = f'"{digest(folder / name)}"'
            else:
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
