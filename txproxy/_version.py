"""The version of txproxy; kept by ``python -m incremental.update txproxy``."""

from incremental import Version

__version__ = Version("txproxy", 0, 1, 0)
__all__ = ["__version__"]
