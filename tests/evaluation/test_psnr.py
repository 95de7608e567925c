import numpy as np
import pytest

from latentdiff.evaluation import psnr


def test_known_values():
    a = np.zeros((3, 4, 4, 3), "uint8")
    b = a + np.array([0, 1, 255], "uint8")[:, None, None, None]
    np.testing.assert_allclose(psnr(a, b), [np.inf, 20 * np.log10(255), 0])
    np.testing.assert_allclose(psnr(a / 127.5 - 1, b / 127.5 - 1), psnr(a, b), rtol=1e-6)


def test_errors():
    a = np.zeros((1, 2, 2, 3), "uint8")
    for other in (a[:, :1], a.astype("float32"), a.astype("int64")):
        with pytest.raises(ValueError, match="one shape and be both uint8 or both float. Received"):
            psnr(a, other)
