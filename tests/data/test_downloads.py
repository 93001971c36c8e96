import gzip
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import downloads, sources

ROWS = [
    b"%s\n" % hashlib.sha512(b"%d" % n).hexdigest().encode()
    for n in range(5000)
]
CONTENT = gzip.compress(b"".join(ROWS))  # hardly smaller, so of several chunks


class Mirror(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; breaks off where it is told to."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if self.path.startswith("/missing"):
            return self.send_error(404)
        if self.path.startswith("/portal"):
            self.send_response(200)
            self.end_headers()
            return self.wfile.write(b"<html>Please sign in</html>")
        if self.path.startswith("/refusing"):
            return self.send_error(416)
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=")[:-1])
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = server.content[start:]
        self.send_response(206 if server.ranges else 200)
        body = body if server.ranges else server.content
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.break_after])
        server.break_after = None

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.content, server.asked = CONTENT, []
    server.break_after, server.ranges, server.encoding = None, True, None
    server.url = f"http://127.0.0.1:{server.server_port}/reviews.json.gz"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


CLOSED = "http://127.0.0.1:9/reviews.json.gz"


def test_the_file_is_fetched_once_and_its_hash_recorded(mirror, tmp_path):
    target = tmp_path / "deep" / "reviews.json.gz"
    assert downloads.download(mirror.url, target, rows=5000) == target
    assert target.read_bytes() == CONTENT
    record = target.with_name("reviews.json.gz.sha256").read_text().strip()
    assert record == hashlib.sha256(CONTENT).hexdigest()
    assert not target.with_name("reviews.json.gz.part").exists()
    downloads.download(CLOSED, target)  # there already: nothing is asked
    assert len(mirror.asked) == 1


def test_what_is_there_can_be_read_where_nothing_can_be_written(
    mirror, tmp_path, monkeypatch
):
    target = tmp_path / "reviews.json.gz"
    downloads.download(mirror.url, target)

    def refuse(_):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(downloads.folders, "lock", refuse)
    assert downloads.download(CLOSED, target) == target
    target.unlink()
    with pytest.raises(UserError, match="Permission denied"):
        downloads.download(mirror.url, target)


@pytest.mark.parametrize(
    ("path", "cause"),
    [(None, "ConnectionError"), ("missing", "404"), ("refusing", "416")],
)
def test_no_answer_is_one_line_with_the_cause(mirror, tmp_path, path, cause):
    url = mirror.url.replace("/reviews", f"/{path}") if path else CLOSED
    with pytest.raises(UserError) as error:
        downloads.download(url, tmp_path / "a.json.gz")
    message = str(error.value)
    assert message.startswith(url) and cause in message
    assert "set review_source to amazon-snippets" in message
    assert "\n" not in message
    assert sources.registry()["amazon-snippets"].source == "package"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_a_server_that_calls_gz_an_encoding_is_taken_as_it_is(
    mirror, tmp_path, encoding
):
    mirror.encoding = encoding
    mirror.break_after = 2 * downloads.CHUNK + 5
    target = tmp_path / "reviews.json.gz"
    with pytest.raises(UserError, match="the part that arrived is kept"):
        downloads.download(mirror.url, target)
    downloads.download(mirror.url, target, rows=5000)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_broke_off(
    mirror, tmp_path, ranges
):
    target = tmp_path / "reviews.json.gz"
    mirror.break_after = 2 * downloads.CHUNK + 5
    with pytest.raises(UserError, match="the part that arrived is kept"):
        downloads.download(mirror.url, target)
    partial = target.with_name("reviews.json.gz.part")
    size = 2 * downloads.CHUNK + 5
    assert partial.read_bytes() == CONTENT[:size] and not target.exists()
    mirror.ranges = ranges  # a server without ranges sends all of it again
    downloads.download(mirror.url, target, rows=5000)
    assert target.read_bytes() == CONTENT
    assert mirror.asked == [None, f"bytes={size}-"]


def test_two_downloads_at_once_are_one(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    started = threading.Barrier(6)

    def fetch():
        started.wait()
        return downloads.download(mirror.url, target)

    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(fetch) for _ in range(6)]
    assert {future.result() for future in found} == {target}
    assert target.read_bytes() == CONTENT
    assert len(mirror.asked) == 1


def test_a_complete_partial_file_is_taken_as_it_is(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    target.with_name("reviews.json.gz.part").write_bytes(CONTENT)
    downloads.download(mirror.url, target, rows=5000)
    assert target.read_bytes() == CONTENT


def test_a_partial_file_of_something_else_is_thrown_away(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    target.with_name("reviews.json.gz.part").write_bytes(CONTENT + b"more")
    downloads.download(mirror.url, target, rows=5000)
    assert target.read_bytes() == CONTENT


def test_another_number_of_rows_is_refused(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    with pytest.raises(UserError, match="has 5000 rows instead of the 5001"):
        downloads.download(mirror.url, target, rows=5001)
    mirror.content = CONTENT[:-50]
    for rows in (5000, 0):
        with pytest.raises(UserError, match="is not a complete gzip file"):
            downloads.download(mirror.url, target, rows=rows)
    assert not list(tmp_path.glob("reviews*"))


def test_the_page_of_a_proxy_is_no_file_of_reviews(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    mirror.content = b"<html>Please sign in</html>"
    with pytest.raises(UserError, match="is not a complete gzip file"):
        downloads.download(mirror.url, target)
    mirror.content = CONTENT
    assert downloads.download(mirror.url, target) == target


def test_a_proxys_page_takes_nothing_away(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    half = len(CONTENT) // 2
    target.with_name("reviews.json.gz.part").write_bytes(CONTENT[:half])
    portal = mirror.url.replace("/reviews", "/portal")
    with pytest.raises(
        UserError, match="portal.json.gz is not a complete gzip"
    ):
        downloads.download(portal, target)
    downloads.download(mirror.url, target, rows=5000)
    assert target.read_bytes() == CONTENT
    assert mirror.asked[-1] == f"bytes={half}-"
    assert not list(tmp_path.glob("reviews.json.gz.part*"))


def test_a_file_that_has_changed_is_refused(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    downloads.download(mirror.url, target)
    target.unlink()
    mirror.content = gzip.compress(b"{}\n")
    with pytest.raises(UserError, match="sha256 .*json.gz.sha256 says"):
        downloads.download(mirror.url, target)
    assert not target.exists()


def test_a_file_that_was_changed_on_disk_is_refused(mirror, tmp_path):
    target = tmp_path / "reviews.json.gz"
    downloads.download(mirror.url, target)
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="has changed since it was downloaded"):
        downloads.download(mirror.url, target)
