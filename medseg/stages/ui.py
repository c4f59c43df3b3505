"""Browse: MLflow's own user interface on the store of an output folder, for this machine alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from medseg.engine.ui_server import ANYWHERE, end, fault, free_port, started, wait_for
from medseg.errors import Problem, Stopped, UsageError


def serve(output: Path, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the runs of an output folder until Ctrl-C.

    Args:
        output: The folder that holds ``mlflow.db``.
        host: The address to listen on. MLflow asks nobody for a password: leave it at
            ``127.0.0.1`` unless the network is trusted.
        port: The port to listen on; 0 takes a free one.
        ready: Called with the URL once it answers.

    Raises:
        UsageError: The folder holds no runs yet.
        ResourceError: The port is in use, or the server does not start.
        Stopped: A signal other than Ctrl-C ended it.
    """
    if not (output / "mlflow.db").is_file():
        fix = "train first, as with 'medseg run uwmgi_segformer', or name the folder with --output"
        raise UsageError(Problem("E-NO-STORE", str(output), "holds no runs", "mlflow.db", fix))
    port = free_port(host, port)
    with tempfile.TemporaryFile("w+") as said:
        server = started(output, host, port, said)
        try:
            wait_for(server, "127.0.0.1" if host == ANYWHERE else host, port, said)
            ready(f"http://{'localhost' if host == ANYWHERE else host}:{port}")
            if server.wait():
                raise fault(said, "ended by itself")
        except Stopped:
            raise
        except KeyboardInterrupt:
            return
        finally:
            end(server)
