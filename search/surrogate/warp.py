"""Power transformations that make values more normal, as a Gaussian process wants them.

Box-Cox (1964, https://doi.org/10.1111/j.2517-6161.1964.tb00553.x) for values of one sign, such as costs over
many orders of magnitude, Yeo-Johnson (2000, https://doi.org/10.1093/biomet/87.4.954) for others; both are
rising, so the order of values stays. The power is the likeliest one of a grid.
"""

import numpy as np

POWERS = np.linspace(-1, 2, 13)  # 0 is the logarithm, 1 changes nothing
LEAST_ROWS = 8
FENCE = 3.0  # interquartile ranges below the lower quartile, where values are cut off
LARGEST_LOG = 100.0  # of a transformed value


def warped(values: np.ndarray) -> np.ndarray:
    """Finite values (rows,) transformed, with mean 0 and standard deviation 1; 0 if all are equal."""
    scaled = standardised(values)
    if len(values) < LEAST_ROWS or not scaled.any():
        return scaled
    if (values > 0).all() or (values < 0).all():
        sign = np.sign(values[0])
        logs = np.log(np.abs(values))
        logs = logs - logs.mean()  # hence the slopes below are 0
        powers = POWERS[np.abs(POWERS) * np.abs(logs).max() < LARGEST_LOG]
        return sign * _likeliest([_power(logs, power) for power in powers], [0.0] * len(powers))
    logs = np.sign(scaled) * np.log1p(np.abs(scaled))
    tried = [np.where(scaled >= 0, _power(logs, power), -_power(-logs, 2 - power)) for power in POWERS]
    return _likeliest(tried, [(power - 1) * logs.sum() for power in POWERS])


def fenced(values: np.ndarray) -> np.ndarray:
    """Finite values (rows,) without extremely low ones, beside which all others would look the same."""
    low, high = np.quantile(values, (0.25, 0.75))
    return np.maximum(values, low - FENCE * (high - low)) if high > low else values


def standardised(values: np.ndarray) -> np.ndarray:
    """Finite values (rows,) with mean 0 and standard deviation 1; 0 if all are equal."""
    spread = values.std()
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return np.zeros(len(values))
    return (values - values.mean()) / spread


def _power(logs: np.ndarray, power: float) -> np.ndarray:
    """(exp(logs)^power - 1) / power, whose limit at power 0 is logs."""
    return np.expm1(power * logs) / power if abs(power) > 1e-9 else logs


def _likeliest(tried: list[np.ndarray], slopes: list[float]) -> np.ndarray:
    """The transformed values under which the original ones are likeliest, if transformed ones are normal.

    Args:
        tried: of each power, (rows,).
        slopes: of each power, sum over rows of the logarithm of the transformation's derivative.
    """
    likelihoods = [
        slope - len(values) * np.log(max(float(values.std()), 1e-300))
        for values, slope in zip(tried, slopes, strict=True)
    ]
    return standardised(tried[int(np.argmax(likelihoods))])
