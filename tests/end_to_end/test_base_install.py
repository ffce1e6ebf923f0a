"""The base install is a director's: it serves a whole experiment where torch and transformers are not installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.base_install import make_base_environment
from tests.deployment import Deployment, Service, shard_entry, write_yaml


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base_environment(tmp_path_factory.mktemp("base") / "venv")


@pytest.fixture
def base_fed(base_python: Path) -> list[str]:
    return [str(base_python), "-c", "import sys; from federation.main import main; sys.exit(main())"]


def test_the_base_environment_has_no_learning_packages(base_python: Path) -> None:
    for name in ("torch", "transformers", "torchaudio", "peft", "datasets"):
        tried = subprocess.run(
            [base_python, "-c", f"import {name}"], capture_output=True, text=True, check=False
        )
        assert "ModuleNotFoundError" in tried.stderr, name


def test_plans_are_checked_without_learning_packages(base_fed: list[str], plan_file: Path) -> None:
    subprocess.run([*base_fed, "plan", "check", str(plan_file)], check=True, timeout=60)
    subprocess.run([*base_fed, "--help"], check=True, timeout=60)


def test_a_director_serves_a_whole_experiment_without_learning_packages(
    deployment: Deployment, base_fed: list[str], speech: Path, plan_file: Path
) -> None:
    config = {"listen": "127.0.0.1:0", "certificates": "certificates", "state": "state"}
    write_yaml(deployment.folder / "director_config.yaml", config)
    arguments = ["director", "start", "-c", "director_config.yaml"]
    director = Service(arguments, deployment.folder, deployment.env, base_fed)
    deployment.services.append(director)
    port = director.wait_for(r"listening on .*:(\d+)")[1]
    deployment.address = f"localhost:{port}"
    maps = Path(f"/proc/{director.process.pid}/maps")
    for rank, name in enumerate(("north", "south")):
        deployment.start_envoy(name, shard_entry(speech, rank, 2), wait=False)
    with deployment.federation() as federation:
        assert federation.submit(plan_file).watch(show=False).state == "finished"
    if maps.exists():
        assert "libtorch" not in maps.read_text()
