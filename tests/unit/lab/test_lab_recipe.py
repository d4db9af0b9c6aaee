"""What goes into the image, and when it is another image."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import image, kernel, recipe
from lab.errors import LabError
from lab.recipe import Account, Wishes


def role(root: Path, name: str, text: str) -> None:
    folder = root / "roles" / name / "vars"
    folder.mkdir(parents=True)
    (folder / "main.yml").write_text(text)


def test_lists_of_all_roles_come_together(tmp_path: Path) -> None:
    role(tmp_path, "relay", "__relay_packages: [postfix, nfs-common]\n__relay_other: [no]\n")
    role(tmp_path, "store", "__store_packages: [nfs-common]\n__store_accounts: [{name: vmail, uid: 5000, gid: 5000}]\n")
    role(tmp_path, "empty", "")
    found = recipe.wishes(tmp_path)
    assert found.packages == {"postfix", "nfs-common"}
    assert found.accounts == (Account("vmail", gid=5000, uid=5000),)


def test_no_roles_no_wishes(tmp_path: Path) -> None:
    assert recipe.wishes(tmp_path) == Wishes(frozenset(), ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x_packages: postfix\n", "x_packages in roles/x/vars/main.yml: postfix"),
        ('x_packages: ["{{ other }}"]\n', "x_packages in roles/x/vars/main.yml"),
        ("x_accounts: [{name: a}]\n", "x_accounts in roles/x/vars/main.yml"),
        ("x_packages: [\n", "unreadable variables: roles/x/vars/main.yml"),
    ],
)
def test_what_is_no_list_is_named(tmp_path: Path, text: str, words: str) -> None:
    role(tmp_path, "x", text)
    with pytest.raises(LabError) as caught:
        recipe.wishes(tmp_path)
    assert str(caught.value).startswith(words)


def test_roles_may_share_an_account_but_not_disagree() -> None:
    one = Account("vmail", gid=5000, uid=5000)
    assert recipe.merge([one, one]) == (one,)
    with pytest.raises(LabError, match="account with two definitions: vmail"):
        recipe.merge([one, Account("vmail", gid=5001, uid=5000)])
    with pytest.raises(LabError, match="uid given twice: 5000: vmail, other"):
        recipe.merge([one, Account("other", gid=5001, uid=5000)])


def test_accounts_are_there_before_the_packages(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text("root:*:0:0::/root:/bin/bash\n")
    recipe.add_accounts(tmp_path, [Account("vmail", gid=5000, uid=5000, home="/srv"), Account("postdrop", gid=5001)])
    passwd = (tmp_path / "etc/passwd").read_text().splitlines()[1:]
    assert passwd == ["vmail:*:5000:5000::/srv:/usr/sbin/nologin"]
    assert (tmp_path / "etc/group").read_text().splitlines()[1:] == ["vmail:x:5000:", "postdrop:x:5001:"]


def test_the_hash_is_that_of_what_matters() -> None:
    nothing = Wishes(frozenset(), ())
    base = image.recipe_hash(nothing, "k")
    assert base == image.recipe_hash(nothing, "k")
    assert base != image.recipe_hash(nothing, "other kernel")
    assert base != image.recipe_hash(Wishes(frozenset({"cowsay"}), ()), "k")
    assert base != image.recipe_hash(Wishes(frozenset(), (Account("vmail", 5000),)), "k")
    # A package the image has anyway makes no other image.
    assert base == image.recipe_hash(Wishes(frozenset({"openssh-server"}), ()), "k")


def test_the_hash_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "FOLDER", tmp_path)
    (tmp_path / "packages.txt").write_text("# words\nless\n")
    (tmp_path / "files").mkdir()
    script = tmp_path / "files/script"
    script.write_text("one")
    nothing = Wishes(frozenset(), ())
    hashes = [image.recipe_hash(nothing, "k")]
    script.chmod(0o755)
    hashes.append(image.recipe_hash(nothing, "k"))
    script.write_text("two")
    hashes.append(image.recipe_hash(nothing, "k"))
    (tmp_path / "packages.txt").write_text("less\njq\n")
    hashes.append(image.recipe_hash(nothing, "k"))
    assert len(set(hashes)) == 4


def test_options_the_kernel_dropped_are_found() -> None:
    wanted = 'CONFIG_A=y\n# CONFIG_Z=y\nCONFIG_B=n\nCONFIG_C="x,y"\nCONFIG_D=y\nCONFIG_E=n\nCONFIG_F=14\n'
    got = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x,y"\nCONFIG_E=y\nCONFIG_F=17\n'
    assert kernel.unmet(wanted, got) == ["CONFIG_D=y", "CONFIG_E=n", "CONFIG_F=14"]


def test_the_projects_own_roles_can_be_read() -> None:
    assert {"postfix", "keepalived", "haproxy"} <= recipe.wishes().packages
