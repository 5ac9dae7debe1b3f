"""What λ means: how fast the share of weights with a loss below ε shrinks with ε.

python experiments/volume.py PICTURE.html

Five potentials in two dimensions, from regular to singular, with weights drawn evenly from a square
around the minimum. The slope in the picture is λ; where two powers share the maximum, a logarithm
bends the line and the slope comes near λ only slowly.
"""

import sys

import numpy as np
import plotly.graph_objects as go

from ontogeny.analysis.free_energy import volume_exponent

POTENTIALS = {
    "x² + y²": (lambda x, y: x**2 + y**2, 1.0),
    "x² + y⁴": (lambda x, y: x**2 + y**4, 0.75),
    "x²": (lambda x, y: x**2, 0.5),
    "x⁴y²": (lambda x, y: x**4 * y**2, 0.25),
    "x²y²": (lambda x, y: x**2 * y**2, 0.5),
}

if __name__ == "__main__":
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 4_000_000))
    figure = go.Figure()
    for name, (potential, exact) in POTENTIALS.items():
        slope, levels, shares = volume_exponent(potential(x, y), 1e-5, 1e-2)
        print(f"{name}: slope {slope:.3f}, λ = {exact}")
        label = f"{name}: slope {slope:.2f}, λ = {exact:g}"
        figure.add_trace(go.Scatter(x=levels, y=shares, mode="lines+markers", name=label))
    figure.update_xaxes(title_text="ε")
    figure.update_yaxes(title_text="share of weights with L < ε")
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(type="log", dtick=1, exponentformat="power")
    figure.update_layout(template="plotly_white", width=680, height=380)
    figure.update_layout(margin={"l": 60, "r": 20, "t": 20, "b": 50})
    figure.write_html(sys.argv[1], config={"displayModeBar": False})
