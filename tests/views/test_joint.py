"""The picture of several runs."""

import itertools

import numpy as np

from ontogeny.analysis import joint_dynamics, project
from ontogeny.analysis.joint import JointRuns
from ontogeny.records import Outputs
from ontogeny.views.joint import plot_joint_dynamics, write_joint


def two_runs():
    rng, steps = np.random.default_rng(0), np.arange(40)
    return joint_dynamics(
        {name: Outputs(steps, rng.normal(size=(40, 60)).cumsum(axis=0)) for name in ("a", "<b>")}
    )


def test_each_run_is_a_line_in_each_plane_from_its_first_to_its_last_checkpoint():
    runs = two_runs()
    figure = plot_joint_dynamics(runs, {})
    planes = list(itertools.combinations(range(3), 2))
    for name, shown in (("a", "a"), ("<b>", "&lt;b&gt;")):
        lines = [trace for trace in figure.data if trace.name == shown]
        assert len(lines) == 3
        for line, plane in zip(lines, planes, strict=True):
            drawn = np.stack([line.x, line.y], axis=1)
            np.testing.assert_array_equal(drawn, runs[name].smoothed[:, plane])
            assert (line.marker.size[0], line.marker.size[1], line.marker.size[-1]) == (6, 0, 10)
    assert sum(bool(trace.showlegend) for trace in figure.data) == 2


def test_predictors_are_in_the_frame():
    runs = two_runs()
    far = project(10 * np.ones((1, 60)), runs["a"])[0] * 5
    figure = plot_joint_dynamics(runs, {"far": far})
    low, high = figure.layout.xaxis.range
    assert low < far[0] < high
    assert [trace.text[0] for trace in figure.data if trace.text is not None] == ["far"] * 3


def test_the_page_loads_nothing_and_names_the_runs(tmp_path):
    runs = two_runs()
    write_joint(JointRuns(runs, {}, ("A <note>.",)), tmp_path / "new" / "joint.html")
    page = (tmp_path / "new" / "joint.html").read_text()
    for text in ("2 runs in one space", "&lt;b&gt; (40 checkpoints)", "A &lt;note&gt;."):
        assert text in page
    assert "src=" not in page.partition("<main>")[0]
    assert 'src="http' not in page
