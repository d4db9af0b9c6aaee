"""A deploy that leaves an identity without its service says so and fails: playbooks/serving.yml."""

from __future__ import annotations

from pathlib import Path

from relays import FAILED, Said, asked, play

NOT_RETRIED = ("-e", "serving_retries=0", "-e", "serving_ready_retries=0")
UNSERVED = "mx: mail1 does not run it at epoch 1 (failed): store: mount: no route to host"
MISSED = (
    "mx: its owner mail1 has missed a deploy: its configuration is older than that of mail2"
    " (deploy it: playbooks/site.yml --limit mail1)"
)
UNPROTECTED = "mx: nobody could take it over: mail2: no live lease"


def said(*unserved: str, missed: tuple[str, ...] = (), unprotected: tuple[str, ...] = ()) -> Said:
    lines = {"unserved": list(unserved), "missed": list(missed), "unprotected": list(unprotected)}
    return {"changed": False, "identities": {"what": "it knows"}, "stores": {}, **lines}


def test_all_is_served(tmp_path: Path) -> None:
    """By a relay that the deploy leaves out; nobody is asked twice."""
    status, words = play("serving.yml", tmp_path, [said(), said()], "--limit", "mail2", *NOT_RETRIED)
    assert status == 0, words
    assert "No relay could say" not in words and "nobody could" not in words
    assert asked(tmp_path) == ["relay1"]


def test_what_nobody_could_take_over_is_told_and_fails_nothing(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [said(unprotected=(UNPROTECTED,)), None], *NOT_RETRIED)
    assert status == 0, words
    assert UNPROTECTED in words
    assert asked(tmp_path) == ["relay1", "relay1"], "an agent that has just begun is waited for"


def test_what_somebody_could_take_over_a_moment_later_is_not_told(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [[said(unprotected=(UNPROTECTED,)), said()]], *NOT_RETRIED)
    assert status == 0, words
    assert UNPROTECTED not in words


def test_what_is_not_served_fails_the_deploy_and_is_named(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [None, said(UNSERVED)], *NOT_RETRIED)
    assert status != 0
    assert f"Everything is deployed, and yet {UNSERVED}. More is told there by journalctl -u holdfast-agent" in words
    assert "TASK [They do]" not in words, "that is the end"


def test_an_owner_that_the_deploy_has_not_reached_fails_it_and_what_to_do_is_told(tmp_path: Path) -> None:
    """It runs, and refuses for good whom it does not know."""
    status, words = play("serving.yml", tmp_path, [said(missed=(MISSED,))], *NOT_RETRIED)
    assert status != 0
    assert f"{MISSED}. Until then it refuses for good what the others would accept" in words
    assert "playbooks/failback.yml -e identity=NAME -e to=HOST" in words
    assert "Everything is deployed" not in words and "TASK [They do]" not in words


def test_both_are_told_at_once(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [said(UNSERVED, missed=(MISSED,))], *NOT_RETRIED)
    assert status != 0
    assert UNSERVED in words and MISSED in words


def test_an_owner_that_has_just_been_deployed_and_has_not_said_so_yet_is_asked_again(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [[said(missed=(MISSED,)), said()]], "-e", "serving_retries=1")
    assert status == 0, words
    assert asked(tmp_path) == ["relay1", "relay1"]


def test_a_start_is_waited_for_by_asking_the_same_relay_again(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [FAILED, [said(UNSERVED), said()], said()], "-e", "serving_retries=1")
    assert status == 0, words
    assert asked(tmp_path) == ["relay1", "relay2", "relay2"]


def test_a_line_for_each_relay_that_could_not_say_and_no_more(tmp_path: Path) -> None:
    """A loop in which one host cannot be reached would end in a copy of all that the others have said."""
    status, words = play("serving.yml", tmp_path, [FAILED, None, said(), said()], *NOT_RETRIED)
    assert status == 0, words
    assert "- 'relay1: /etc/holdfast/monitor.yml: No such file or directory'" in words
    assert "- 'relay2: no answer: " in words
    assert words.count("Connection refused") == 1 and words.count("monitor.yml") == 1
    assert "UNREACHABLE" not in words and "it knows" not in words and "No relay could say" not in words
    assert asked(tmp_path) == ["relay1", "relay3"]


def test_those_that_the_run_has_reached_are_asked_first(tmp_path: Path) -> None:
    """One that is off costs its time only when nobody else knows."""
    status, words = play("serving.yml", tmp_path, [said(), None, said()], "--limit", "mail1,relay3", *NOT_RETRIED)
    assert status == 0, words
    assert asked(tmp_path) == ["relay3"]


def test_without_a_word_of_any_relay_it_is_told_that_nobody_knows(tmp_path: Path) -> None:
    status, words = play("serving.yml", tmp_path, [None, FAILED], *NOT_RETRIED)
    assert status == 0, words
    assert "No relay could say whether all is served" in words
    assert "relay1: no answer" in words and "relay2: /etc/holdfast/monitor.yml" in words
