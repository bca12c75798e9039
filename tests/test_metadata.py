"""settings.ini is the one place for name, version and requirements; others follow."""

import configparser
import re
import shlex

import yaml
from helpers import ROOT

import modbook

parser = configparser.ConfigParser(delimiters=["="])
parser.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = parser["DEFAULT"]
PINNED = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M)
)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_the_same_everywhere():
    version = SETTINGS["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert modbook.__version__ == version == citation["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned():
    pinned = {plain(name): version for name, version in PINNED.items()}
    for requirement in shlex.split(SETTINGS["dev_requirements"]):
        name, version = requirement.split("==")
        assert pinned[plain(name)] == version
    for requirement in shlex.split(SETTINGS["requirements"]):
        name, least = requirement.split(">=")
        assert numbers(pinned[plain(name)]) >= numbers(least)


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_citation_file_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "Apache-2.0"
    for entry in (citation, citation["preferred-citation"]):
        assert entry["title"]
        assert all("name" in who or "family-names" in who for who in entry["authors"])
    assert citation["message"]
    assert citation["preferred-citation"]["type"] == "conference-paper"
