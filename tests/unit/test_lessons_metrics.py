"""Metrics: the runner collects what no reader sees."""

import nbformat
import numpy as np
import pytest
import torch

from scdlab.lessons import metrics
from scdlab.lessons.html import to_html


def test_handed_over_is_collected_and_unseen(monkeypatch):
    shown = []
    monkeypatch.setattr(metrics, "get_ipython", lambda: True)
    monkeypatch.setattr(metrics, "display", lambda data, raw: shown.append(data))
    monkeypatch.delenv(metrics.ASKED, raising=False)
    metrics.display_metrics(mae_eV=0.7)
    assert shown == []  # a reader's notebook has no output that leaves a gap
    monkeypatch.setenv(metrics.ASKED, "1")
    metrics.display_metrics(mae_eV=torch.tensor(0.5), n=np.int64(3), same=True)
    metrics.display_metrics(n=4)
    cells = [
        nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)])
        for data in shown
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells])
    assert metrics.collect(notebook) == {"mae_eV": 0.5, "n": 4, "same": True}
    assert all(set(data) == {metrics.MIME} for data in shown)  # nothing that a front end draws
    page = to_html(notebook)
    assert "mae_eV" not in page and "text" in page


def test_without_a_notebook_it_prints(capsys):
    metrics.display_metrics(mae=0.25)
    assert capsys.readouterr().out == "mae: 0.25\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_number_must_be_finite(value):
    with pytest.raises(ValueError, match=r"'mae' is (nan|inf)"):
        metrics.display_metrics(mae=value)


def test_a_metric_is_a_number():
    for value in ([1, 2], "0.1", None):
        with pytest.raises(TypeError, match="'mae' must be a number"):
            metrics.display_metrics(mae=value)
