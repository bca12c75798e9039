"""Build modbook from settings.ini, the one place for name, version and requirements."""

import configparser
import pathlib
import shlex

from setuptools import setup

here = pathlib.Path(__file__).parent
parser = configparser.ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    author_email=settings["author_email"],
    license="Apache-2.0",
    keywords=settings["keywords"].split(),
    url=settings["git_url"],
    packages=[settings["lib_path"]],
    python_requires=f">={settings['min_python']}",
    install_requires=shlex.split(settings["requirements"]),
    extras_require={
        extra: shlex.split(settings[f"{extra}_requirements"])
        for extra in ("images", "cluster", "sklearn", "dev")
    },
    entry_points={"console_scripts": shlex.split(settings["console_scripts"])},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
