"""A user's installation: what the wheel holds, and that ``twistd`` and ``txproxy`` are there after it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import PROJECT

_PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "txproxy", "twisted")


def run(*arguments: str | Path, directory: Path) -> str:
    """Run a program in a plain environment, and return what it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [str(each) for each in arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the project as a user has it."""
    if not (PROJECT / "setup.py").exists():
        pytest.skip("the project that this was installed from is not here")
    directory = tmp_path_factory.mktemp("build")
    (directory / "source").mkdir()
    for part in _PARTS:
        source = PROJECT / part
        if source.is_dir():
            made = shutil.ignore_patterns("__pycache__", "dropin.cache")
            shutil.copytree(source, directory / "source" / part, ignore=made)
        else:
            shutil.copy(source, directory / "source" / part)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", directory)
    run(sys.executable, "-m", "pip", "wheel", *options, directory / "source", directory=directory)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of an environment with the wheel in it, and with what it needs from this one."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own_packages = Path(run(python, "-c", ask, directory=directory).strip())
    (own_packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel, directory=directory)
    (directory / "bin" / "twistd").write_text(f"#!{python}\nfrom twisted.scripts.twistd import run\nrun()\n")
    (directory / "bin" / "twistd").chmod(0o755)
    yield directory / "bin"


def test_wheel_holds_no_part_of_twisted(wheel: Path) -> None:
    """Of twisted/ the wheel has the two plugins and nothing that could stand in the way of Twisted's own files."""
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.startswith("twisted/")) == [
        "twisted/plugins/txproxy_plugin.py",
        "twisted/plugins/txproxy_reactor.py",
    ]
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"twisted", "txproxy"}
    assert "txproxy/py.typed" in names
    assert "txproxy/test/config/example.toml" in names
    parts = [name for name in names if name.startswith("txproxy/admin/") and not name.endswith(".py")]
    assert len([name for name in parts if name.endswith(".js")]) == 7
    assert {"txproxy/admin/page.html", "txproxy/admin/page.css"} < set(parts)


def test_programs_are_there(programs: Path) -> None:
    """After an installation twistd lists the plugin and the reactor, and both commands check a file."""
    assert "txproxy" in run(programs / "twistd", "--help", directory=programs)
    assert "txproxy" in run(programs / "twistd", "--help-reactors", directory=programs)
    assert "--backend" in run(programs / "twistd", "-n", "txproxy", "--help", directory=programs)
    assert run(programs / "txproxy", "--version", directory=programs).startswith("txproxy ")
    text = '[[listener]]\nname = "a"\naddress = "127.0.0.1:0"\n[[route]]\nname = "b"\ncluster = "c"\n'
    config = programs / "proxy.toml"
    config.write_text(text + '[cluster.c]\nbackends = [{ address = "127.0.0.1:1" }]\n')
    assert "no errors" in run(programs / "txproxy", "check", config, directory=programs)
    assert "no errors" in run(programs / "twistd", "-n", "txproxy", "-c", config, "--check", directory=programs)


def test_uninstalling_leaves_nothing(programs: Path) -> None:
    """After the removal no file of ours is left, Twisted's are, and twistd does not list the plugin any more."""
    run(programs / "twistd", "--help", directory=programs)
    python = programs / "python"
    run(sys.executable, "-m", "pip", "--python", python, "uninstall", "--quiet", "--yes", "txproxy", directory=programs)
    assert not [path for path in programs.parent.rglob("*txproxy*") if path.suffix != ".toml"]
    assert "txproxy" not in run(programs / "twistd", "--help", directory=programs)
