"""Folders of recordings: reading, checking, caching, bucketing, holding out."""

from mlx_speech.corpus.buckets import BucketBatches, padded_length
from mlx_speech.corpus.cache import FeatureCache
from mlx_speech.corpus.check import CorpusReport, Limits, check_corpus
from mlx_speech.corpus.readers import Utterance, find_leftovers, listed, read_corpus
from mlx_speech.corpus.split import check_validation_share, split_validation

__all__ = [
    "BucketBatches",
    "CorpusReport",
    "FeatureCache",
    "Limits",
    "Utterance",
    "check_corpus",
    "check_validation_share",
    "find_leftovers",
    "listed",
    "padded_length",
    "read_corpus",
    "split_validation",
]
