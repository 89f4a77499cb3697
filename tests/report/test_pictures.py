"""The pictures that the demo leaves as PNG files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lightcrcf.registration.register import Registration
from lightcrcf.report.figure import png
from lightcrcf.report.painters import FOLD_COLOUR
from lightcrcf.report.pictures import Views
from lightcrcf.volumes import Volume


def views(registration: Registration) -> Views:
    return Views(registration.fixed, registration.moving, registration.moved, registration.transform)


def test_pictures_are_the_same_every_time(registration: Registration) -> None:
    first, second = (
        png(drawn.planes, [*drawn.before_after(), *drawn.tiles(), *drawn.deformation()])
        for drawn in (views(registration) for _ in range(2))
    )
    assert first == second


def test_folds_have_a_colour_of_their_own(registration: Registration) -> None:
    field = registration.transform.field
    assert field is not None
    assert field.jacobian_determinant().min() < 0
    drawn = views(registration)
    assert fold_pixels(drawn.volume_change(field).painters) > 0
    weak = replace(field, displacement=field.displacement * np.float32(0.2))
    assert weak.jacobian_determinant().min() > 0
    assert fold_pixels(drawn.volume_change(weak).painters) == 0


def fold_pixels(painters: tuple) -> int:
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure

    count = 0
    for paint in painters:
        axes = Figure().add_subplot()
        paint(axes)
        count += int(np.all(np.isclose(axes.images[0].get_array(), to_rgba(FOLD_COLOUR)), axis=-1).sum())
    return count


def test_constant_integer_and_borderless_volumes_can_be_drawn(registration: Registration) -> None:
    grid = registration.fixed.grid
    busy = np.random.default_rng(5).integers(1, 200, grid.shape).astype(np.uint8)
    for data in (np.zeros(grid.shape, np.uint8), busy):
        drawn = views(replace(registration, fixed=Volume(data, grid), moved=Volume(data, grid)))
        assert png(drawn.planes, [*drawn.before_after(), *drawn.tiles()]).startswith(b"\x89PNG")
