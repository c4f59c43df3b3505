"""A real PACS on loopback: Orthanc with its DICOMweb plugin, in a folder of its own."""

import json
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.request import ProxyHandler, build_opener

import pytest
from validators import program

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_HERE = build_opener(ProxyHandler({}))  # whatever proxy the machine has


def free_port():
    """Return a port of loopback on which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


@contextmanager
def running_orthanc(folder, *, calling=("MEDSEG",), **settings):
    """Start an Orthanc and stop it in the end.

    Args:
        folder: For its storage and log.
        calling: Application entity titles that may ask and retrieve.
        **settings: More of its configuration.

    Yields:
        ``web`` and ``dimse``, its addresses as medseg takes them; ``rest(path)``, what its own
        interface answers; ``process``.
    """
    server = program("Orthanc")
    if not PLUGIN.exists():
        pytest.skip(f"there is no {PLUGIN}; 'make test' installs it where it may")
    http, dimse = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": http,
        "DicomPort": dimse,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {title: [title, "127.0.0.1", 1] for title in calling},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "orthanc.json"
    written.write_text(json.dumps(configuration))

    def rest(path):
        with _HERE.open(f"http://127.0.0.1:{http}/{path}", timeout=10) as answer:
            return json.load(answer)

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, str(written)], stdout=log, stderr=log)
    try:
        until_s = time.monotonic() + 30
        while b"Orthanc has started" not in (folder / "log").read_bytes():
            if process.poll() is not None or time.monotonic() > until_s:
                pytest.fail((folder / "log").read_text("utf-8", "replace"))
            time.sleep(0.02)
        yield SimpleNamespace(
            web=f"dicomweb:http://127.0.0.1:{http}/dicom-web",
            dimse=f"dimse:ORTHANC@127.0.0.1:{dimse}",
            rest=rest,
            process=process,
        )
    finally:
        process.kill()
        process.wait()


def instances_of(pacs, study_uid):
    """Return the modality of each instance that an Orthanc holds of a study, sorted."""
    return sorted(
        series["MainDicomTags"]["Modality"]
        for study in (pacs.rest(f"studies/{name}") for name in pacs.rest("studies"))
        if study["MainDicomTags"]["StudyInstanceUID"] == study_uid
        for series in (pacs.rest(f"series/{name}") for name in study["Series"])
        for _ in series["Instances"]
    )
