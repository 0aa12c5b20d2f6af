"""What ``kubectl`` makes of ``deploy/kubernetes`` and of the overlay that the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_kubernetes import FOLDER, NAMES, faults, manifest
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import page

#: Its Kustomize knows components.
OLDEST = (1, 21)


def kubectl(*arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_there() -> bool:
    if shutil.which("kubectl") is None:
        return False
    told = json.loads(kubectl("version", "--client", "--output=json"))["clientVersion"]
    return (int(told["major"]), int(re.sub(r"\D", "", told["minor"]))) >= OLDEST


needs_kubectl = pytest.mark.skipif(
    not is_there(), reason=f"no kubectl of {'.'.join(map(str, OLDEST))} or later"
)


def built(folder: Path) -> dict[str, dict[str, Any]]:
    """What would be applied, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(kubectl("kustomize", str(folder)))}


def overlay() -> dict[str, Any]:
    """The one of the page."""
    [text] = re.findall(r"```yaml\n(.*?)```", page("docs/how-to/kubernetes.md"), re.S)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@needs_kubectl
def test_what_is_built_is_all_manifests_as_they_are() -> None:
    found = built(FOLDER)
    written = {one["kind"]: one for one in map(manifest, NAMES)}
    assert found == written


def values(document: Any) -> Iterator[str]:
    """Every value under the key ``namespace``."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "namespace":
                yield value
            else:
                yield from values(value)
    elif isinstance(document, list):
        for one in document:
            yield from values(one)


@needs_kubectl
def test_an_overlay_names_another_image_and_namespace_and_adds_the_monitoring(
    tmp_path: Path,
) -> None:
    wanted = overlay()
    assert wanted["resources"] == ["path/to/deploy/kubernetes"]
    base = os.path.relpath(FOLDER, tmp_path)  # Kustomize takes no absolute ones
    wanted |= {
        "resources": [base], "components": [f"{base}/monitoring"], "namespace": "elsewhere",
    }  # fmt: skip
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    found = built(tmp_path)
    assert found.keys() == {manifest(name)["kind"] for name in NAMES} | {"ServiceMonitor"}
    assert set(values(list(found.values()))) == {"elsewhere"}
    assert found["Namespace"]["metadata"]["name"] == "elsewhere"
    [container] = found["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    [image] = wanted["images"]
    assert container["image"] == f"{image['newName']}:{image['newTag']}"
    for kind, one in found.items():
        assert kind == "ServiceMonitor" or faults(one) == []
