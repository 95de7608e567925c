import re

import pytest
from harness import needs_tensorflow

from latentdiff.export.saved_model.serving_files import BATCH_SIZES, model_name, resource_name, write_serving_files


def fill_in(folder):
    (folder / "1").mkdir(parents=True)
    write_serving_files(folder / "1")
    return {path.name: path.read_text() for path in (folder / "serving").iterdir()}


pytestmark = needs_tensorflow


def test_every_file_is_filled_in(tmp_path):
    files = fill_in(tmp_path / "My_model.v2")
    assert sorted(files) == [
        "batching.config",
        "docker-compose.yaml",
        "kubernetes.yaml",
        "models.config",
        "monitoring.config",
        "prometheus.yml",
    ]
    for name, text in files.items():
        assert "My_model.v2" in text or "my-model-v2" in text, name
        assert "$name" not in text and "$resource" not in text


def test_files_of_the_operator_are_kept(tmp_path):
    (tmp_path / "base" / "serving").mkdir(parents=True)
    (tmp_path / "base" / "serving" / "batching.config").write_text("mine")
    assert fill_in(tmp_path / "base")["batching.config"] == "mine"


def test_models_config_is_an_official_message(tmp_path):
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    text = fill_in(tmp_path / "emoji-128")["models.config"]
    (model,) = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path) == ("emoji-128", "/models/emoji-128")


def test_batching_allows_the_sizes_that_are_warmed_up(tmp_path):
    lines = fill_in(tmp_path / "base")["batching.config"].splitlines()
    assert [line for line in lines if line.startswith("allowed_batch_sizes")] == [
        f"allowed_batch_sizes: {size}" for size in BATCH_SIZES
    ]
    assert "max_batch_size { value: 8 }" in lines


def test_kubernetes_and_compose_agree_with_the_server(tmp_path):
    yaml = pytest.importorskip("yaml")
    files = fill_in(tmp_path / "My_model.v2")
    deployment, service, scaler = yaml.safe_load_all(files["kubernetes.yaml"])
    assert [item["kind"] for item in (deployment, service, scaler)] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
    ]
    assert {item["metadata"]["name"] for item in (deployment, service, scaler)} == {"my-model-v2"}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/My_model.v2/metadata"
    assert scaler["spec"]["scaleTargetRef"]["name"] == "my-model-v2"
    compose = yaml.safe_load(files["docker-compose.yaml"])["services"]
    assert compose["serving"]["command"] == container["args"]
    assert compose["serving"]["image"] == "tensorflow/serving:${TF_SERVING_TAG:-latest}"
    named = {argument.rsplit("/", 1)[1] for argument in container["args"] if ".config" in argument}
    assert named <= set(files)
    (scrape,) = yaml.safe_load(files["prometheus.yml"])["scrape_configs"]
    assert f'path: "{scrape["metrics_path"]}"' in files["monitoring.config"]


@pytest.mark.parametrize(
    "name, resource",
    [
        ("emoji-128", "emoji-128"),
        ("My_model.v2.", "my-model-v2"),
        ("128-emoji", "model-128-emoji"),
        ("7", "model-7"),
        ("a" * 49 + "-b", "a" * 49),
        ("9" * 60, "model-" + "9" * 44),
        ("a" + "_" * 60, "a"),
    ],
)
def test_kubernetes_allows_the_names(tmp_path, name, resource):
    assert resource_name(name) == resource
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", resource) and len(f"{resource}-models") <= 63  # RFC 1035


@pytest.mark.parametrize("name", ["null", "on", "1e3"])
def test_names_that_yaml_takes_for_something_else(tmp_path, name):
    yaml = pytest.importorskip("yaml")
    files = fill_in(tmp_path / name)
    deployment, service, _ = yaml.safe_load_all(files["kubernetes.yaml"])
    assert deployment["metadata"]["name"] == service["spec"]["selector"]["app"] == resource_name(name)
    assert yaml.safe_load(files["prometheus.yml"])["scrape_configs"][0]["job_name"] == name


@pytest.mark.parametrize("name", ["a b", "-a", "ü", "a/../.b?"])
def test_names_that_cannot_be_in_a_url(tmp_path, name):
    with pytest.raises(ValueError, match="`folder` must be BASE/VERSION, where the name of BASE"):
        model_name(tmp_path / name / "1")
