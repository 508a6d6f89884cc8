"""Learned fast Fourier transforms: butterflies found from data, stored, quantised."""

from mlx_speech.butterfly.double_float import double_float_fft
from mlx_speech.butterfly.exact import TransformError
from mlx_speech.butterfly.factors import default_radices, digit_reversal
from mlx_speech.butterfly.gates import TernaryRoutedFFT
from mlx_speech.butterfly.learned_mel import LearnedMel, as_rfft
from mlx_speech.butterfly.quantize import QuantizedButterflyFFT, quantize
from mlx_speech.butterfly.storage import load_transform, save_transform
from mlx_speech.butterfly.student_storage import load_rfft
from mlx_speech.butterfly.transform import ButterflyFFT, MonarchFFT

__all__ = [
    "ButterflyFFT",
    "LearnedMel",
    "MonarchFFT",
    "QuantizedButterflyFFT",
    "TernaryRoutedFFT",
    "TransformError",
    "as_rfft",
    "default_radices",
    "digit_reversal",
    "double_float_fft",
    "load_rfft",
    "load_transform",
    "quantize",
    "save_transform",
]
