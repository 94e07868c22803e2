"""What a test is marked with that needs an extra: it is skipped, with a reason, where that is not installed."""

import importlib.util

import pytest

BASICSR = importlib.util.find_spec("basicsr") is not None
needs_basicsr = pytest.mark.skipif(not BASICSR, reason="needs BasicSR: pip install 'lrbench[sr]'")
