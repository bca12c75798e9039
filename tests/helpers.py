"""What the tests share: where things are, and how to run a command as a user would."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(
    *command: str | Path,  # a name without a folder is a script of this environment
    cwd: Path,
    check: bool = True,  # fail the test unless the command exits with 0
    timeout: float = 300,  # seconds
    **environment: str,
) -> subprocess.CompletedProcess:
    """Run a command to its end, without a terminal; its output is text."""
    __tracebackhide__ = True
    program, *arguments = map(str, command)
    if not os.path.dirname(program):
        program = str(SCRIPTS / program)
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, (
            f"{' '.join([program, *arguments])} exited with {done.returncode}\n"
            f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        )
    return done


def copy_tree(target: Path) -> Path:
    """Copy what git tracks, or would track, to `target`: the tree as it was cloned."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        text=True,
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not so for a tracked file that was deleted
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target
