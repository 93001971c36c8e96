import gzip
import json
import math
import os
import signal
import subprocess
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from small_bert import small_config
from transformers import BertForMaskedLM

from nlp_helpers.core import folders
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading
from tools.mlm_head import examples, generated, metrics, texts, training
from tools.mlm_head.__main__ import main

NOUNS = """\
  1 This software and database is being provided to you | with a licence
00001740 03 n 01 jim_henson 0 000 | a puppeteer who made films; "a Henson film"
00001750 03 n 01 puppet 0 001 @ 00001740 n 0000 | a small figure of a person
00001760 03 n 01 hand_puppet 0 000 | a puppet that fits over the hand
"""
COUNTRIES = """\
# a comment
250:FR:FRA:France:Paris
276:DE:DEU:Germany:Berlin
364:IR:IRN:Iran, Islamic Republic of:Tehran
010:AQ:ATA:Antarctica:
"""
STORY = """mission "Tea"
\tconversation
\t\t`"Would you like some tea?" the old captain asks.`
\t\t`You land on <planet>.`
\t\tchoice
\t\t\t`"Yes, with milk."`
event "nothing to read"
"""
PAGE = """<html><body><h2>One</h2><p>Install the package first.</p>
<div class="para">Then read its manual.</div>
<h2>Two</h2><p>Another section begins here.</p></body></html>"""
LUA = (
    'text = _"Where did you find that \\"thing\\"?", n = _"Hi", _"%s is here"'
)
QUOTES = "It is never too late.\n\t\t-- Somebody\n%\nA short one here.\n%\n"


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(data)


@pytest.fixture
def unpacked(tmp_path):
    """Packages as dpkg unpacks them, with a little text in each."""
    share = tmp_path / "usr/share"
    write(share / "wordnet/data.noun", NOUNS)
    for kind in ("verb", "adj", "adv"):
        write(share / f"wordnet/data.{kind}", "")
    write(share / "games/endless-sky/data/tea.txt", STORY)
    write(share / "games/fortunes/wisdom", QUOTES)
    write(share / "games/fortunes/wisdom.dat", "binary index")
    write(share / "freedroidrpg/data/base/dialogs/Talk.lua", LUA)
    write(share / "doc/debian-handbook/html/en-US/apt.html", PAGE)
    write(share / "doc/anarchism/html/secA1.html", PAGE)
    entry = "bug\n n.\n\n    An unwanted property of a program.\n\n"
    write(share / "dictd/jargon.dict.dz", gzip.compress(entry.encode()))
    write(share / "misc/countries.gz", gzip.compress(COUNTRIES.encode()))
    review = "I bought this camera last year. It still works very well. And"
    review += " the battery lasts for days."
    write(
        tmp_path / "generated/0000.json",
        json.dumps([review, review, "No.", "“Très bien, merci beaucoup”" * 9]),
    )
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer():
    return loading.load_tokenizer("minilm-l6")


def masker(tokenizer, share=0.3, whole_word_fraction=1.0):
    return examples.Masker(tokenizer, share, whole_word_fraction)


def test_every_source_is_read(unpacked):
    found = {
        name: texts.clean(reader(unpacked))
        for name, reader in texts.READERS.items()
    }
    assert set(found) == set(texts.read_sources())
    assert (
        "jim henson : a puppeteer who made films. a Henson film."
        in (found["wordnet"])
    )
    assert not any("licence" in text for text in found["wordnet"])
    assert found["conversations"] == [
        '"Would you like some tea?" the old captain asks. "Yes, with milk."'
    ]
    assert found["dialogues"] == ['Where did you find that "thing"?']
    assert found["handbook"] == [
        "Install the package first. Then read its manual.",
        "Another section begins here.",
    ]
    assert found["essays"] == found["handbook"]
    assert found["jargon"] == ["An unwanted property of a program."]
    assert found["quotations"] == [
        "It is never too late.",
        "A short one here.",
    ]
    assert len(found["generated"]) == 1
    assert any("dvd player" in text for text in found["rated_sentences"])


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_probed_fact_stands_in_other_words_only(unpacked):
    written = "We went there.  The capital of\nFrance is Paris, and it rained."
    write(unpacked / "generated/0001.json", json.dumps([written * 3]))
    texts.collect(unpacked, unpacked / "held_out.jsonl")
    train = [row["text"] for row in read_rows(unpacked / "train.jsonl")]
    assert "The capital of Germany is Berlin." in train
    assert "Paris is the capital of France." in train
    assert not any("he capital of France is" in text for text in train)
    capitals = texts.read_capitals(unpacked)
    assert not any("Iran" in text or "Antarctica" in text for text in capitals)


