"""Presets on the hubs: hf://OWNER/NAME[@REVISION], kaggle://OWNER/MODEL/FRAMEWORK/VARIATION[/VERSION].

The clients of the hubs do all the work: cache, resumed downloads, offline mode, tokens and proxies are theirs, with
their own environment variables. Imports neither Keras nor a backend.
"""

import contextlib

HF, KAGGLE = "hf://", "kaggle://"


def is_address(preset):
    """Whether a preset lies on a hub."""
    return str(preset).startswith((HF, KAGGLE))


def download(address, patterns=None):
    """The local copy of a repository, as str: the folder in the cache of the hub's client.

    Args:
        address: see above. A revision of the Hugging Face Hub is a branch, a tag or a commit.
        patterns: names of the files to take from the Hugging Face Hub; default: all. Kaggle gives all.

    Raises:
        ValueError: no such repository or revision, or the client is not installed.
        OSError: the hub can't be reached, or its answer is cut short.
    """
    with _errors_of(address):
        if address.startswith(KAGGLE):
            return _client("kagglehub").model_download(address.removeprefix(KAGGLE))
        name, revision = _name_and_revision(address)
        return _client("huggingface_hub").snapshot_download(name, revision=revision, allow_patterns=patterns)


def upload(folder, address, private=False, stale=()):
    """Uploads the files of a folder, as one commit or version. Makes the repository where there is none.

    Args:
        folder: Path.
        address: see above, without a version for Kaggle, which counts them.
        private: whether a new repository of the Hugging Face Hub is private; one of Kaggle always is.
        stale: patterns of files that earlier uploads may have left, which are removed from the Hugging Face Hub unless
            they are in the folder.

    Raises:
        ValueError: the address names nothing that can be written to.
        OSError: the hub refuses, or can't be reached.
    """
    with _errors_of(address):
        if address.startswith(KAGGLE):
            _client("kagglehub").model_upload(address.removeprefix(KAGGLE), str(folder))
            return
        api = _client("huggingface_hub").HfApi()
        name, revision = _name_and_revision(address)
        api.create_repo(name, private=private, exist_ok=True)
        told = {"commit_message": "Upload a preset of latentdiff", "delete_patterns": list(stale)}
        api.upload_folder(repo_id=name, folder_path=folder, revision=revision, **told)


def _name_and_revision(address):
    name, _, revision = address.removeprefix(HF).partition("@")
    return name, revision or None


def _client(name):
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"hubs need {name}: pip install 'latentdiff[hub]'") from error


@contextlib.contextmanager
def _errors_of(address):
    """Makes one ValueError or OSError of the many kinds of errors of the clients."""
    try:
        yield
    except Exception as error:
        unknown = type(error).__name__ in ("RepositoryNotFoundError", "RevisionNotFoundError", "KaggleApiHTTPError")
        kind = ValueError if unknown or isinstance(error, ValueError) else OSError
        raise kind(f"{address} can't be used: {' '.join(str(error).split())}") from error
