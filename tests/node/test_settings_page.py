"""The page of settings names every setting with its default."""

import json
import re
from pathlib import Path

from node.settings import Settings, read_settings, write_settings

PAGE = Path(__file__).parents[2] / "docs/settings.md"
IN_WORDS = {"threads"}  # it depends on the machine


def test_the_page_has_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == list(Settings.__struct_fields__)
    defaults = Settings()
    for name in set(rows) - IN_WORDS:
        assert rows[name] == f"`{json.dumps(getattr(defaults, name))}`", name


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    settings = Settings(data="/a folder/ü", sandbox="strong", memory=1024, bootstrap=("/ip4/192.0.2.7/tcp/1/p2p/x",))
    write_settings(tmp_path / "config.toml", settings)
    assert read_settings(tmp_path / "config.toml") == settings
