"""docs/options.md is what the modules say today."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from types import ModuleType

from tests.nix.bench import ROOT, TREES


def tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("options", str(ROOT / "tools" / "options"))
    spec = importlib.util.spec_from_loader("options", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_committed_page_is_current() -> None:
    text = tool().markdown(f"{TREES}/lib/lib")
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == text, (
        f"run tools/options --lib {TREES}/lib/lib"
    )


def test_every_option_has_a_description() -> None:
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    entries = text.split("\n## ")[1:]
    assert len(entries) > 40
    for entry in entries:
        title, blank, description = entry.splitlines()[:3]
        assert title.startswith("`services.rigappliance.")
        assert blank == ""
        assert description and not description.startswith("- "), title
