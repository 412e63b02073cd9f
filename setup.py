"""The one thing that pyproject.toml cannot say: recipes are installed inside of the package.

`configs/` lies at the top of the repository, where one looks for it; installed, it is
`clipdiff_jax/configs/`, where `clipdiff_jax.core.recipes` finds it.
"""

from setuptools import find_namespace_packages, setup

PACKAGE, RECIPES = "clipdiff_jax", "configs"

folders = [RECIPES, *(f"{RECIPES}.{name}" for name in find_namespace_packages(RECIPES))]
setup(
    packages=[
        *find_namespace_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
        *(f"{PACKAGE}.{name}" for name in folders),
    ],
    package_dir={f"{PACKAGE}.{RECIPES}": RECIPES},
)
