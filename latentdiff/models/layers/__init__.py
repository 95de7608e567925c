"""Keras layers of the autoencoder and the networks."""

from latentdiff.models.layers.adaptive_block import AdaptiveBlock
from latentdiff.models.layers.adaptive_output import AdaptiveOutput
from latentdiff.models.layers.attention import Attention
from latentdiff.models.layers.attention_block import AttentionBlock
from latentdiff.models.layers.group_norm import GroupNorm
from latentdiff.models.layers.patches import Patchify, Unpatchify
from latentdiff.models.layers.position_embedding import PositionEmbedding
from latentdiff.models.layers.resampling import Downsample, Upsample
from latentdiff.models.layers.resnet_block import ResnetBlock
from latentdiff.models.layers.spatial_transformer import SpatialTransformer
from latentdiff.models.layers.text_and_size_embedding import TextAndSizeEmbedding
from latentdiff.models.layers.timestep_embedding import TimestepEmbedding
from latentdiff.models.layers.transformer_block import TransformerBlock
