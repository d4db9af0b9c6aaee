"""The action plugin `files`, through ansible-playbook: what a role writes in its task is what lies on the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from trial import Role, me


@pytest.fixture
def role(tmp_path: Path) -> Role:
    (tmp_path / "out").mkdir()
    return Role(tmp_path)


def test_a_task_with_everything(role: Role, tmp_path: Path) -> None:
    out = tmp_path / "out"
    role.template(
        "greeting.j2", "# {{ ansible_managed }}\n{% if polite %}\nhello {{ whom }}\n{% endif %}\n{{ item_text }}"
    )
    role.file("raw.bin", bytes(range(256)))
    package = tmp_path / "package"
    (package / "sub").mkdir(parents=True)
    for name in ("__init__.py", "sub/__init__.py", "notes.txt"):
        (package / name).write_text(f"# {name}\n")
    wanted = {
        "files": [
            {"dest": f"{out}/d", "state": "directory", "mode": "0750", **me()},
            {
                "src": "greeting.j2",
                "dest": f"{out}/d/greeting",
                "mode": "0644",
                "vars": {"item_text": "{{ whom }}!"},
                **me(),
            },
            {"copy": "raw.bin", "dest": f"{out}/raw", "mode": "0600", **me()},
            {"content": "{{ whom | upper }}", "dest": f"{out}/loud", "mode": "0644", "secret": True, **me()},
        ],
        "tree": {"src": str(package), "dest": f"{out}/package"},
    }
    said = role.run(wanted, "--diff", polite=True, whom="world")
    assert not said.get("failed"), said
    assert (out / "d/greeting").read_text() == (
        "# Written by Ansible (Holdfast); changes made here are lost\nhello world\nworld!\n"
    )
    assert (out / "raw").read_bytes() == bytes(range(256))
    assert (out / "loud").read_text() == "WORLD"
    assert sorted(str(p.relative_to(out)) for p in (out / "package").rglob("*") if p.is_file()) == [
        "package/__init__.py",
        "package/sub/__init__.py",
    ]
    assert f"{out}/loud" in said["changed_files"]
    assert "+hello world" in said["output"]
    assert "WORLD" not in said["output"]

    again = role.run(wanted, polite=True, whom="world")
    assert (again["changed"], again["changed_files"]) == (False, [])

    (package / "sub/__init__.py").unlink()
    told = role.run(wanted, "--check", polite=False, whom="world")
    assert told["changed_files"] == [f"{out}/d/greeting", f"{out}/package/sub/__init__.py"]
    assert (out / "package/sub/__init__.py").exists()


def test_what_is_pending_is_handed_on(role: Role, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = {
        "files": [{"content": "a", "dest": f"{out}/a", "mode": "0644", **me()}],
        "pending": f"{out}/own",
        "pending_for": "{{ {whose: '.*/a'} }}",
    }
    assert role.run(wanted, whose=f"{out}/other")["changed_files"] == [f"{out}/a"]
    assert (out / "own").read_text() == (out / "other").read_text() == f"{out}/a\n"


def test_contents_are_not_shown_at_any_verbosity(role: Role, tmp_path: Path) -> None:
    wanted = {
        "files": [{"content": "{{ word }}", "dest": f"{tmp_path}/out/key", "mode": "0600", "secret": True, **me()}]
    }
    said = role.run(wanted, "-vvv", "--diff", word="open-sesame")
    assert (tmp_path / "out/key").read_text() == "open-sesame"
    for shape in ("open-sesame", "b3Blbi1zZXNhbWU"):
        assert shape not in said["output"]


MISTAKES = [
    ({"dest": "/x", "mode": "0644", "content": "", "modus": 1}, ["modus", "unknown"]),
    ({"mode": "0644", "content": ""}, ["dest is missing"]),
    ({"dest": "/x", "content": ""}, ["/x", "mode"]),
    ({"dest": "/x", "content": "", "mode": 0o644}, ["/x", "mode is 420", "'0644'"]),
    ({"dest": "/x", "mode": "0644"}, ["/x", "src, content, copy"]),
    ({"dest": "/x", "mode": "0644", "src": "a", "content": "b"}, ["/x", "one of"]),
    ({"dest": "/x", "mode": "0644", "src": "none.j2"}, ["none.j2"]),
    ({"dest": "/x", "state": "link"}, ["/x", "target"]),
    ({"dest": "/x", "state": "gone"}, ["/x", "gone", "absent"]),
]
TWICE = [{"dest": "/x", "mode": "0644", "content": "a"}, {"dest": "/x", "mode": "0600", "content": "b"}]


def test_mistakes_in_a_task(role: Role) -> None:
    wrong = [*(([item], words) for item, words in MISTAKES), (TWICE, ["/x", "stands twice"])]
    said = role.run_all([{"files": items} for items, _ in wrong])
    for (_, words), result in zip(wrong, said, strict=True):
        assert result["failed"] is True
        for word in words:
            assert word in result["msg"]
