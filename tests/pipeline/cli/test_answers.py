"""The one JSON document: the same keys around every answer of every command, an error's too."""

import json

import pytest
from helpers import quick_toml

from pipeline.cli.answers import ENVELOPE, command_name, enveloped
from pipeline.cli.main import COMMANDS

NAMES = [command.__name__ for command in COMMANDS]


def answer(out, command, kind=None):
    """The document of a command, which has everything that each has, in kind."""
    document = json.loads(out, parse_constant=pytest.fail)
    assert document.keys() >= ENVELOPE.keys()
    assert (document["command"], document["kind"]) == (command, kind or command)
    assert document["version"]
    assert document["home"].startswith("/")
    assert isinstance(document["paths"], dict)
    assert isinstance(document["cautions"], list)
    if document["settings"] is not None and command != "config":
        assert document["settings"]["data.dataset"] == document["data"]["dataset"] == "digits"
        assert document["seconds"] >= 0
        assert len(document["key"]) == 16
    return document


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_a_document_of_every_command(command, home, name):
    code, out, err = command(name, "--no-such-option", "--json")
    document = answer(out, name, "error")
    assert code == document["exit_code"] == 2
    assert err == f"error: {document['error']}\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_document(name):
    from typer.main import get_command

    from pipeline.cli.main import app

    assert "--json" in [option for param in get_command(app).commands[name].params for option in param.opts]


def check(command, asked):
    """Every one of these commands answers with a document that says so much."""
    for words, expected in asked.items():
        code, out, err = command(*words, "--json")
        assert code == 0, err
        document = answer(out, words[0], expected.get("kind"))
        assert {key: document[key] for key in expected} == expected, words
        if expected.get("kind") in ("run", "study", "comparison"):
            assert document["settings"]["model.hidden"] == [64]
            assert document["data"]["images"]["train"] > 0
        if words[0] in ("evaluate", "score", "train"):
            assert document["key"] == document["keys"][list(document["keys"])[-1]]


def test_the_documents_of_a_home_have_the_same_keys_and_say_what_they_are_of(command, kept, tmp_path):
    run = json.loads(command("ls", "runs", "--json")[1])["runs"][0]["name"]
    own = ("--config", quick_toml(tmp_path, train__epochs=1))
    asked = {
        ("run", *own): {"kind": "run", "exit_code": 0},
        ("run", *own, "--dry-run"): {"kind": "plan"},
        ("sweep", "--name", "first", "--trials", "2"): {"kind": "study", "name": "first", "study": "first"},
        ("ablate", *own, "--param", "beta", "--values", "1,4", "--dry-run"): {"kind": "plan"},
        ("config", *own): {},
        ("status",): {"kind": "status"},
        ("ls",): {"kind": "ls"},
        ("verify", run): {"name": run, "drifted": []},
        ("compare", run, "best"): {"kind": "comparison"},
        ("rm", run): {"removed": False},
        ("doctor",): {"exit_code": 0},
    }
    check(command, asked)


@pytest.mark.soak
def test_the_documents_of_what_computes_have_them_too(command, kept, tmp_path):
    run = json.loads(command("ls", "runs", "--json")[1])["runs"][0]["name"]
    own = ("--config", quick_toml(tmp_path, train__epochs=1))
    asked = {
        ("prepare", *own): {"name": "digits"},
        ("train", *own): {"epochs": 1},
        ("evaluate", *own, "--split", "val"): {"split": "val"},
        ("score", *own): {"split": "test"},
        ("audit", *own): {"split": "test"},
        ("baselines", *own): {},
        ("ablate", *own, "--param", "beta", "--values", "1,4", "--seeds", "1"): {"kind": "ablation", "seeds": 1},
        ("denoise", "--run", run): {"name": run},
        ("anomalies", "--run", run): {"name": run},
        ("generate", "--run", run, "--n", "1", "--out", tmp_path / "x.png"): {"name": run, "images": 10},
        ("export", "--run", run, "--safetensors", "--out", tmp_path / "x"): {"name": run},
        ("report", run): {"name": run, "of": "run"},
        ("report", "first"): {"name": "first", "of": "study"},
        ("compare", "first", "second"): {"kind": "comparison", "name": "first and second"},
        ("ui", "--links"): {},
        ("sync",): {},
        ("gc",): {"removed": False},
        ("pack", "first", tmp_path / "first.zip"): {"name": "first"},
        ("unpack", tmp_path / "first.zip"): {"name": "first", "was_here": True},
    }
    check(command, asked)


def test_an_answer_that_is_no_number_is_null(capsys):
    from pipeline.cli.answers import print_json

    print_json({"a": [float("nan"), {"b": float("inf")}]})
    assert json.loads(capsys.readouterr().out)["a"] == [None, {"b": None}]


def test_the_command_is_the_first_word_that_is_no_flag():
    assert command_name(["-q", "run", "--json"]) == "run"
    assert command_name(["--json"]) == ""
    assert enveloped({"name": "x"})["paths"] == {}
