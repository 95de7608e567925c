"""ArrayRecord shards of captioned images: each record is a serialized `tf.train.Example`."""

import functools

from latentdiff.data.rows import Source, make_row
from latentdiff.settings.texts import checked_text


class ArrayRecordShards(Source):
    """The records of ArrayRecord files: features `image` (bytes of an image file), `caption` (or `text`) and others.

    Args:
        shards: paths.
    """

    def __init__(self, shards):
        try:
            from array_record.python import array_record_data_source
        except ImportError as error:
            raise ValueError("`source` of ArrayRecord needs array_record: pip install latentdiff[train]") from error
        self.shards = [str(shard) for shard in shards]
        try:
            self.records = array_record_data_source.ArrayRecordDataSource(self.shards)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._refused(error) from error

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be below {len(self)}. Received: {index=}")
        (row,) = self.read([index])
        return row

    def read(self, numbers):
        numbers = [int(number) for number in numbers]
        try:
            records = self.records.__getitems__(numbers)  # in a large file fifty times as fast as one by one
        except Exception as error:  # the reader has errors of its own, of no common class
            raise self._refused(error) from error
        return [self._row(number, data) for number, data in zip(numbers, records, strict=True)]

    def _refused(self, error):
        return ValueError(f"`source` must hold readable ArrayRecord shards. Received: {self.shards} ({error})")

    def _row(self, index, data):
        where = f"{self.shards[0] if len(self.shards) == 1 else f'{len(self.shards)} shards'}, record {index}"
        try:
            features = _example_class().FromString(data).features.feature
        except Exception as error:  # protobuf has errors of its own
            raise ValueError(f"`source` must hold tf.train.Example records. Received: {where} ({error})") from error
        record = {name: _value(feature, name, where) for name, feature in features.items() if name != "image"}
        image = features["image"].bytes_list.value
        if len(image) != 1:
            raise ValueError(f"`image` must hold bytes. Received: {len(image)} values in {where}")
        return make_row(where, image[0], record)


def _value(feature, name, where):
    """The value of a feature, or a list where it has several or none."""
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [checked_text(value, f"`{name}` in {where}") for value in values]
    return values[0] if len(values) == 1 else values


@functools.cache
def _example_class():
    """The message `tf.train.Example`, without TensorFlow."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = {"bytes_list": (12, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")}
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="example", syntax="proto3")
    for number, name in kinds.values():
        file.message_type.add(name=name).field.add(name="value", number=1, type=number, label=3)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, (_, name)) in enumerate(kinds.items(), 1):
        feature.field.add(name=field, number=number, type=11, label=1, type_name=f".example.{name}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=".example.Feature")
    features.field.add(name="feature", number=1, type=11, label=3, type_name=".example.Features.FeatureEntry")
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type=11, label=1, type_name=".example.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("example.Example"))
