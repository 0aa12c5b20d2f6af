"""``deploy/kubernetes``: manifests against Kubernetes' schemas, each other, and the server."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from omendb_ws._version import VERSION
from omendb_ws.access.keyring import key_entry
from omendb_ws.net.server import Server
from omendb_ws.node.settings_sources import ENVIRONMENT_PREFIX, load
from tests.deploy import containerfile
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT
from tests.server.raw import with_keys

FOLDER = ROOT / "deploy" / "kubernetes"
DEFINITIONS = json.loads((Path(__file__).parent / "kubernetes" / "definitions.json").read_text())
LABELS = {"app.kubernetes.io/name": "omendb-ws"}
IMAGE = containerfile.read(ROOT / "deploy" / "Containerfile")[-1]
Manifest = dict[str, Any]


def manifest(name: str) -> Manifest:
    [found] = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


KUSTOMIZATION = manifest("kustomization")
NAMES = [name.removesuffix(".yaml") for name in KUSTOMIZATION["resources"]]
STATEFUL_SET = manifest("statefulset")
POD = STATEFUL_SET["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
VARIABLES = {one["name"]: one["value"] for one in CONTAINER["env"]}


def faults(found: Manifest) -> list[str]:
    """What the schema of its kind says against a manifest."""
    version, kind = found["apiVersion"], found["kind"]
    group, _, version = version.rpartition("/")
    [definition] = [
        name
        for name, schema in DEFINITIONS["$defs"].items()
        for one in schema.get("x-kubernetes-group-version-kind", ())
        if (one["group"], one["version"], one["kind"]) == (group, version, kind)
    ]
    schema = {**DEFINITIONS, "$ref": f"#/$defs/{definition}"}
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_what_its_kind_asks_for(name: str) -> None:
    assert faults(manifest(name)) == []


def test_what_kubernetes_does_not_know_is_noticed() -> None:
    for break_it, said in (
        (lambda one: one["spec"].update(replica=1), "'replica' was unexpected"),
        (lambda one: one["spec"].pop("template"), "'template' is a required property"),
        (lambda one: one["spec"].update(replicas="one"), "'one' is not of type"),
    ):
        broken = copy.deepcopy(STATEFUL_SET)
        break_it(broken)
        assert [fault for fault in faults(broken) if said in fault], said


def test_every_manifest_is_named_by_a_kustomization() -> None:
    monitoring = manifest("monitoring/kustomization")
    named = {*KUSTOMIZATION["resources"], *(f"monitoring/{one}" for one in monitoring["resources"])}
    found = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml")}
    assert {name for name in found if not name.endswith("kustomization.yaml")} == named
    assert "#   - monitoring\n" in (FOLDER / "kustomization.yaml").read_text()


def test_all_of_them_mean_the_same_pods() -> None:
    assert STATEFUL_SET["spec"]["template"]["metadata"]["labels"] == LABELS
    assert STATEFUL_SET["spec"]["selector"]["matchLabels"] == LABELS
    service = manifest("service")
    assert service["spec"]["selector"] == LABELS
    assert STATEFUL_SET["spec"]["serviceName"] == service["metadata"]["name"]
    assert POD["serviceAccountName"] == manifest("serviceaccount")["metadata"]["name"]
    assert manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"] == LABELS
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == LABELS
    monitor = manifest("monitoring/servicemonitor")["spec"]
    assert monitor["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert {one["port"] for one in monitor["endpoints"]} <= set(PORTS)
    namespace = manifest("namespace")["metadata"]["name"]
    others = [manifest(name) for name in NAMES if name != "namespace"]
    assert {one["metadata"]["namespace"] for one in others} == {namespace}


def test_ports_have_one_name_everywhere() -> None:
    assert {one["targetPort"] for one in manifest("service")["spec"]["ports"]} == set(PORTS)
    rules = manifest("networkpolicy")["spec"]["ingress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == set(PORTS)
    assert [str(port) for port in PORTS.values()] == IMAGE.last("EXPOSE").split()


def test_the_variables_are_settings_and_fit_what_stands_around_them(tmp_path: Path) -> None:
    keys = Path(VARIABLES["OMENDB_API_KEY_FILE"])
    mounts = {one["mountPath"]: one["name"] for one in CONTAINER["volumeMounts"]}
    assert mounts[str(keys.parent)] == "keys"
    assert mounts[IMAGE.last("VOLUME")] == "data"
    [secret] = [one["secret"] for one in POD["volumes"] if one["name"] == "keys"]
    assert secret["secretName"] == "omendb-ws-keys"
    of_image = IMAGE.environment()
    given = {k: v for k, v in of_image.items() if k.startswith(ENVIRONMENT_PREFIX)} | VARIABLES
    (tmp_path / keys.name).write_text(key_entry("app", "default", ("read",), "token"))
    (tmp_path / keys.name).chmod(0o600)
    given["OMENDB_API_KEY_FILE"] = str(tmp_path / keys.name)
    loaded = load({}, given)
    assert loaded.warnings == ()
    assert load({}, {"OMENDB_HTTP_PROT": "8766"}).warnings  # as it would be
    found = loaded.settings
    assert {"websocket": found.port, "http": found.http_port} == PORTS
    # It is not killed while it lets clients go and flushes.
    leaving = found.drain_notice_seconds + found.drain_seconds
    assert leaving + 30 <= POD["terminationGracePeriodSeconds"]
    # /readyz is asked often enough within the notice.
    ready = CONTAINER["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < found.drain_notice_seconds


def test_who_runs_it_is_who_the_image_says() -> None:
    uid, gid = map(int, IMAGE.last("USER").split(":"))
    context = POD["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (uid, gid, gid)
    # As the namespace asks for by pod-security.kubernetes.io/enforce: restricted.
    inner = CONTAINER["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"]["type"] == "RuntimeDefault"
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"]["drop"] == ["ALL"]
    assert {"secret", "emptyDir"} >= {kind for one in POD["volumes"] for kind in one} - {"name"}


async def test_the_probes_are_answered_by_a_server_with_keys_at_any_address(
    tmp_path: Path,
) -> None:
    probes = [CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    async with (
        Server(with_keys(tmp_path)) as server,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as kubelet,
    ):
        for probe in probes:
            assert probe["port"] in PORTS
            answer = await kubelet.get(
                f"http://127.0.0.1:{server.port}{probe['path']}", headers={"Host": "10.1.2.3:8765"}
            )
            assert answer.status_code == 200, answer.text


def test_the_image_of_the_manifest_is_this_version() -> None:
    assert CONTAINER["image"] == f"omendb-ws:{VERSION}"
