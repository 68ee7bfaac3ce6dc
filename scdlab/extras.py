"""Packages that the research core leaves out, and which extra of scdlab brings them."""

EXTRAS = {
    "anywidget": "lessons",
    "IPython": "lessons",
    "ipywidgets": "lessons",
    "jinja2": "lessons",
    "jupyter_client": "lessons",
    "jupyter_server": "lessons",
    "jupyterlab": "lessons",
    "jupytext": "lessons",
    "latex2mathml": "lessons",
    "nbclient": "lessons",
    "nbconvert": "lessons",
    "nbformat": "lessons",
    "packaging": "lessons",
    "papermill": "lessons",
    "plotly": "lessons",
    "py3Dmol": "lessons",
    "rdkit": "chem",
    "rich": "lessons",
    "tblite": "chem",
    "torch_sim": "torchsim",
    "traitlets": "lessons",
    "typer": "lessons",
    "umap": "lessons",
    "voila": "lessons",
}
"""The name under which a package is imported, and the extra that brings it."""


def missing(thing: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Turn a failed import into an error that names the extra to install.

    Parameters
    ----------
    thing : str
        What was imported, such as "scdlab.NoiseExplorer".
    error : ModuleNotFoundError
        The error of the import.

    Returns
    -------
    ModuleNotFoundError
        To be raised; `error` itself where no extra brings the module.
    """
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return error
    return ModuleNotFoundError(
        f"{thing} needs {package}, which is not installed: "
        f"install scdlab with its extra {extra!r}, as in pip install '.[{extra}]'.",
        name=error.name,
    )
