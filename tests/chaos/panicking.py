"""A native core that panics when an event contains a marker. Only tests build and load it."""

import asyncio
import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.acceptance.running import ROOT

FEATURE: Final = "panic-for-tests"
# Markers in an event, as in native/src/panic_for_tests.rs.
IN_SCAN: Final = "panic in the scan, for a test"
IN_FLUSH: Final = "panic in the flush, for a test"
IN_WRITE: Final = "panic in the write, for a test"
# Kept between runs, so that only the first one compiles the dependencies.
_TARGET: Final = ROOT / "target/panicking"
_SHIM: Final = (
    '"""The service, with another core in front of its own."""\n\n__path__.append({package!r})\n'
)


async def build_panicking(folder: Path) -> Path:
    """Build the core, and return a folder from which `service` is imported with that core."""
    package = folder / "service"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_SHIM.format(package=str(ROOT / "service")))
    (package / "_native.abi3.so").write_bytes((await _build()).read_bytes())
    return folder


async def _build() -> Path:
    building = await asyncio.create_subprocess_exec(
        *("cargo", "build", "--quiet", "--locked", "--lib", "--package", "forebay-native"),
        *("--features", f"{FEATURE},pyo3/extension-module"),
        cwd=ROOT,
        env=os.environ
        | {
            "CARGO_TARGET_DIR": str(_TARGET),
            # Without debug symbols and without optimization.
            "CARGO_PROFILE_DEV_DEBUG": "0",
            "PYO3_PYTHON": sys.executable,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await building.communicate()
    assert 0 == building.returncode, said.decode()
    suffix = sysconfig.get_config_var("SHLIB_SUFFIX")
    return _TARGET / f"debug/lib_native{'.dylib' if sys.platform == 'darwin' else suffix}"
