"""The naive peer: the same API as a developer would write it in an afternoon."""
