"""``deploy/Containerfile``: its steps are run, and what they make serves as the image would."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.cli.reaching import DEFAULT_URL
from omendb_ws.node.settings_sources import ENVIRONMENT_PREFIX, SettingsError, load
from tests.deploy import containerfile, namespaces
from tests.deploy.namespaces import BASE_PATH, Root
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT

FILE = ROOT / "deploy" / "Containerfile"
IGNORED = FILE.with_name("Containerfile.dockerignore")
BUILD, IMAGE = containerfile.read(FILE)
#: The steps take long: they are done where the variable is set (`.ci/run`, alone and last).
WANTED = "CONTAINER_STEPS"
#: What a server without keys needs, reached by others as it is.
OPEN = {"OMENDB_ALLOW_ORIGINS": "http://localhost:8765"}


def test_the_settings_of_the_image_are_settings_of_the_server() -> None:
    environment = IMAGE.environment()
    given = {k: v for k, v in environment.items() if k.startswith(ENVIRONMENT_PREFIX)}
    # Reached by others, it does not start without keys or the pages that may drive it.
    with pytest.raises(SettingsError, match="without keys"):
        load({}, given)
    settings = load({}, given | OPEN).settings
    assert (settings.host, settings.data_dir) == ("0.0.0.0", IMAGE.last("VOLUME"))
    assert IMAGE.last("EXPOSE").split()[0] == str(settings.port)
    # The health check goes to the default address.
    assert IMAGE.command("HEALTHCHECK")[:2] == ["omendb-ws", "ping"]
    assert f"ws://127.0.0.1:{settings.port}/v1" == DEFAULT_URL


def test_all_that_a_build_needs_is_copied_and_nothing_that_was_built_here() -> None:
    copied = [text.split()[:-1] for word, text in BUILD.steps if word == "COPY"]
    names = {name for group in copied for name in group}
    assert all((ROOT / name).exists() for name in names)
    patterns = [line for line in IGNORED.read_text().splitlines() if not line.startswith("#")]
    assert {"**/*.so", "**/__pycache__"} <= set(patterns)


def test_the_image_does_not_run_as_root() -> None:
    uid, gid = map(int, IMAGE.last("USER").split(":"))
    assert min(uid, gid) > 0


# -- the steps ------------------------------------------------------------------------------------


def copy_of_the_project(name: str, target: Path) -> None:
    """``COPY name target``, without what is ignored."""
    patterns = [line.removeprefix("**/") for line in IGNORED.read_text().splitlines()]

    def ignored(_: str, found: list[str]) -> set[str]:
        return {one for one in found if any(fnmatch.fnmatch(one, each) for each in patterns)}

    source = ROOT / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def copy(root: Root, stages: Mapping[str, Root], text: str, workdir: str) -> None:
    """A ``COPY`` instruction."""
    *sources, target = text.split()
    place = root.inside(str(Path(workdir, target)))
    if sources[0].startswith("--from="):
        [taken] = sources[1:]
        found = stages[sources[0].removeprefix("--from=")].inside(taken)
        shutil.copytree(found, place, symlinks=True)
        return
    for name in sources:
        copy_of_the_project(name, place)


def build(stage: containerfile.Stage, root: Root, stages: Mapping[str, Root]) -> None:
    """Do what the stage says, in ``root``."""
    workdir = "/"
    pip = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
    environment = {"PATH": BASE_PATH, "HOME": "/root", **pip}
    for word, text in stage.steps:
        if word == "WORKDIR":
            workdir = text
            root.inside(workdir).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(root, stages, text, workdir)
        elif word == "RUN":
            root.run(["sh", "-c", text], environment, workdir)


class Container:
    """The image's command, running: read-only but for /tmp and its volume, and with no network."""

    def __init__(self, root: Root, volume: Path, **variables: str) -> None:
        self.user = IMAGE.last("USER")
        path = IMAGE.environment()["PATH"].replace("/usr/local/bin", BASE_PATH)
        self.environment = {**IMAGE.environment(), "PATH": path, **OPEN, **variables}
        place = IMAGE.last("VOLUME")
        self.process = root.start(
            [*IMAGE.command("ENTRYPOINT"), *IMAGE.command("CMD")],
            environment=self.environment,
            workdir=IMAGE.last("WORKDIR"),
            user=self.user,
            mounts=[
                "mount -t tmpfs tmpfs {root}/tmp",
                f"mount --bind {volume} {{root}}{place}",
                "mount -o remount,ro {root}",
            ],
            network=False,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.ready: dict[str, Any] = json.loads(line)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        inner = namespaces.child_of(self.process)
        return namespaces.execute(inner, command, self.environment, self.user)

    def stop(self) -> tuple[int, str]:
        """Send what ``STOPSIGNAL`` says; the exit code, and the log."""
        os.kill(namespaces.child_of(self.process), signal.Signals[IMAGE.last("STOPSIGNAL")].value)
        _, log = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, log


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """The last stage's root."""
    if not os.environ.get(WANTED):
        pytest.skip(f"takes long: set {WANTED}=1")
    if why := namespaces.missing():
        pytest.skip(f"no namespaces with overlayfs here: {why}")
    place = tmp_path_factory.mktemp("image")
    place.chmod(0o755)
    first = Root(place / "build").make()
    build(BUILD, first, {})
    last = Root(place / "last").make()
    build(IMAGE, last, {BUILD.name: first})
    yield last
    shutil.rmtree(place)


def test_the_steps_make_an_image_that_serves_and_drains_and_keeps_its_data(
    image: Root, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o700)
    uid, gid = map(int, IMAGE.last("USER").split(":"))
    os.chown(volume, uid, gid)
    container = Container(image, volume)
    try:
        assert container.ready["url"] == "ws://0.0.0.0:8765/v1"
        health = container.execute(*IMAGE.command("HEALTHCHECK"))
        assert (health.returncode, health.stderr) == (0, "")
        where = container.execute(
            "/opt/omendb-ws/bin/python", "-c", "import omendb_ws; print(omendb_ws.__file__)"
        )
        assert where.stdout.startswith("/opt/omendb-ws/lib/"), where.stderr
        # With the compiled kernels, and all that the extras bring.
        kernel = container.execute("omendb-ws", "--version")
        assert "(kernel numpy" not in kernel.stdout, kernel.stdout
        extras = container.execute(
            "/opt/omendb-ws/bin/python", "-c", "import fastapi, jwt, uvicorn"
        )
        assert extras.returncode == 0, extras.stderr
        for place in ("/opt/x", "/x", "/etc/x"):
            assert "Read-only file system" in container.execute("touch", place).stderr
        assert container.execute("id", "-u").stdout.strip() == str(uid)
        made = container.execute("omendb-ws", "create", "notes", "--dim", "2", "--capacity", "10")
        assert made.returncode == 0, made.stderr
    except BaseException:
        container.process.kill()
        container.process.communicate()
        raise
    code, log = container.stop()
    assert code == 0, log
    assert "leaving: waiting up to" in log

    container = Container(image, volume, OMENDB_PORT="9000")
    listed = container.execute("omendb-ws", "list", "--url", "ws://127.0.0.1:9000/v1")
    code, log = container.stop()
    assert "notes" in listed.stdout, listed.stderr
    assert code == 0, log


def test_a_health_check_fails_where_no_server_answers(image: Root, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, *map(int, IMAGE.last("USER").split(":")))
    container = Container(image, volume, OMENDB_PORT="9000")
    health = container.execute(*IMAGE.command("HEALTHCHECK"))
    container.stop()
    assert health.returncode == 3
