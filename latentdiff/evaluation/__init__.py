from latentdiff.evaluation.clip_score import clip_score
from latentdiff.evaluation.diversity import diversity
from latentdiff.evaluation.extract_features import extract_features
from latentdiff.evaluation.feature_cache import FeatureCache
from latentdiff.evaluation.feature_models import efficientnet_lite0, load_feature_model
from latentdiff.evaluation.frechet import FrechetDistance
from latentdiff.evaluation.kid import KID
from latentdiff.evaluation.memorisation import memorisation
from latentdiff.evaluation.paired_distances import paired_distances
from latentdiff.evaluation.psnr import psnr
from latentdiff.evaluation.retrieval import nearest_neighbours, recall_at_k
from latentdiff.evaluation.set_distance import SetDistance

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
