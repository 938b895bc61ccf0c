"""What the core finds out about this host."""

from innkeeper._core import EngineReport, engines

__all__ = ["EngineReport", "engines"]
