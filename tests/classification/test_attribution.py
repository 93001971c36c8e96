import copy

import numpy as np
import pytest
import torch
import transformers
from small_encoders import CONFIGS, VOCABULARY
from test_encoders import own_logits

from nlp_helpers.classification import attribution, checkpoints
from nlp_helpers.core.errors import UserError
from nlp_helpers.models import loading

# They scale word vectors to one length; the padding's are zeros here.
JUMP = ("modernbert", "modernbert, mean", "deberta-v2")


@pytest.fixture
def input_ids():
    """Return a text of 15 tokens between [CLS] and [SEP]."""
    generator = np.random.default_rng(0)
    words = generator.integers(2000, VOCABULARY, 15).astype(np.uint16)
    return np.concatenate([[101], words, [102]])


def load(tmp_path, kind):
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[kind])
    config.num_labels = 3
    checkpoints.save_model(
        tmp_path / "classifier",
        transformers.AutoModelForSequenceClassification.from_config(config),
        loading.load_tokenizer("minilm-l6"),
    )
    return attribution.load(str(tmp_path / "classifier"))


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_scores_add_up_to_what_the_text_adds(tmp_path, kind, input_ids):
    tokenizer, model = load(tmp_path, kind)
    expected = own_logits(model, input_ids.astype(np.int64))
    vectors = attribution.embed(model, input_ids)
    logits = attribution.compute_logits(model, vectors)[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    for baseline in ("mask",) if kind in JUMP else ("pad", "mask", "zero"):
        found = attribution.attribute(
            model, tokenizer, input_ids, None, baseline, 256
        )
        assert found.label == int(expected.argmax())
        assert abs(found.difference) > 0.01  # else equal means little
        assert abs(found.error) < 0.02 * max(1, abs(found.difference))
        assert found.scores[0] == found.scores[-1] == 0  # same in both
        assert np.abs(found.scores).max() > 0.01


def test_a_jump_at_the_start_shows_in_the_error(tmp_path, input_ids):
    tokenizer, model = load(tmp_path, "modernbert")
    found = attribution.attribute(
        model, tokenizer, input_ids, None, "zero", 256
    )
    assert abs(found.error) > 0.1


def test_the_baseline_keeps_what_the_tokenizer_adds(tmp_path, input_ids):
    tokenizer, model = load(tmp_path, "bert")
    assert list(attribution.words_of(input_ids, tokenizer)) == [*range(1, 16)]
    table = model.get_input_embeddings().weight
    text = table[torch.from_numpy(input_ids.astype(np.int64))]
    for baseline, vector in (
        ("pad", table[tokenizer.pad_token_id]),
        ("mask", table[tokenizer.mask_token_id]),
        ("zero", torch.zeros_like(table[0])),
    ):
        [start] = attribution.embed_baseline(
            model, tokenizer, input_ids, baseline
        )
        torch.testing.assert_close(start[[0, -1]], text[[0, -1]])
        torch.testing.assert_close(start[1:-1], vector.expand(15, -1))


def test_a_linear_model_is_explained_by_its_weights(input_ids):
    """Where the logits are sums over tokens, so are the attributions."""
    tokenizer = loading.load_tokenizer("minilm-l6")

    class Linear(torch.nn.Module):
        config = CONFIGS["bert"]
        device = torch.device("cpu")

        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, 4)
            self.head = torch.nn.Linear(4, 2)

        def get_input_embeddings(self):
            return self.table

        def forward(self, inputs_embeds):
            logits = self.head(inputs_embeds).sum(dim=1)
            return transformers.modeling_outputs.SequenceClassifierOutput(
                logits=logits
            )

    model = Linear().requires_grad_(False)
    found = attribution.attribute(model, tokenizer, input_ids, 1, "pad", 2)
    ids = torch.from_numpy(input_ids.astype(np.int64))
    moved = model.table(ids) - model.table(torch.tensor(0))
    expected = moved @ model.head.weight[1]
    expected[[0, -1]] = 0
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert found.label == 1


def test_more_steps_miss_less(tmp_path, input_ids):
    tokenizer, model = load(tmp_path, "bert")
    few, many = (
        attribution.attribute(
            model, tokenizer, input_ids, 0, "pad", n_steps=steps
        )
        for steps in (2, 128)
    )
    assert abs(many.error) < abs(few.error) / 10


def test_a_long_text_takes_several_passes(tmp_path, input_ids, monkeypatch):
    tokenizer, model = load(tmp_path, "bert")
    whole = attribution.attribute(model, tokenizer, input_ids)
    sizes = []
    forward = attribution.compute_logits

    def compute_logits(model, vectors):
        sizes.append(len(vectors))
        return forward(model, vectors)

    monkeypatch.setattr(attribution, "MAX_TOKENS", 50)
    monkeypatch.setattr(attribution, "compute_logits", compute_logits)
    parts = attribution.attribute(model, tokenizer, input_ids)
    assert max(sizes) == 2 and len(sizes) >= 16
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-5)


def test_a_tokenizer_without_a_mask_is_one_line(tmp_path, input_ids):
    tokenizer, model = load(tmp_path, "bert")
    tokenizer.mask_token = None
    with pytest.raises(UserError, match="no mask token; set baseline to zero"):
        attribution.attribute(model, tokenizer, input_ids, 0, "mask")


def test_a_checkpoint_of_any_classes_is_found(root):
    folder = root / "outputs" / "hub" / "05_bert_fine_tuning"
    with pytest.raises(UserError, match="run notebook 05 first"):
        attribution.find_checkpoint("outputs/hub/05_bert_fine_tuning")
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "config.json").write_text("{}")
    found = attribution.find_checkpoint("outputs/hub/05_bert_fine_tuning")
    assert found == folder / "checkpoint"