def test_what_the_training_text_repeats_is_not_held_out(unpacked):
    line = "The road goes ever on and on, down from the door where it began."
    variants = [f"{line} Then it ends {number}." for number in range(300)]
    other = [
        " ".join(f"w{number}x{word}" for word in range(12))
        for number in range(300)
    ]
    quotations = "\n%\n".join(variants + other)
    write(unpacked / "usr/share/games/fortunes/wisdom", quotations)
    texts.collect(unpacked, unpacked / "held_out.jsonl")
    held_out = [
        row["text"]
        for row in read_rows(unpacked / "held_out.jsonl")
        if row["source"] == "quotations"
    ]
    assert any(map(texts.is_held_out, variants))
    assert held_out and set(held_out) <= set(other)


def test_what_a_pair_tells_is_not_held_out(unpacked, monkeypatch):
    monkeypatch.setattr(texts, "is_held_out", lambda document: True)
    texts.collect(unpacked, unpacked / "held_out.jsonl")
    held_out = {row["text"] for row in read_rows(unpacked / "held_out.jsonl")}
    pairs = texts.make_pairs(unpacked, np.random.default_rng(0))
    assert any("a puppeteer who made films" in second for _, second in pairs)
    assert not any("jim henson :" in text for text in held_out)
    assert "hand puppet : a puppet that fits over the hand." in held_out


def test_a_drawn_noun_has_its_own_article(unpacked):
    nouns = "apple", "Ounce", "house", "red_kite"
    lines = [f"0 03 n 01 {noun} 0 000 | told\n" for noun in nouns]
    write(unpacked / "usr/share/wordnet/data.noun", "".join(lines))
    generator = np.random.default_rng(0)
    drawn = set()
    for _ in range(60):
        _, (_, answer) = texts.make_pairs(unpacked, generator)
        drawn.add(" ".join(answer.split()[-2:]))
    assert drawn == {"an apple", "an Ounce", "a house"}


def test_no_document_is_in_training_and_held_out_text(unpacked):
    path = unpacked / "held_out.jsonl"
    texts.collect(unpacked, path)
    train = {row["text"] for row in read_rows(unpacked / "train.jsonl")}
    held_out = read_rows(path)
    assert len(held_out) > 20
    assert not train & {row["text"] for row in held_out}
    counts = json.loads((unpacked / "counts.json").read_text())
    assert counts["rated_sentences"] > 300_000


def test_the_committed_held_out_text_is_held_out(project):
    path = project / "benchmarks" / "held_out.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(texts.is_held_out(row["text"]) for row in rows)
    sources = texts.read_sources()
    assert {row["source"] for row in rows} == set(sources) - {"capitals"}
    for row in rows:
        assert row["licence"] == sources[row["source"]]["licence"]


def test_a_missing_package_is_named(unpacked):
    (unpacked / "usr/share/misc/countries.gz").unlink()
    with pytest.raises(UserError, match="miscfiles"):
        texts.collect(unpacked, unpacked / "held_out.jsonl")


def test_pairs_repeat_a_name_of_the_first_segment(unpacked):
    pairs = texts.make_pairs(unpacked, np.random.default_rng(0))
    assert len(pairs) == 2
    for first, second in pairs:
        words = set(first.split()) & set(second.split())
        assert words - {"was", "is", "a", ".", "?"}


