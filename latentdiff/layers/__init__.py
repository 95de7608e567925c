"""Keras layers of the autoencoder and the U-Net."""

from latentdiff.layers.attention import Attention
from latentdiff.layers.attention_block import AttentionBlock
from latentdiff.layers.group_norm import GroupNorm
from latentdiff.layers.patches import Patchify, Unpatchify
from latentdiff.layers.resampling import Downsample, Upsample
from latentdiff.layers.resnet_block import ResnetBlock
from latentdiff.layers.spatial_transformer import SpatialTransformer
from latentdiff.layers.timestep_embedding import TimestepEmbedding
from latentdiff.layers.transformer_block import TransformerBlock
