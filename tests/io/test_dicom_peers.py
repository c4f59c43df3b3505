"""Addresses of a PACS, and what is told when something else is there."""

import base64
import http.server
import json
import socket
import threading
from contextlib import contextmanager

import dicom_series
import pydicom
import pynetdicom
import pytest
from orthanc import free_port
from pynetdicom import sop_class

from medseg.errors import MedsegError, PartialError, ResourceError, UsageError
from medseg.io.dicom_address import NetworkAddress, WebAddress, parse_address
from medseg.io.dicom_peers import peer_of

FIND = sop_class.StudyRootQueryRetrieveInformationModelFind


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@contextmanager
def answering(handler):
    """Run an HTTP server whose ``do`` answers all; give its address and the requests it saw."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.path, self.headers.get("Authorization")))
            handler(self)

        do_POST = do_GET  # noqa: N815 - the names of its class

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(status, body=b"", **headers):
    """Return a handler that always answers the same."""

    def handle(request):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return handle


@pytest.mark.parametrize(
    ("handler", "kind", "told"),
    [
        pytest.param(answer(401), UsageError, "E-PACS-AUTH.*wants credentials", id="401"),
        pytest.param(answer(403), UsageError, "E-PACS-AUTH.*wants credentials", id="403"),
        pytest.param(answer(404), UsageError, "E-PACS-PROTOCOL.*is no DICOMweb", id="404"),
        pytest.param(
            answer(200, b"<html>Hello</html>", Content_Type="text/html"),
            UsageError,
            "E-PACS-PROTOCOL.*is no DICOMweb",
            id="a page",
        ),
        pytest.param(
            answer(200, b'{"a": 1}', Content_Type="application/json"),
            UsageError,
            "E-PACS-PROTOCOL.*is no DICOMweb",
            id="other JSON",
        ),
        pytest.param(answer(503), ResourceError, "E-PACS-STATUS.*status 503", id="503"),
        pytest.param(
            answer(302, Location="http://127.0.0.1:1/elsewhere"),
            UsageError,
            "E-PACS-REDIRECT.*redirects",
            id="redirection",
        ),
    ],
)
def test_a_server_that_is_no_pacs_is_told(handler, kind, told, tmp_path):
    with answering(handler) as (host, _):
        peer = peer_of(f"dicomweb:http://{host}/dicom-web", timeout_s=5)
        with pytest.raises(kind, match=told):
            peer.fetch("1.2.3", tmp_path / "out")


REFUSED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        pytest.param(202, json.dumps(REFUSED).encode(), "refused it with reason A900", id="A900"),
        pytest.param(409, b"", "refused it with status 409", id="409"),
    ],
)
def test_a_file_that_is_refused_by_web_is_told(status, body, told, tmp_path):
    files = dicom_series.write_series(tmp_path, voxels=dicom_series.ramp((5, 4, 3)))
    refusing = answer(status, body, Content_Type="application/dicom+json")
    turns = iter([answer(200), refusing, answer(503)])

    def in_turn(request):
        next(turns)(request)

    with answering(in_turn) as (host, _):
        peer = peer_of(f"dicomweb:http://{host}", timeout_s=5)
        with pytest.raises(PartialError) as raised:
            peer.store(files)
    assert str(raised.value).splitlines() == [
        f"error[E-PACS-STORE]: {files[1]}: {peer.name} {told}.",
        f"error[E-PACS-STATUS]: {peer.name}: cannot answer now (status 503). "
        "Fix: ask its administrator.",
        f"error[E-PACS-PARTIAL]: {peer.name}: 1 of 3 files are stored.",
    ]


def test_a_server_that_says_nothing_is_left(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        for address in (f"dicomweb:http://{host}/dicom-web", f"dimse:A@{host}"):
            with pytest.raises(ResourceError, match=r"E-PACS-TIMEOUT.*nothing for 0\.2 s"):
                peer_of(address, timeout_s=0.2).fetch("1.2.3", tmp_path / "out")


@contextmanager
def entity(*, service=FIND, find=lambda _: iter(()), title="A"):
    """Run a DICOM application entity that offers one service; give the address of one called A."""
    server = pynetdicom.AE(ae_title=title)
    server.require_called_aet = True
    server.add_supported_context(service)
    handlers = [(pynetdicom.evt.EVT_C_FIND, find)]
    port = free_port()
    running = server.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield f"dimse:A@127.0.0.1:{port}"
    finally:
        running.shutdown()


def one_of_each(event):
    """Answer a C-FIND: there is one series, with one instance."""
    answer = pydicom.Dataset()
    for element in event.identifier:
        setattr(answer, element.keyword, element.value or "1.2.3")
    yield 0xFF00, answer


@pytest.mark.parametrize(
    ("server", "kind", "told"),
    [
        pytest.param(
            {"find": one_of_each}, UsageError, r"REFUSED.*: does not do C-GET\.", id="no C-GET"
        ),
        pytest.param(
            {"service": sop_class.Verification},
            UsageError,
            r"REFUSED.*: does not do C-FIND\.",
            id="no C-FIND",
        ),
        pytest.param(
            {"title": "B"}, UsageError, r"AUTH.*: refuses MEDSEG to call A\.", id="another title"
        ),
        pytest.param(
            {"find": lambda _: iter([(0xA700, None)])},
            ResourceError,
            r"REFUSED.*: refuses C-FIND with status A700\.",
            id="a query that fails",
        ),
    ],
)
def test_an_entity_that_does_not_do_it_is_told(server, kind, told, tmp_path):
    with entity(**server) as address, pytest.raises(kind, match=f"E-PACS-{told}"):
        peer_of(address, timeout_s=5).fetch("1.2.3", tmp_path)


def test_a_web_server_speaks_no_dimse(tmp_path):
    told = pytest.raises(MedsegError, match=r"E-PACS-(PROTOCOL|TIMEOUT)")
    with answering(answer(404)) as (host, _), told:
        peer_of(f"dimse:A@{host}", timeout_s=1).fetch("1.2.3", tmp_path / "out")


def test_credentials_go_to_the_server_and_into_no_message(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_PACS_PASSWORD", "from the environment")
    with answering(answer(401)) as (host, seen):
        for user, sent in (("me:s%40cret", "me:s@cret"), ("me", "me:from the environment")):
            peer = peer_of(f"dicomweb:http://{user}@{host}/dicom-web")
            with pytest.raises(UsageError, match="wants other credentials") as raised:
                peer.fetch("1.2.3", tmp_path / "out")
            told = f"{raised.value} {raised.value.__cause__} {peer!r} {peer.name}"
            assert "cret" not in told
            assert "from the environment" not in told
            assert "me@" not in told
            assert base64.b64decode(seen[-1][1].removeprefix("Basic ")).decode() == sent


def test_credentials_follow_no_redirection(tmp_path):
    with answering(answer(200)) as (other, reached):
        elsewhere = answer(302, Location=f"http://{other}/dicom-web")
        with answering(elsewhere) as (host, _):
            peer = peer_of(f"dicomweb:http://me:secret@{host}/dicom-web")
            with pytest.raises(UsageError, match="E-PACS-REDIRECT"):
                peer.fetch("1.2.3", tmp_path / "out")
    assert reached == []


def test_the_environments_password_needs_a_user(monkeypatch):
    monkeypatch.setenv("MEDSEG_PACS_PASSWORD", "secret")
    assert parse_address("dicomweb:https://pacs.example").password == ""


def test_addresses_are_taken_apart():
    assert parse_address("dicomweb:https://pacs.example:8443/a/b/") == WebAddress(
        "dicomweb:https://pacs.example:8443/a/b", "https://pacs.example:8443/a/b"
    )
    assert parse_address("dimse:ORTHANC@pacs.example:104?as=SEG1") == NetworkAddress(
        "dimse:ORTHANC@pacs.example:104", "ORTHANC", "pacs.example", 104, "SEG1"
    )
    assert parse_address("dimse:A@h:104").own_title == "MEDSEG"


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("https://pacs.example:secret", id="no scheme of ours"),
        pytest.param("dicomweb:pacs.example:secret", id="no URL"),
        pytest.param("dicomweb:ftp://me:secret@pacs.example", id="not of http"),
        pytest.param("dicomweb:http://me:secret@/path", id="no host"),
        pytest.param("dicomweb:http://pacs.example:secret/path", id="port that is no number"),
        pytest.param("dicomweb:http://pacs.example/?a=secret", id="query"),
        pytest.param("dimse:pacs.example:104/secret", id="no title"),
        pytest.param("dimse:A@pacs.example:secret", id="no port"),
        pytest.param("dimse:A@pacs.example:70000", id="port too high"),
        pytest.param("dimse:SEVENTEEN_LETTERS@pacs.example:104", id="title too long"),
    ],
)
def test_what_is_no_address_is_told_without_it(address):
    with pytest.raises(UsageError, match=r"^error\[E-PACS-ADDRESS\]: \w+: .*expected") as raised:
        peer_of(address)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "uid",
    [
        pytest.param("*", id="wildcard"),
        pytest.param("../../../system", id="path"),
        pytest.param("1.2\\1.3", id="list"),
        pytest.param("1." * 40 + "1", id="too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_uid_is_never_sent(uid, tmp_path):
    peer = peer_of(f"dicomweb:http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"^error\[E-PACS-UID\]: study: is no UID"):
        peer.fetch(uid, tmp_path)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "slice.dcm").touch()
    peer = peer_of(f"dicomweb:http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"^error\[E-EXISTS\]: .*: is not empty"):
        peer.fetch("1.2.3", tmp_path)