def test_prompts_take_turns_and_do_not_repeat_soon():
    prompts = generated.make_prompts(400)
    assert sum("customer review" in prompt for prompt in prompts) == 300
    assert len(set(prompts[:160])) == 160


TEXT = "the puppeteer photographed an unbelievably small marionette"


@pytest.mark.parametrize("whole_word_fraction", [0.0, 0.5, 1.0])
def test_masks_hide_whole_words_or_single_tokens(
    tokenizer, whole_word_fraction
):
    [example] = examples.encode_documents(tokenizer, [TEXT], 64)
    mask = masker(tokenizer, whole_word_fraction=whole_word_fraction)
    words = examples.number_words(
        example.input_ids, mask.is_continuation, mask.is_special
    )
    num_tokens = (words >= 0).sum()
    assert len(set(words[words >= 0])) == 7
    assert num_tokens == 13  # some are split
    generator = np.random.default_rng(0)
    are_whole = []
    for _ in range(400):
        ids, labels = mask.mask(example, generator)
        hidden = labels != examples.IGNORED
        assert (labels[hidden] == example.input_ids[hidden]).all()
        assert (ids[hidden] == tokenizer.mask_token_id).all()
        assert (ids[~hidden] == example.input_ids[~hidden]).all()
        assert not hidden[[0, -1]].any()
        chosen = set(words[hidden])
        whole = (hidden == np.isin(words, list(chosen))).all()
        # 30 % of 7 words or of 13 tokens; four tokens can make whole words
        assert hidden.sum() == 4 or (whole and len(chosen) == 2)
        are_whole.append(whole)
    if whole_word_fraction == 1:
        assert all(are_whole)
    else:
        assert np.mean(are_whole) == pytest.approx(
            whole_word_fraction, abs=0.1
        )


def test_only_the_second_segment_of_a_pair_is_masked(tokenizer):
    pair = ("who was puppet expert ?", "puppet expert was a puppeteer")
    [example] = examples.encode_pairs(tokenizer, [pair], 64)
    assert tokenizer.decode(example.input_ids[:7]).endswith("? [SEP]")
    generator = np.random.default_rng(0)
    masked = set()
    for _ in range(50):
        _, labels = masker(tokenizer, 0.5).mask(example, generator)
        masked |= set(np.flatnonzero(labels != examples.IGNORED))
    assert masked == set(range(7, len(example.input_ids) - 1))


def test_a_batch_has_the_segments_and_places_of_its_examples(tokenizer):
    pairs = [("who was he ?", "he was a good man"), ("what is it ?", "a dog")]
    alone = examples.encode_documents(tokenizer, ["this is a camera ."], 64)
    row = [*examples.encode_pairs(tokenizer, pairs, 64), *alone]
    batch = examples.make_batch(
        [row], 40, masker(tokenizer), np.random.default_rng(0)
    )
    expected = [tokenizer(*pair) for pair in pairs]
    segments = sum((one["token_type_ids"] for one in expected), [])
    places = sum((list(range(len(e.input_ids))) for e in row), [])
    rest = 40 - len(places)
    found = {name: tensor.tolist() for name, tensor in batch.items()}
    zeros = [0] * (40 - len(segments))
    assert found["token_type_ids"] == [segments + zeros]
    assert found["position_ids"] == [places + [0] * rest]
    ids = [
        token if label == examples.IGNORED else label
        for token, label in zip(
            found["input_ids"][0], found["labels"][0], strict=True
        )
    ]
    assert ids == sum((e.input_ids.tolist() for e in row), []) + [0] * rest


