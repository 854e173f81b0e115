"""A copy of the source tree in which mutations are applied."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.mutations.mutation import ROOT, Mutation

MODULE: Final = "service/_native.abi3.so"
IMPORTED: Final = "import service, provision; from service import _native as native;"
BUILD_TIMEOUT_S: Final = 600.0
TEST_TIMEOUT_S: Final = 15  # of one test: a test that hangs has detected the mutation


class Run(subprocess.CompletedProcess[str]):
    """The result of a run of pytest that has ended by itself."""

    @property
    def is_green(self) -> bool:
        return self.returncode == 0

    @property
    def has_red_tests(self) -> bool:
        """Whether tests ran and failed; an error during collection proves nothing."""
        return self.returncode == 1

    def is_red(self, test: str) -> bool:
        """Whether *test* failed with at least one of its parameters."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("FAILED ")]
        names = [line.removeprefix("FAILED ").partition(" - ")[0] for line in lines]
        return any(name == test or name.startswith((f"{test}[", f"{test}::")) for name in names)


class Tree:
    """The copy, and the builds and test runs in it."""

    def __init__(self, root: Path, target: Path, database_url: str) -> None:
        self.root = root
        self._target = target
        self._environment = os.environ | {
            "PYTHONPATH": str(root),
            # A change of the same size within a second would not invalidate the bytecode.
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATABASE_URL": database_url,
            "CARGO_TARGET_DIR": str(target),
            # Without optimization, which halves the time of a build.
            "CARGO_PROFILE_RELEASE_LTO": "off",
            "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
            "PYO3_PYTHON": sys.executable,
        }

    def require_own_imports(self) -> None:
        """Check that Python imports the copy, and not the installed project."""
        code = f"{IMPORTED} print(service.__file__, provision.__file__, native.__file__, sep='\\n')"
        found = self._run([sys.executable, "-c", code], 60)
        if found.returncode or not all(
            Path(line).is_relative_to(self.root) for line in found.stdout.splitlines()
        ):
            raise RuntimeError(f"the copy is not what is imported: {found.stdout}{found.stderr}")

    @contextmanager
    def broken_by(self, mutation: Mutation) -> Iterator[None]:
        """Apply *mutation* during the block, and build the core if it changes it."""
        changed, module = self.root / mutation.file, self.root / MODULE
        text, built = changed.read_bytes(), module.read_bytes()
        changed.write_text(mutation.applied(text.decode()))
        try:
            if mutation.is_native:
                self._build()
            yield
        finally:
            changed.write_bytes(text)
            _replace(module, built)

    def test(self, tests: list[str], timeout_s: float) -> Run:
        """Run *tests*; raises subprocess.TimeoutExpired if they do not end."""
        options = ["-q", "--no-header", "--tb=line", "--color=no", "-rf", "-p", "no:cacheprovider"]
        limit = f"--timeout={TEST_TIMEOUT_S}"
        return self._run([sys.executable, "-m", "pytest", *options, limit, *tests], timeout_s)

    def _build(self) -> None:
        features = ["--features", "pyo3/extension-module"]
        built = self._run(["cargo", "build", "--release", "--locked", *features], BUILD_TIMEOUT_S)
        if built.returncode:
            raise RuntimeError(f"the mutated core cannot be built: {built.stderr}")
        suffix = sysconfig.get_config_var("SHLIB_SUFFIX")
        suffix = ".dylib" if sys.platform == "darwin" else suffix
        _replace(self.root / MODULE, (self._target / f"release/lib_native{suffix}").read_bytes())

    def _run(self, command: list[str], timeout_s: float) -> Run:
        """Run *command* in the copy; after the timeout, kill it and its descendants."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as child:
            try:
                stdout, stderr = child.communicate(timeout=timeout_s)
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise
        return Run(command, child.returncode, stdout, stderr)


def copy_sources(root: Path) -> None:
    """Copy tracked and untracked (not ignored) files and the built core to *root*."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in {*names.split("\0"), MODULE}:
        # A deleted file is still in the index; provision/migrations is a link to a folder.
        if name and ((ROOT / name).is_file() or (ROOT / name).is_symlink()):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name, follow_symlinks=False)


def _replace(path: Path, content: bytes) -> None:
    # Create a new file: a process may still have the old one mapped.
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content)
    fresh.replace(path)
