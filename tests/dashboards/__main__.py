"""`python -m tests.dashboards`: writes config/grafana/dashboards; a test compares the files with this."""

from tests.dashboards.files import FOLDER, files

FOLDER.mkdir(parents=True, exist_ok=True)
for old in FOLDER.glob("*.json"):
    old.unlink()
for name, text in files().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
