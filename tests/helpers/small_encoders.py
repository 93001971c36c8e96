"""Small encoders with random weights, one of each architecture."""

import transformers
from small_bert import small_config

VOCABULARY = small_config().vocab_size
BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # so that they learn fast, and answers differ
    "hidden_dropout_prob": 0.0,
}
ROBERTA = BERT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
BERT_NO = 1
MODERNBERT = BERT | {
    "pad_token_id": 0,
    "num_hidden_layers": 3,
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    "local_attention": 16,
    "initializer_cutoff_factor": 3.0,
}
CONFIGS = {
    "bert": transformers.BertConfig(**BERT),
    "roberta": transformers.RobertaConfig(**ROBERTA),
    "xlm-roberta": transformers.XLMRobertaConfig(**ROBERTA),
    "camembert": transformers.CamembertConfig(**ROBERTA),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        dropout=0.0,
        initializer_range=0.2,
    ),
    # Its embeddings are narrower than its layers, as ELECTRA-small's.
    "electra": transformers.ElectraConfig(**BERT, embedding_size=16),
    "albert": transformers.AlbertConfig(
        **BERT, embedding_size=16, pad_token_id=0
    ),
    "mpnet": transformers.MPNetConfig(**ROBERTA),
    "modernbert": transformers.ModernBertConfig(
        **MODERNBERT, classifier_pooling="cls"
    ),
    "modernbert, mean": transformers.ModernBertConfig(
        **MODERNBERT, classifier_pooling="mean"
    ),
    # As microsoft/deberta-v3 has it.
    "deberta-v2": transformers.DebertaV2Config(
        **BERT,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
        position_biased_input=False,
    ),
    "xlnet": transformers.XLNetConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        n_layer=2,
        n_head=2,
        d_inner=64,
        dropout=0.0,
        pad_token_id=5,
        initializer_range=0.2,
    ),
}
