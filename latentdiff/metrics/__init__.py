from latentdiff.metrics.clip_score import clip_score
from latentdiff.metrics.diversity import diversity
from latentdiff.metrics.extract_features import extract_features
from latentdiff.metrics.feature_cache import FeatureCache
from latentdiff.metrics.feature_models import efficientnet_lite0, load_feature_model
from latentdiff.metrics.frechet import FrechetDistance
from latentdiff.metrics.kid import KID
from latentdiff.metrics.memorisation import memorisation
from latentdiff.metrics.paired_distances import paired_distances
from latentdiff.metrics.psnr import psnr
from latentdiff.metrics.retrieval import nearest_neighbours, recall_at_k
from latentdiff.metrics.set_distance import SetDistance

__all__ = [
    "FeatureCache",
    "FrechetDistance",
    "KID",
    "SetDistance",
    "clip_score",
    "diversity",
    "efficientnet_lite0",
    "extract_features",
    "load_feature_model",
    "memorisation",
    "nearest_neighbours",
    "paired_distances",
    "psnr",
    "recall_at_k",
]
