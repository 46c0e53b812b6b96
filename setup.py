"""Only what pyproject.toml cannot say: Resources lies beside the package and is installed inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["HemoCAMLib", "HemoCAMLib.*"]), "HemoCAMLib.Resources"],
    package_dir={"HemoCAMLib.Resources": "Resources"},
    package_data={"HemoCAMLib": ["py.typed"], "HemoCAMLib.Resources": ["**/*"]},
)
