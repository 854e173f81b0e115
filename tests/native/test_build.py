from pathlib import Path

from service import _native

ROOT = Path(__file__).parents[2]


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def test_the_module_was_built_from_the_sources_beside_it() -> None:
    manifests = ["Cargo.lock", "Cargo.toml", "native/Cargo.toml", "native/build.rs"]
    sources = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("native/src/**/*.rs")]
    paths = sorted(manifests + sources)
    parts = [path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0" for path in paths]

    expected = f"{fnv1a(b''.join(parts)):016x}"

    assert expected == _native.source_fingerprint, "the native module is stale: run make setup"


def test_the_module_is_a_release_build() -> None:
    assert _native.build_profile == "release"


def test_the_version_is_the_crates() -> None:
    manifest = (ROOT / "native/Cargo.toml").read_text()

    assert f'\nversion = "{_native.__version__}"' in manifest


def test_the_codes_are_listed_once_and_sorted() -> None:
    codes = _native.violation_codes()

    assert sorted(set(codes)) == codes
    assert "malformed_json" in codes
