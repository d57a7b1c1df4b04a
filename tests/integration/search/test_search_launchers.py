"""Workers through Hydra's launchers for Ray and Slurm (submitit, whose local executor stands in for Slurm)."""

from __future__ import annotations

import pytest

from tests.integration.search.test_search_processes import App, app

__all__ = ["app"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "launcher"),
    [
        ("hydra_plugins.hydra_submitit_launcher", ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")),
        ("hydra_plugins.hydra_ray_launcher", ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")),
    ],
    ids=["submitit_local", "ray"],
)
def test_two_workers_share_a_study(app: App, package: str, launcher: tuple[str, ...]) -> None:
    pytest.importorskip(package)
    said = app.run("alpha=range(0,0.6,0.1)", "study=s", "workers=2", *launcher)
    assert app.numbers("end") == dict.fromkeys(range(6), 1), said
    assert len({line[2] for line in app.trace("start")}) == 2
    assert (app.folder / "results/s/trials/5/.hydra/overrides.yaml").is_file()
