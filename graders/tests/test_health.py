"""The image's health check: it is well only where a server answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import graders

SCRIPT = Path(graders.__file__).parent / "lab" / "health.py"


class Jupyter(BaseHTTPRequestHandler):
    """Answers as a Jupyter server does where `at` is its base, and with an error elsewhere."""

    at = "/user/ada/api"

    def do_GET(self):
        self.send_response(200 if self.path == self.at else 500)
        self.end_headers()
        self.wfile.write(b'{"version": "2.0"}' if self.path == self.at else b"{}")

    def log_message(self, *_, **__):
        pass


@pytest.fixture
def port():
    with HTTPServer(("127.0.0.1", 0), Jupyter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def health(tmp_path):
    """A function that asks for the health where servers with these addresses were started."""

    def ask(*addresses: str, hostname: str = "localhost", **more: int) -> tuple[int, str]:
        for number, url in enumerate(addresses):
            said = {"url": url, "hostname": hostname} | more
            (tmp_path / f"jpserver-{number}.json").write_text(json.dumps(said))
        asked = subprocess.run(
            [sys.executable, SCRIPT],
            env=os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path), "http_proxy": "http://[::1]:9"},
            capture_output=True,
            text=True,
        )
        assert asked.stderr == ""
        return asked.returncode, asked.stdout.strip()

    return ask


def test_a_server_that_answers_is_well_also_under_the_base_of_a_hub(health, port):
    address = f"http://127.0.0.1:{port}/user/ada/"
    assert health(address) == (0, f"{address} answers")


def test_a_server_that_is_gone_beside_one_that_answers_is_no_harm(health, port):
    assert health("http://127.0.0.1:9/", f"http://127.0.0.1:{port}/user/ada/")[0] == 0


@pytest.mark.parametrize("hostname", ["0.0.0.0", "::", ""])
def test_a_server_whose_name_does_not_resolve_is_asked_here(health, port, hostname):
    said = health("http://container.invalid:8888/user/ada/", hostname=hostname, port=port)
    assert said == (0, f"http://127.0.0.1:{port}/user/ada/ answers")


def test_no_server_is_not_well(health):
    assert health() == (1, "no JupyterLab answers; asked: []")


@pytest.mark.parametrize("path", ["/", "/user/bob/"])
def test_a_server_that_answers_with_an_error_is_not_well(health, port, path):
    address = f"http://127.0.0.1:{port}{path}"
    assert health(address) == (1, f"no JupyterLab answers; asked: ['{address}']")
