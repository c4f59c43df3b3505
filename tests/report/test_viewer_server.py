"""The viewer's server answers this machine alone, and nothing but its page and known cases."""

import http.client
import json
import logging
import re
import socket
import threading

import numpy as np
import pytest

from medseg.data import read_manifest
from medseg.data.label_files import LabelFiles
from medseg.errors import ResourceError
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_label_map
from medseg.report.viewer_cases import Case
from medseg.report.viewer_server import bound, new_token, routes

LABELS = read_manifest("uwmgi").labels
TOKEN = "Abc-_0123456789defghij"
PAGE = ("/", "/index.html", "/viewer.js", "/scene.js", "/outlines.js", "/viewer.css")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of a server of one case without image and truth."""
    folder = tmp_path_factory.mktemp("cases")
    (folder.parent / "secret.txt").write_text("secret")
    file = folder / "case1_day0.nii.gz"
    label_map = np.zeros((4, 3, 2), np.uint8)
    label_map[1, 1, 1] = 3
    write_label_map(file, label_map, lpi_grid(label_map.shape, (1.5, 1.5, 3.0)), LABELS)
    case = Case("case1_day0", None, None, LabelFiles("case1_day0", file), ())
    with bound(routes([case], LABELS, title="one <case>"), port=0, token=TOKEN) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, path, *, method="GET", token=f"/{TOKEN}", **headers):
    """Return status, headers and body of a request; `host` replaces the header's usual value."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, token + path, skip_host=True)
    for name, value in ({"host": f"127.0.0.1:{port}"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def raw(port, request):
    """Return what the server says to bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.parametrize("path", [pytest.param(path, id=path) for path in PAGE])
def test_the_page_is_served(port, path):
    status, headers, body = ask(port, path)
    assert status == 200
    kinds = {"js": "text/javascript", "css": "text/css"}
    assert headers["Content-Type"].startswith(kinds.get(path.rpartition(".")[2], "text/html"))
    assert len(body) == int(headers["Content-Length"]) > 100


def test_every_file_that_the_page_names_is_served(port):
    page = ask(port, "/")[2].decode()
    links = re.findall(r'(?:src|href)="([^":]+)"', page)
    assert "vendored/niivue.js" in links
    assert [ask(port, f"/{link}")[0] for link in links] == [200] * len(links)
    modules = re.findall(r'from "\./([^"]+)"', ask(port, "/viewer.js")[2].decode())
    assert modules == ["scene.js"]


def test_nothing_on_the_page_is_inline_or_from_elsewhere(port):
    page = ask(port, "/")[2].decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?:|//", page) == []
    for path in PAGE[2:]:
        assert b"http" not in ask(port, path)[2]


def test_the_list_of_cases_is_json(port):
    status, headers, body = ask(port, "/cases.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    told = json.loads(body)
    assert told["title"] == "one <case>"
    assert [case["scan_id"] for case in told["cases"]] == ["case1_day0"]


def test_volumes_of_known_cases_are_served(port):
    status, headers, body = ask(port, "/cases/0/pred/stomach.nii.gz")
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert body[:2] == b"\x1f\x8b"
    assert ask(port, "/cases/0/image.nii.gz")[0] == 200
    assert ask(port, "/cases/0/pred/stomach.mz3")[2][:2] == b"MZ"


def test_what_cannot_be_read_is_told(port):
    status, _, body = ask(port, "/cases/0/truth/stomach.nii.gz")
    assert status == 422
    (problem,) = json.loads(body)["problems"]
    assert (problem["code"], problem["found"]) == ("E-MISSING", "has no truth")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/../secret.txt", id="the folder above"),
        pytest.param("/vendored/../../viewer_server.py", id="above a folder of the page"),
        pytest.param("/%2e%2e/secret.txt", id="dots in disguise"),
        pytest.param("/%2e%2e%2fsecret.txt", id="dots and slash in disguise"),
        pytest.param("/..%5csecret.txt", id="backslash in disguise"),
        pytest.param("//etc/passwd", id="absolute"),
        pytest.param("/etc/passwd", id="a path of the machine"),
        pytest.param("/file:///etc/passwd", id="another scheme"),
        pytest.param("/index.html%00.png", id="NUL in disguise"),
        pytest.param("/vendored", id="a folder"),
        pytest.param("/vendored/", id="a folder's listing"),
        pytest.param("/vendored/README.md", id="a file that is not the page's"),
        pytest.param("/cases/1/image.nii.gz", id="no such case"),
        pytest.param("/cases/-1/image.nii.gz", id="counted from the end"),
        pytest.param("/cases/%D9%A0/image.nii.gz", id="a digit of another script"),
        pytest.param("/cases/9999999999999999999/image.nii.gz", id="a number without end"),
        pytest.param("/cases/case1_day0/image.nii.gz", id="a case by its name"),
        pytest.param("/cases/0/pred/liver.nii.gz", id="no such organ"),
        pytest.param("/cases/0/pred/../image.nii.gz", id="dots in a case"),
        pytest.param("/cases/0/pred/stomach.nii", id="another suffix"),
        pytest.param("/cases/0/pred/stomach.nii.gz/", id="a slash too many"),
        pytest.param("/cases/0/image.mz3", id="a surface of a scan"),
    ],
)
def test_nothing_else_is_there(port, path):
    status, _, body = ask(port, path)
    assert status == 404
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"/index.html\0", id="NUL"),
        pytest.param(b"/../secret.txt", id="dots"),
    ],
)
def test_what_no_client_would_ask_for_is_not_there(port, path):
    rest = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(port, b"GET /" + TOKEN.encode() + path + rest).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="none"),
        pytest.param("/", id="empty"),
        pytest.param("/Abc-_0123456789defghik", id="another"),
        pytest.param("/abc-_0123456789defghij", id="in another case"),
        pytest.param("/Abc-_0123456789defghi", id="cut off"),
        pytest.param(f"/{TOKEN}x", id="too long"),
        pytest.param("file://", id="another scheme"),
        pytest.param(f"http://localhost/{TOKEN}", id="as a proxy would ask"),
        pytest.param(f"/cases/..//{TOKEN}", id="further on"),
        pytest.param("/Abc-%5F0123456789defghij", id="in disguise"),
        pytest.param("/\u00e9", id="not ASCII"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/cases.json", "/cases/0/pred/stomach.mz3", "/absent"])
def test_who_lacks_the_token_is_refused(port, token, path):
    line = f"GET {token}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = raw(port, line.encode())
    assert said.startswith(b"HTTP/1.1 403")
    assert b"case1" not in said
    assert TOKEN.encode() not in said


def test_a_token_elsewhere_than_in_the_path_does_not_count(port):
    assert ask(port, f"/cases.json?{TOKEN}", token="")[0] == 403
    assert ask(port, "/cases.json", token="", cookie=f"token={TOKEN}")[0] == 403


def test_tokens_are_long_and_never_the_same():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"[\w-]{22}", token, re.ASCII) for token in tokens)


def test_requests_are_told_without_the_token(port, caplog):
    with caplog.at_level(logging.DEBUG, "medseg"):
        ask(port, "/cases.json")
    assert "GET /TOKEN/cases.json" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("127.0.0.1", id="without a port"),
        pytest.param("localhost", id="by name"),
        pytest.param("LOCALHOST:1234", id="through a tunnel"),
    ],
)
def test_this_machine_is_answered(port, host):
    assert ask(port, "/cases.json", host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("evil.example", id="another name that points here"),
        pytest.param("evil.example:5050", id="with a port"),
        pytest.param("localhost.evil.example", id="a longer name"),
        pytest.param("127.0.0.1.evil.example", id="a longer number"),
        pytest.param("evil.example#localhost", id="hidden in a fragment"),
        pytest.param("user@localhost", id="with a user"),
        pytest.param("192.168.1.7", id="another address"),
        pytest.param("", id="empty"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/cases.json", "/cases/0/image.nii.gz", "/absent"])
def test_a_page_of_another_origin_is_refused(port, host, path):
    status, _, body = ask(port, path, host=host)
    assert status == 403
    assert b"case1" not in body


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"Host: localhost\r\nHost: evil.example\r\n", id="two"),
    ],
)
def test_one_host_is_asked_for(port, lines):
    start = f"GET /{TOKEN}/cases.json".encode()
    said = raw(port, start + b" HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
    assert said.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_can_be_written(port, method):
    assert ask(port, "/cases.json", method=method)[0] == 501


def test_head_tells_the_headers_alone(port):
    status, headers, body = ask(port, "/", method="HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(ask(port, "/")[2]))


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        pytest.param("/", "localhost", 200, id="the page"),
        pytest.param("/cases/0/pred/stomach.mz3", "localhost", 200, id="a volume"),
        pytest.param("/cases/0/truth/stomach.mz3", "localhost", 422, id="a fault"),
        pytest.param("/absent", "localhost", 404, id="what is not there"),
        pytest.param("/", "evil.example", 403, id="what is refused"),
    ],
)
def test_every_answer_keeps_other_pages_out(port, path, host, status):
    found, headers, _ = ask(port, path, host=host, origin="http://evil.example")
    assert found == status
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert [name for name in headers if name.lower().startswith("access-control")] == []


def test_a_query_changes_nothing(port):
    assert ask(port, "/cases.json?../secret.txt")[2] == ask(port, "/cases.json")[2]


def test_only_the_loopback_is_listened_on():
    with bound(lambda _path: None, port=0, token=TOKEN) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_told():
    with bound(lambda _path: None, port=0, token=TOKEN) as server:
        port = server.server_port
        with pytest.raises(ResourceError, match=rf"E-PORT.*127\.0\.0\.1:{port}.*--port {port + 1}"):
            bound(lambda _path: None, port=port, token=TOKEN)
