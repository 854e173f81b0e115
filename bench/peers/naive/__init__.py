"""The naive peer: the same API as a user would write it in an afternoon."""
