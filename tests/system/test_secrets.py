"""What looks like a secret in a file for others, and what does not."""

import pytest

from pointmae_zoo.system.secrets import line_of_secret, without_homes, without_secrets

RANDOM = "a1B2c3D4e5" * 5


@pytest.mark.parametrize(
    "secret",
    [
        f"hf_{RANDOM[:34]}",
        f"hf_oauth_{RANDOM[:20]}.{RANDOM[:20]}",
        f"hf_jwt_{RANDOM[:24]}-{RANDOM[:12]}.{RANDOM[:30]}",
        f"ghp_{RANDOM[:36]}",
        f"npm_{RANDOM[:36]}",
        f"AIza{RANDOM[:20]}-{RANDOM[:14]}",
        "ASIA" + "ABCD1234" * 2,
        "AKIA" + "ABCD1234" * 2,
        f"sk-{RANDOM[:48]}",
        f"sk-proj-{RANDOM[:12]}_{RANDOM[:12]}-{RANDOM[:40]}",
        "sk-or-v1-" + "0a1b2c3d" * 8,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "password: correct-horse",
        'password = "hunter22"',
        '"api_key": "zzzz-yyyy-xxxx"',
        "aws_secret_access_key: abcd/efgh/ijkl",
        f"HF_TOKEN={RANDOM[:12]}",
        "git clone https://abcdef0123456789@example.org/shapes.git",
        "https://me:hunter22@example.org/shapes",
        "ssh://me:hunter22@example.org/shapes",
    ],
)
def test_secrets_are_found(secret: str) -> None:
    assert line_of_secret(f"first\n  # {secret} and more\n") == 2


@pytest.mark.parametrize(
    "text",
    [
        "sk-scatter-the-points-over-the-surface",
        "task-specific-layers-of-the-transformer-encoder-2",
        "num_tokens: [128, 32]",
        "mask_token: learned",
        "https://medium.com/@ada/points",
        "https://example.org/find?who=ada@example.org",
        "git@example.org:ada/shapes.git",
        "ssh://git@example.org/shapes.git",
        '"command": ["pretrain", "--password", "***", "--api-key=***", "https://***@example.org/x"]',
        "password: null",
        "password:",
        "hf_hub_download",
        "0123456789abcdef" * 4,
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert line_of_secret(text) is None


def test_known_secrets_are_found_wherever_they_are() -> None:
    assert line_of_secret("a\nxx-short-yy\n", known=["", "short"]) == 2


def test_new_tokens_are_taken_out_of_a_command_too() -> None:
    words = ["pretrain", "--note", f"npm_{RANDOM[:36]}", "https://abcdef@example.org/x"]
    assert without_secrets(words) == ["pretrain", "--note", "***", "https://***@example.org/x"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("data: /home/ada/shapes", "data: ~/shapes"),
        ('data: "/home/Ada Augusta Lovelace/shapes"', 'data: "~/shapes"'),
        ("'/Users/Ada Lovelace'", "'~'"),
        (r"C:\Users\Ada Lovelace\shapes", r"~\shapes"),
        ("from /home/ada and /home/bob/x", "from ~ and ~/x"),
        ("[/home/ada, /home/bob/x]", "[~, ~/x]"),
        ("/Users/Shared/shapes", "/Users/Shared/shapes"),
        ("/srv/home/ada", "/srv/home/ada"),
    ],
)
def test_names_of_homes_are_taken_out_whole(text: str, cleaned: str) -> None:
    assert without_homes(text) == cleaned
