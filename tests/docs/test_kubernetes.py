"""
The Kubernetes manifests of the documentation.

If these tests fail: an operator applies a manifest that does not start, or that drops requests on a
rollout.
"""

import re
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from provision.lock_waits import OTHER_MIGRATE_WAIT_S
from service import config
from service.config import MIB, Config
from service.parent import KILL_GRACE_S
from tests.docs.conftest import DOCS, ROOT

PAGE: Final = (DOCS / "how-to/kubernetes.md").read_text(encoding="utf-8")
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SETTINGS: Final = Config()
# How long the database may be away before Kubernetes restarts a pod that waits for it.
OUTAGE_S: Final = 3600


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    """Return the manifests of the page, by kind."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    found = [part for block in blocks for part in YAML(typ="safe").load_all(block)]
    return {part["kind"]: part for part in found}


@pytest.fixture(scope="module")
def container(manifests: dict[str, Any]) -> dict[str, Any]:
    """Return the container of the Deployment."""
    (found,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_there_is_a_job_a_deployment_and_a_service(manifests: dict[str, Any]) -> None:
    assert ["Job", "Deployment", "Service"] == list(manifests)


def test_ports_are_those_of_the_settings(
    manifests: dict[str, Any], container: dict[str, Any]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    (published,) = manifests["Service"]["spec"]["ports"]

    assert {"http": SETTINGS.port, "metrics": SETTINGS.metrics_port} == ports
    assert str(SETTINGS.metrics_port) == annotations["prometheus.io/port"]
    assert "/metrics" == annotations["prometheus.io/path"]
    assert (SETTINGS.port, "http") == (published["port"], published["targetPort"])


def test_the_service_selects_the_pods(manifests: dict[str, Any]) -> None:
    deployment = manifests["Deployment"]["spec"]

    assert deployment["template"]["metadata"]["labels"] == deployment["selector"]["matchLabels"]
    assert deployment["selector"]["matchLabels"] == manifests["Service"]["spec"]["selector"]


def test_probes_request_existing_paths(container: dict[str, Any]) -> None:
    paths = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    }

    assert {
        "startupProbe": "/health/live",
        "readinessProbe": "/health/ready",
        "livenessProbe": "/health/live",
    } == paths
    routes = (ROOT / "service/edge/routes.py").read_text(encoding="utf-8")
    for path in paths.values():
        assert f'["{path}"]' in routes


def test_a_database_that_is_away_restarts_no_pod(container: dict[str, Any]) -> None:
    """A starting pod waits for the database; a serving pod answers /health/live without it."""
    start, alive = container["startupProbe"], container["livenessProbe"]

    assert start["failureThreshold"] * start["periodSeconds"] >= OUTAGE_S
    assert "/health/live" == alive["httpGet"]["path"]


def test_the_grace_period_covers_the_pre_stop_pause_the_drain_and_the_kill(
    manifests: dict[str, Any], container: dict[str, Any]
) -> None:
    grace_s = manifests["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])

    assert grace_s > pause_s + SETTINGS.drain_timeout_s + KILL_GRACE_S


def test_the_job_may_run_longer_than_it_waits_for_another_one(manifests: dict[str, Any]) -> None:
    assert manifests["Job"]["spec"]["activeDeadlineSeconds"] > OTHER_MIGRATE_WAIT_S


def test_the_memory_limit_has_room_for_full_queues(container: dict[str, Any]) -> None:
    limit_mib = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))

    # Twice the size of the queues, for the processes themselves.
    assert limit_mib >= 2 * SETTINGS.workers * SETTINGS.queue_bytes_max / MIB


def test_every_variable_is_a_setting_with_an_allowed_value(container: dict[str, Any]) -> None:
    environment = {one["name"]: one["value"] for one in container["env"]}

    loaded = config.load(environment)

    assert "0.0.0.0" == loaded.host == loaded.metrics_host


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_pods_run_as_the_user_of_the_image_and_without_service_links(
    manifests: dict[str, Any], kind: str
) -> None:
    pod = manifests[kind]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert f"\nUSER {container['securityContext']['runAsUser']}:" in DOCKERFILE
    assert pod["enableServiceLinks"] is False
    assert [{"secretRef": {"name": "forebay"}}] == container["envFrom"]
    assert [{"name": "tmp", "mountPath": "/tmp"}] == container["volumeMounts"]
    assert [{"name": "tmp", "emptyDir": {}}] == pod["volumes"]


def test_commands_are_those_of_forebay(
    manifests: dict[str, Any], container: dict[str, Any]
) -> None:
    (job,) = manifests["Job"]["spec"]["template"]["spec"]["containers"]

    assert ["provision", "migrate"] == job["command"]
    assert ["forebay", "serve"] == container["command"]