def test_a_long_document_becomes_examples_with_nothing_lost(tokenizer):
    text = " ".join(f"camera number {n} is good ." for n in range(40))
    pieces = examples.encode_documents(tokenizer, [text], 32)
    assert max(len(piece.input_ids) for piece in pieces) == 32
    ids = np.concatenate([piece.input_ids[1:-1] for piece in pieces])
    assert ids.tolist() == tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-steps", "0"], "'--num-steps': 0 is not in the range"),
        (["--evaluate-every", "0"], "'--evaluate-every': 0 is not in the"),
        (
            ["--folder", "empty", "--held-out", "held_out.jsonl"],
            "no empty/train.jsonl; write it with",
        ),
        (["--held-out", "missing"], "no held-out text missing; "),
        (["--device", "gpu"], "'--device': 'gpu' is not one of"),
    ],
)
def test_slips_on_the_command_line_are_one_line(
    tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held_out.jsonl").write_text("")
    done = CliRunner().invoke(main, ["train", *arguments])
    assert done.exit_code in (1, 2)
    last = (done.stderr or str(done.exception)).splitlines()[-1]
    assert message in last


def test_a_version_that_apt_lacks_is_one_line(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    for name in ("apt-get", "dpkg"):
        write(
            tools / name,
            "#!/bin/sh\necho E: Version not found >&2\nexit 100\n",
        )
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(UserError, match="apt-get has no wordnet-base"):
        texts.fetch_packages(tmp_path / "mlm")


def test_batches_are_full_and_an_epoch_has_every_example_once():
    generator = np.random.default_rng(0)
    lengths = generator.integers(6, 65, 3000)
    seen, shares = [], []
    for rows in islice(examples.plan_batches(lengths, 4, 64, 1), 500):
        sizes = [sum(lengths[i] for i in row) for row in rows]
        assert max(sizes) <= 64
        shares.append(sum(sizes) / 256)
        seen += [i for row in rows for i in row]
    # But for the few that wait, no example comes again before all have come.
    few = 50
    assert len(seen) > 3000 + few
    assert len(set(seen[: 3000 - few])) == 3000 - few
    assert set(seen[: 3000 + few]) == set(range(3000))
    assert np.mean(shares) > 0.9


@pytest.mark.parametrize("attention", ["sdpa", training.ATTENTION])
def test_examples_that_share_a_row_do_not_see_each_other(tokenizer, attention):
    _, model = loading.load_model("minilm-l6", BertForMaskedLM, new_head=True)
    model.set_attn_implementation(attention)
    sentences = ["this is a good camera", "the battery died after a week"]
    pieces = examples.encode_documents(tokenizer, sentences, 64)
    mask = masker(tokenizer)

    def hidden(rows):
        batch = examples.make_batch(rows, 32, mask, np.random.default_rng(3))
        inputs = {name: batch[name] for name in batch if name != "labels"}
        inputs["input_ids"] = batch["input_ids"].where(
            batch["labels"] == examples.IGNORED, batch["labels"]
        )
        with torch.no_grad():
            return model.bert(**inputs).last_hidden_state

    size = len(pieces[0].input_ids)
    together = hidden([pieces])[0]
    apart = hidden([[pieces[0]], [pieces[1]]])
    assert torch.allclose(together[:size], apart[0, :size], atol=1e-5)
    length = len(pieces[1].input_ids)
    second = together[size : size + length]
    assert torch.allclose(second, apart[1, :length], atol=1e-5)


def test_attention_is_computed_in_float32():
    query, key, value = torch.randn(3, 2, 4, 8, 16).bfloat16()
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), scale=0.25
    )
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = training.attention_function(
            torch.nn.Module(), query, key, value, None, 0.25
        )
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.transpose(1, 2).bfloat16())


def test_the_learning_rate_warms_up_holds_and_falls():
    settings = training.Settings(
        learning_rate=1.0, warmup_steps=10, decay_fraction=1 / 3
    )
    rates = [training.learning_rate_at(s, 90, settings) for s in range(1, 91)]
    assert rates[4] == 0.5 and rates[9] == 1 and rates[59] == 1
    assert rates[74] == pytest.approx(16 / 30)
    assert 0 < rates[89] < 0.05
    longer = [
        training.learning_rate_at(s, 180, settings) for s in range(1, 61)
    ]
    assert longer == rates[:60]
    half = replace(settings, decay_fraction=0.5)
    assert training.learning_rate_at(68, 90, half) == pytest.approx(23 / 45)
    at_once = replace(settings, warmup_steps=0)
    assert training.learning_rate_at(1, 90, at_once) == 1


