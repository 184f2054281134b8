from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from jssr.preprocessing.elastix import euler_matrix


def test_euler_matrix_agrees_with_itk() -> None:
    angles, shift, centre = [0.2, -0.31, 0.17], [5.0, -8.0, 2.5], [10.0, 20.0, -30.0]
    itk = sitk.Euler3DTransform(centre, *angles, shift)
    ours = euler_matrix([*angles, *shift], centre)
    for point in ([0.0, 0.0, 0.0], [11.0, -4.0, 70.0], [-3.0, 55.0, 8.0]):
        np.testing.assert_allclose(ours @ [*point, 1.0], [*itk.TransformPoint(point), 1.0], atol=1e-9)
