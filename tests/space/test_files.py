import os
import stat
import tempfile

import pytest

from space.files import create_aside, umask_mode


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_privately(path):
    """As safetensors does: a temporary file of mode 600 is moved into place."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write("weights")
    os.replace(file.name, path)


@pytest.mark.usefixtures("umask")
def test_a_file_has_the_mode_of_the_umask_however_it_was_written(tmp_path):
    path = tmp_path / "file"
    write_privately(path)
    assert mode(path) == 0o600
    with umask_mode(path):
        write_privately(path)
    assert mode(path) == 0o640
    assert path.read_text() == "weights"


def test_a_file_that_was_not_written_is_an_error(tmp_path):
    def nothing():
        with umask_mode(tmp_path / "file"):
            pass

    with pytest.raises(FileNotFoundError):
        nothing()


@pytest.mark.usefixtures("umask")
def test_files_aside_are_new_and_have_the_umasks_mode(tmp_path):
    made = [create_aside(tmp_path / "file") for _ in range(3)]
    for handle, _ in made:
        os.close(handle)
    assert {mode(path) for _, path in made} == {0o640}
    assert len({path for _, path in made}) == 3
