"""A deploy that leaves an identity without its service says so and fails: playbooks/serving.yml."""

from __future__ import annotations

from pathlib import Path

from relays import FAILED, Said, play

NOT_RETRIED = ("-e", "serving_retries=0", "-e", "serving_ready_retries=0")


def said(*unserved: str, unprotected: tuple[str, ...] = ()) -> Said:
    lines = {"unserved": list(unserved), "unprotected": list(unprotected)}
    return {"changed": False, "identities": {}, "stores": {}, **lines}


def test_all_is_served(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, said(), said(), "--limit", "mail2", *NOT_RETRIED)
    assert status == 0, words
    assert "No relay could say" not in words and "nobody could" not in words


def test_what_nobody_could_take_over_is_told_and_fails_nothing(tmp_path: Path) -> None:
    line = "mx: nobody could take it over: mail2: no live lease"
    status, words = play("serving.yml", tmp_path, said(unprotected=(line,)), None, *NOT_RETRIED)
    assert status == 0, words
    assert line in words


def test_what_is_not_served_fails_the_deploy_and_is_named(tmp_path: Path) -> None:
    line = "mx: mail1 does not run it at epoch 1 (failed): store: mount: no route to host"
    status, words = play("serving.yml", tmp_path, None, said(line), *NOT_RETRIED)
    assert status != 0
    assert f"Everything is deployed, and yet {line}. More is told there by journalctl -u holdfast-agent" in words


def test_without_a_word_of_any_relay_it_is_told_that_nobody_knows(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, None, FAILED, *NOT_RETRIED)
    assert status == 0, words
    assert "No relay could say whether all is served" in words
