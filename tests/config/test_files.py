"""Files that would hold the program up, or fill its memory: each is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rotator.config import SecretSource, load, parse, read_secret, resolve
from rotator.errors import ConfigurationError
from tests.config.test_broken import GOOD


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    (problem,) = caught.value.problems
    return problem


def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refused(pipe).endswith("is a pipe or a device: name a regular file")
    with pytest.raises(ConfigurationError, match="is a pipe or a device"):
        resolve(SecretSource(file=pipe), "vault.auth.token", env={}, read_file=read_secret)


def test_a_device_without_an_end_is_refused() -> None:
    assert refused(Path("/dev/zero")).endswith("is a pipe or a device: name a regular file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith("cannot be read: Is a directory")


def test_a_file_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(GOOD)
    os.truncate(file, 50_000_000)
    assert refused(file).endswith("is longer than 4194304 bytes")
    with pytest.raises(ConfigurationError, match="is longer than 65536 bytes"):
        resolve(SecretSource(file=file), "vault.auth.token", env={}, read_file=read_secret)


def test_a_link_to_a_regular_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(GOOD)
    (tmp_path / "config.toml").symlink_to(tmp_path / "real.toml")
    assert len(load(tmp_path / "config.toml").targets) == 2


@pytest.mark.parametrize(
    "written",
    [
        ".".join(["a"] * 50_000) + " = 1\n",
        "[" + ".".join(["a"] * 900) + "]\n",
        "x = " + "{ a = " * 80 + "1" + " }" * 80 + "\n",
        "x = " + "[" * 100_000 + "]" * 100_000 + "\n",
    ],
    ids=["a key of 50000 parts", "a header of 900 parts", "80 tables", "100000 arrays"],
)
def test_a_deep_nest_is_one_problem_and_no_traceback(written: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse((GOOD + written).encode(), Path("config.toml"))
    assert all(problem.startswith("config.toml") for problem in caught.value.problems)
