"""TensorFlow Datasets builder for captioned images, such as those of `build_emoji`.

    pip install tensorflow tensorflow-datasets importlib_resources
    python -m training.datasets.captioned_pictures --manual-dir emoji --data-dir tfds

Afterwards the set is `tfds.load("captioned_pictures", data_dir="tfds")`, and for the training scripts
`tfds:captioned_pictures?data_dir=tfds`. The folder `emoji` may be all that `load_images` takes as a folder: parquet
shards, or images with captions.
"""

import argparse

import numpy as np
import tensorflow_datasets as tfds

from latentdiff.data import sources
from latentdiff.data.images import read_image

TEXT_COLUMNS = ("id", "label", "style", "group", "licence", "source")


class CaptionedPictures(tfds.core.GeneratorBasedBuilder):
    """Images of any size with a caption, and "" or [] for the other columns that an image lacks.

    The splits are those of the column `split`; without it all is "train".
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the parquet shards, or the images with their captions, into `manual_dir`."

    def _info(self):
        text = tfds.features.Text()
        features = {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"), "caption": text}
        features |= {name: text for name in TEXT_COLUMNS} | {"keywords": tfds.features.Sequence(text)}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, description=self.__doc__, features=features)

    def _split_generators(self, dl_manager):
        folder = str(dl_manager.manual_dir)
        splits = {row.record.get("split", "train") for row in sources.read_files(folder)}
        return {split: self._generate_examples(folder, split) for split in sorted(splits)}

    def _generate_examples(self, folder, split):
        for row in sources.read_files(folder):
            if row.record.get("split", "train") != split:
                continue
            example = {"image": np.asarray(read_image(row.image, row.name)), "caption": row.caption}
            example |= {name: str(row.record.get(name) or "") for name in TEXT_COLUMNS}
            yield row.name, example | {"keywords": list(row.record.get("keywords") or [])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manual-dir", required=True, help="folder of parquet shards, or of images with captions")
    parser.add_argument("--data-dir", required=True, help="folder that TensorFlow Datasets writes to")
    args = parser.parse_args()
    builder = CaptionedPictures(data_dir=args.data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=args.manual_dir))
    print(builder.info)


if __name__ == "__main__":
    main()