SMALL = training.Settings(
    rank=4,
    batch_rows=2,
    max_length=32,
    learning_rate=1e-2,
    warmup_steps=2,
    decay_fraction=0.63,
    whole_word_fraction=0.5,
    seed=2018,
)


@pytest.fixture
def corpus(tmp_path, unpacked):
    rows = [
        {"source": "generated", "text": f"this is a good {thing} ."}
        for thing in ("camera", "phone", "film", "player") * 3
    ]
    write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)))
    held_out = tmp_path / "held_out.jsonl"
    write(held_out, json.dumps(rows[0] | {"licence": "none"}))
    return tmp_path, held_out


def test_a_text_of_unknown_tokens_alone_is_left_out(
    corpus, tmp_path, tokenizer
):
    unknown = "☃ ☂ ☀ ☁ ☄ ☃"
    assert set(tokenizer.tokenize(unknown)) == {"[UNK]"}
    pairs = [("a b", unknown), (unknown, "c d")]
    [pair] = examples.encode_pairs(tokenizer, pairs, 32)
    assert tokenizer.decode(pair.input_ids[pair.second_start :]) == "c d [SEP]"
    assert examples.encode_documents(tokenizer, [unknown], 32) == []
    row = json.dumps({"source": "generated", "text": unknown})
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write("\n" + "\n".join([row] * 20))
    training.train(*corpus, tmp_path / "out", 4, 4, SMALL, "cpu")
    assert (tmp_path / "out" / "weights" / "metrics.json").is_file()


