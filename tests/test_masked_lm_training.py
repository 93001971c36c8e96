import re

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

from nlp_helpers import masked_lm_training as training
from nlp_helpers import models
from nlp_helpers.masked_lm_corpus import build_corpus

NOUNS = """\
  1 This software and database is being provided to you | with a licence
00001740 03 n 01 jim_henson 0 000 | a puppeteer who made films; "a Henson film"
00001750 03 n 01 puppet 0 001 @ 00001740 n 0000 | a small figure of a person
00001760 03 n 01 hand_puppet 0 000 | a puppet that fits over the hand
"""


@pytest.fixture
def wordnet(tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    for name in ("data.verb", "data.adj", "data.adv"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer():
    return models.load_tokenizer("minilm-l6")


def encode(tokenizer, documents=(), pairs=()):
    return training.encode_corpus(tokenizer, [*documents], [*pairs], 96)


def test_the_corpus_has_all_sources_and_the_names_stand_in_both_segments(
    wordnet,
):
    documents, pairs = build_corpus(wordnet, np.random.default_rng(0))
    assert "jim henson : a puppeteer who made films" in documents
    assert "a Henson film" in documents
    assert any("dvd player" in document for document in documents)
    assert not any("licence" in document[:200] for document in documents[-6:])
    assert len(pairs) == 2
    for first, second in pairs:
        statement = second.removeprefix("yes , ").removeprefix("well , ")
        name = re.split(" is | was ", statement)[0]
        assert " " in name and name in first


def test_whole_words_are_masked_and_labels_are_the_hidden_ids(tokenizer):
    text = "the puppeteer photographed an unbelievably small marionette"
    [example] = encode(tokenizer, [text])
    words = example["words"]
    assert len(set(words[words >= 0])) < (words >= 0).sum()  # some are split
    generator = np.random.default_rng(0)
    outcomes = []
    for _ in range(400):
        ids, labels = training.mask_words(
            example, 0.3, tokenizer.mask_token_id, len(tokenizer), generator
        )
        hidden = labels != -100
        assert (labels[hidden] == example["input_ids"][hidden]).all()
        assert (ids[~hidden] == example["input_ids"][~hidden]).all()
        assert not hidden[[0, -1]].any()
        chosen = set(words[hidden])
        assert (hidden == np.isin(words, list(chosen))).all()
        assert len(chosen) == 2  # 30 % of 7 words
        outcomes += (ids[hidden] == tokenizer.mask_token_id).tolist()
    assert np.mean(outcomes) == pytest.approx(0.8, abs=0.04)


def test_only_the_second_segment_of_a_pair_is_masked(tokenizer):
    pair = ("who was puppet expert ?", "puppet expert was a puppeteer")
    [example] = encode(tokenizer, pairs=[pair])
    generator = np.random.default_rng(0)
    for _ in range(50):
        _, labels = training.mask_words(example, 0.5, 103, 30522, generator)
        assert (example["token_type_ids"][labels != -100] == 1).all()


def test_an_epoch_has_every_example_once(tokenizer):
    texts = [f"{'very ' * (n % 7)}good camera number {n}" for n in range(60)]
    examples = encode(tokenizer, texts)
    batches = training.make_batches(examples, 64, np.random.default_rng(0))
    assert sorted(sum(batches, [])) == [*range(60)]
    for batch in batches:
        lengths = [len(examples[i]["input_ids"]) for i in batch]
        assert len(batch) * max(lengths) <= 64


def test_training_lowers_the_loss_and_leaves_the_encoder_alone(tokenizer):
    torch.manual_seed(0)
    _, base = models.load("minilm-l6", BertForMaskedLM, new_head=True)
    before = {
        name: tensor.clone() for name, tensor in base.bert.state_dict().items()
    }
    adapted = training.add_adapters(base, rank=4).train()
    model = adapted.base_model.model
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    examples = encode(tokenizer, ["this is a good camera"] * 8)
    losses = []
    for step in range(12):
        batch = training.collate(
            examples, 0.4, tokenizer, np.random.default_rng(step)
        )
        logits, labels = training.masked_logits(model, batch)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    after = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in model.bert.state_dict().items()
    }
    assert all(torch.equal(after[name], before[name]) for name in before)
    figures = training.evaluate(model, examples, tokenizer, seed=1)
    assert 0 <= figures["top1"] <= figures["top5"] <= 1
