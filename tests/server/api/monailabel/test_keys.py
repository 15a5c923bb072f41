"""Viewers where keys are asked for: a key is what the user types as the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

from ..conftest import running
from .conftest import LEAVES_SOCKETS

pytestmark = LEAVES_SOCKETS


def test_a_key_typed_as_the_password_opens_what_its_scope_opens(
    model_folder: Path, tmp_path: Path, scan: Path, client: Any, keys: tuple[Path, str, str]
) -> None:
    path, secret, _ = keys
    settings = Settings.of(models=model_folder, monailabel=True, keys_file=path, scratch=tmp_path)
    with running(create_app(settings)) as http:
        client.set_server_url(str(http.base_url))
        assert client.auth_enabled()
        with pytest.raises(Exception, match="unauthenticated"):
            client.info()
        client.update_auth(client.auth_token("anybody", "wrong"))
        assert not client.auth_valid_token()
        client.update_auth(client.auth_token("anybody", secret))
        assert client.auth_valid_token()
        assert client.info()["models"]
        file, _ = client.infer("tiny", "", {"modality": "t1", "fill": "zeros"}, file=str(scan))
        assert Path(file).is_file()


def test_a_session_is_its_owner_s_alone(
    model_folder: Path, tmp_path: Path, scan: Path, keys: tuple[Path, str, str]
) -> None:
    path, one, other = keys
    settings = Settings.of(models=model_folder, monailabel=True, keys_file=path, scratch=tmp_path)
    with running(create_app(settings)) as http:
        mine, yours = ({"authorization": f"Bearer {key}"} for key in (one, other))
        kept = http.put("/session/", files={"files": scan.read_bytes()}, headers=mine)
        session = kept.json()["session_id"]
        assert http.get(f"/session/{session}", headers=mine).status_code == 200
        assert http.get(f"/session/{session}", headers=yours).status_code == 404
        assert http.delete(f"/session/{session}", headers=yours).status_code == 404
        assert http.delete(f"/session/{session}", headers=mine).status_code == 200