@pytest.mark.parametrize("kind", ["head", "adapters", "encoder"])
def test_training_learns_and_changes_only_what_is_named(
    corpus, tmp_path, kind
):
    output = tmp_path / "out"
    weights = output / "weights"
    rate = 3e-4 if kind == "encoder" else 3e-3
    settings = replace(SMALL, train=kind, learning_rate=rate)
    training.train(*corpus, tmp_path / "short", 2, 2, settings, "cpu")
    short = tmp_path / "short" / "weights" / "metrics.json"
    first = json.loads(short.read_text())
    training.train(*corpus, output, 14, 14, settings, "cpu")
    last = json.loads((weights / "metrics.json").read_text())
    assert last["loss"] < first["loss"] and last["step"] == 14
    assert last["top1"] <= last["top5"]
    _, plain = loading.load_model("minilm-l6", BertForMaskedLM, new_head=True)
    before = plain.bert.state_dict()
    if kind == "adapters":
        assert not (weights / "model.safetensors").exists()
        return
    loading.load_model(
        str(weights), BertForMaskedLM
    )  # opens, with its tokenizer
    after = load_file(weights / "model.safetensors")
    same = [
        torch.equal(after[f"bert.{name}"], value.half())
        for name, value in before.items()
        if name.endswith("weight")
    ]
    assert all(same) if kind == "head" else not any(same[1:])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(corpus, tmp_path, python):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training.train(*corpus, whole, 60, 4, SMALL, "cpu")
    command = [python, "-m", "tools.mlm_head", "train"]
    command += ["--folder", corpus[0], "--held-out", corpus[1]]
    command += ["--output", broken, "--num-steps", "60"]
    command += ["--evaluate-every", "4", "--rank", "4", "--batch-rows", "2"]
    command += ["--max-length", "32", "--learning-rate", "0.01"]
    command += ["--warmup-steps", "2", "--seed", "2018", "--device", "cpu"]
    command += ["--decay-share", "0.63", "--whole-word-share", "0.5"]
    process = subprocess.Popen(list(map(str, command)), env=os.environ)
    deadline = time.monotonic() + 120
    while not list(broken.glob("checkpoints/step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = max(broken.glob("checkpoints/step-*"))
    assert last.name < "step-00000060"
    training.train(*corpus, broken, 60, 4, SMALL, "cpu")
    for name in ("adapter_model.safetensors", "output_bias.safetensors"):
        found = (broken / "weights" / name).read_bytes()
        assert (whole / "weights" / name).read_bytes() == found


def test_a_run_starts_from_the_weights_of_another(corpus, tmp_path):
    training.train(*corpus, tmp_path / "first", 14, 14, SMALL, "cpu")
    first = tmp_path / "first" / "weights"
    settings = replace(SMALL, start_from=str(first), learning_rate=1e-9)
    training.train(*corpus, tmp_path / "next", 1, 1, settings, "cpu")
    for name in (loading.ADAPTERS, loading.OUTPUT_BIAS):
        before = load_file(first / name)
        after = load_file(tmp_path / "next" / "weights" / name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_average_of_two_runs_is_a_folder_of_weights(corpus, tmp_path):
    folders = []
    for number, steps in enumerate((1, 14)):
        output = tmp_path / str(number)
        training.train(*corpus, output, steps, 14, SMALL, "cpu")
        folders.append(output / "weights")
    training.average(folders, tmp_path / "mean")
    for name in (loading.ADAPTERS, loading.OUTPUT_BIAS):
        one, two, mean = [
            load_file(folder / name)
            for folder in (*folders, tmp_path / "mean")
        ]
        assert one.keys() == two.keys() == mean.keys()
        for key, tensor in mean.items():
            expected = (one[key].float() + two[key].float()) / 2
            torch.testing.assert_close(
                tensor.float(), expected, rtol=1e-3, atol=1e-6
            )
        assert any(not torch.equal(one[key], mean[key]) for key in mean)
    settings = replace(SMALL, start_from=str(tmp_path / "mean"))
    training.build_model(settings)
    training.train(
        *corpus, tmp_path / "2", 1, 1, replace(SMALL, rank=8), "cpu"
    )
    other = tmp_path / "2" / "weights"
    with pytest.raises(
        UserError, match="2/weights and .* hold adapters of different"
    ):
        training.average([folders[0], other], tmp_path / "mean")
    (other / loading.OUTPUT_BIAS).unlink()
    with pytest.raises(
        UserError, match="2/weights holds no weights that a run"
    ):
        training.average([other], tmp_path / "mean")


@pytest.mark.parametrize("kind", ["nothing", "half", "other rank", "encoder"])
def test_what_cannot_be_started_from_is_refused(corpus, tmp_path, kind):
    training.train(*corpus, tmp_path / "first", 1, 1, SMALL, "cpu")
    folder = tmp_path / "first" / "weights"
    settings = replace(SMALL, start_from=str(folder))
    match kind:
        case "nothing":
            folder.rename(tmp_path / "elsewhere")
        case "half":
            content = (folder / loading.ADAPTERS).read_bytes()
            (folder / loading.ADAPTERS).write_bytes(content[: 10**5])
        case "other rank":
            settings = replace(settings, rank=8)
        case "encoder":
            settings = replace(settings, train="encoder")
    with pytest.raises(
        UserError, match="--start-from is|no weights that|do not fit"
    ):
        training.build_model(settings)


def test_a_checkpoint_of_other_settings_is_refused(corpus, tmp_path):
    output = tmp_path / "out"
    training.train(*corpus, output, 1, 1, SMALL, "cpu")
    other = replace(SMALL, mask_fraction=0.4)
    with pytest.raises(UserError, match="mask_fraction 0.2, not 0.4"):
        training.train(*corpus, output, 2, 1, other, "cpu")


def test_a_run_is_of_its_texts_and_can_be_lengthened_in_time(
    corpus, tmp_path, capsys
):
    output = tmp_path / "out"
    steady = replace(SMALL, decay_fraction=0.1, warmup_steps=0)
    training.train(*corpus, output, 1, 1, steady, "cpu")
    training.train(*corpus, output, 3, 1, steady, "cpu")
    training.train(*corpus, output, 3, 1, steady, "cpu")
    assert "has the 3 steps: nothing to train" in capsys.readouterr().out
    falling = replace(SMALL, decay_fraction=0.9)
    training.train(*corpus, tmp_path / "falling", 3, 1, falling, "cpu")
    with pytest.raises(UserError, match="at step 3 .* --num-steps 3 already"):
        training.train(*corpus, tmp_path / "falling", 9, 1, falling, "cpu")
    path = corpus[0] / "train.jsonl"
    path.write_text(path.read_text().replace("camera", "flower"))
    with pytest.raises(UserError, match="from another training, with texts"):
        training.train(*corpus, output, 4, 1, steady, "cpu")


def test_two_runs_do_not_write_to_one_folder(corpus, tmp_path):
    with folders.exclusive(tmp_path / "out"):
        with pytest.raises(UserError, match="being written by another proc"):
            training.train(*corpus, tmp_path / "out", 1, 1, SMALL, "cpu")
    assert not (tmp_path / "out" / "weights").exists()


def test_pairs_need_the_unpacked_package(corpus, tmp_path, tokenizer):
    (tmp_path / texts.WORDNET).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="has no WordNet.*fetch --folder"):
        training.load_examples(corpus[0], tokenizer, SMALL)


def test_evaluation_asks_for_the_hidden_tokens(tokenizer):
    _, model = loading.load_model("minilm-l6-mlm", BertForMaskedLM)
    text = ["this is a very good camera and i like it a lot ."] * 40
    found = metrics.evaluate(model, tokenizer, text, seed=1)
    assert found == metrics.evaluate(model, tokenizer, text, seed=1)
    assert found["masked"] == 40 * 2  # 15 % of 13 tokens
    assert 0.1 < found["top1"] < found["top5"] < 1
    torch.nn.init.zeros_(model.cls.predictions.transform.dense.weight)
    damaged = metrics.evaluate(model, tokenizer, text, seed=1)
    assert damaged["top1"] < found["top1"] / 2


def test_a_failed_evaluation_leaves_dropout_on(tokenizer):
    model = BertForMaskedLM(small_config(vocab_size=1000)).train()
    with pytest.raises(IndexError):
        metrics.evaluate(model, tokenizer, ["a good camera"], seed=1)
    assert all(module.training for module in model.modules())


def test_the_figures_of_a_model_that_knows_one_word(tokenizer):
    """It gives *good* half of all probability, and the others equal parts."""
    size = len(tokenizer)
    _, model = loading.load_model("minilm-l6-mlm", BertForMaskedLM)
    good = tokenizer.convert_tokens_to_ids("good")
    torch.nn.init.zeros_(model.cls.predictions.decoder.weight)
    bias = torch.nn.init.zeros_(model.cls.predictions.decoder.bias)
    bias.data[good] = math.log(size - 1)
    documents = {"a": ["good " * 20] * 3, "b": ["bad " * 20] * 6}
    found = metrics.evaluate_held_out(model, tokenizer, documents, seed=1)
    right, wrong = math.log(2), math.log(2 * (size - 1))
    assert (found["a"]["top1"], found["b"]["top1"]) == (1, 0)
    assert found["a"]["loss"] == pytest.approx(right, rel=1e-4)
    assert found["b"]["loss"] == pytest.approx(wrong, rel=1e-4)
    # Of all masked tokens, not of the two sources.
    assert found["all"]["masked"] == 27
    assert found["all"]["top1"] == pytest.approx(1 / 3)
    mean = (found["a"]["loss"] + 2 * found["b"]["loss"]) / 3
    assert found["all"]["loss"] == pytest.approx(mean)
