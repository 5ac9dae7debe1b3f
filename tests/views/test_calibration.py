import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

from ontogeny.views.calibration import (
    curvature_table,
    plot_calibration,
    python_line,
    render_calibration,
    rule_in_words,
    shell_line,
    write_calibration,
)
from tests.views.calibrations import full, without_choice


def maps(figure):
    return [trace for trace in figure.data if trace.type == "heatmap"]


def test_there_is_one_map_for_each_checkpoint():
    figure = plot_calibration(full())
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["step 10", "step 4,372", "step 249,999"]
    assert [trace.z.shape for trace in maps(figure)] == [(4, 5)] * 3
    assert figure.layout.xaxis.ticktext == ("6.6e-6", "2e-5", "5.9e-5", "1.8e-4", "5.4e-4")
    assert figure.layout.yaxis.ticktext == ("7.4", "22", "66.67", "200")


def test_failed_cells_have_a_cross_and_no_value():
    one = full()
    figure = plot_calibration(one)
    crosses = [trace for trace in figure.data if trace.type == "scatter"]
    for place, (trace, heat) in enumerate(zip(crosses, maps(figure), strict=True)):
        failed = one.verdicts[place] == "failed"
        places = sorted([row, column] for row, column in zip(trace.y, trace.x, strict=True))
        assert places == np.argwhere(failed).tolist()
        assert np.isnan(heat.z[failed]).all()
        assert (heat.text[failed] == "").all()


def test_the_recommended_cell_is_framed_in_every_map():
    shapes = [shape for shape in plot_calibration(full()).layout.shapes if shape.line.width == 3]
    assert [(s.x0, s.x1, s.y0, s.y1) for s in shapes] == [(1.5, 2.5, 1.5, 2.5)] * 3
    assert len({shape.xref for shape in shapes}) == 3


def test_cells_that_have_not_arrived_are_pale():
    one = full()
    veils = [s for s in plot_calibration(one).layout.shapes if s.fillcolor == "white"]
    assert len(veils) == (one.verdicts == "moving").sum()


def test_a_narrow_picture_is_taller():
    wide, narrow = plot_calibration(full()), plot_calibration(full(), width=330)
    assert narrow.layout.height > 2 * wide.layout.height


def test_the_lines_to_paste_say_the_same():
    words = shlex.split(shell_line(full(), "my runs/one"))
    assert words[:3] == ["ontogeny", "measure", "my runs/one"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    settings = dict(re.findall(r"(\w+)='?([^,')]+)", python_line(full()).partition("(")[2]))
    assert {name.lstrip("-").replace("-", "_"): v for name, v in options.items()} == settings
    assert settings["step_size"] == "5.9e-5"


def test_the_rule_is_told_with_its_numbers():
    text = rule_in_words(full())
    for part in ("step 4,372", "h = 252", "nβ = 66.67", "= 17 with κ = 1000", "= 5.9e-5"):
        assert part in text


def test_the_table_says_how_near_to_divergence_each_checkpoint_is():
    rows = curvature_table(full())
    assert rows[3] == ("4,372", "252", "126", "84", "0.99")
    assert curvature_table(without_choice())[0][-1] == "—"


@pytest.mark.parametrize("calibration", [full(), without_choice()])
def test_the_page_loads_nothing(calibration):
    page = render_calibration(calibration, "Run <1>", "runs/one")
    assert "Run &lt;1&gt;" in page
    body = page[: page.index("<script>")]
    assert not re.search(r"(src|href)=", body)
    assert "nan" not in re.sub(r"<script.*", "", body, flags=re.DOTALL)


def test_the_page_says_when_nothing_can_be_recommended():
    page = render_calibration(without_choice(), "", "")
    assert "No settings can be recommended" in page
    assert "Chains fail with the step size" in page


def test_the_page_says_when_curvature_came_from_differences():
    one = replace(full(), differences=np.ones(6, bool))
    assert "differences of gradients" in render_calibration(one, "", "")
    assert "differences of gradients" not in render_calibration(full(), "", "")


def test_the_page_is_written_beside_the_run(tmp_path):
    path = write_calibration(full(), "A run", tmp_path)
    assert path == tmp_path / "calibration.html"
    assert str(tmp_path) in path.read_text()
