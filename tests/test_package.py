"""The package as its users get it: what importing costs, and what the wheel holds."""

import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers import copy_tree, run


def python(code: str, cwd: Path) -> str:
    return run(sys.executable, "-c", code, cwd=cwd).stdout.strip()


def test_import_loads_no_submodule(tmp_path):
    code = "import sys, modbook; print([m for m in sys.modules if 'modbook.' in m])"
    assert python(code, tmp_path) == "[]"


def test_theory_does_without_torch(tmp_path):
    code = "import sys, modbook.theory; print('torch' in sys.modules)"
    assert python(code, tmp_path) == "False"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the source archive, itself built from the tree."""
    tree = copy_tree(tmp_path_factory.mktemp("wheel"))
    run(sys.executable, "-m", "build", "--no-isolation", ".", cwd=tree)
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory) -> Path:
    """An environment of its own that holds the wheel, and sees what it requires."""
    home = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "required.pth").write_text(sysconfig.get_path("purelib"))
    return home


def test_wheel_holds_the_package_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"modbook"}
    held = {Path(name).name for name in names if name.startswith("modbook/")}
    assert held == {path.name for path in (wheel.parents[1] / "modbook").glob("*.py")}


def test_wheel_works_outside_the_repository(elsewhere):
    code = "import modbook.theory as t; print(t.__file__); t.theorem1(100, 10, 3)"
    where = run(
        elsewhere / "bin" / "python", "-c", code, cwd=elsewhere, PYTHONPATH=""
    ).stdout
    assert elsewhere in Path(where).parents


@pytest.mark.parametrize("command", [["modbook"], ["python", "-m", "modbook"]])
def test_command_line_explains_itself(elsewhere, command):
    program = elsewhere / "bin" / command[0]
    done = run(program, *command[1:], "--help", cwd=elsewhere, PYTHONPATH="")
    assert "usage: modbook" in done.stdout
    assert done.stderr == ""


def test_experiments_run_outside_the_repository(elsewhere, tmp_path):
    modbook, few = elsewhere / "bin" / "modbook", ("--scale", "smoke", "--set", "m=2")
    outside = dict(cwd=tmp_path, PYTHONPATH="")
    run(modbook, "run", "sweep", *few, "--workers", "1", **outside)
    assert "12 rows" in run(modbook, "status", **outside).stdout
    run(modbook, "export", "sweep", *few, "--folder", "tables", **outside)
    assert (tmp_path / "tables" / "sweep" / "rows.csv").exists()
