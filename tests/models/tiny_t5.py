"""A T5 tokenizer and encoder with a handful of words and random weights, for the families that read text with T5."""

from transformers import T5Config, T5EncoderModel, T5Tokenizer

WORDS = ("a", "red", "blue", "circle", "square", "moves", "left", "down", "slowly", "worst", "quality")
TEXT_WIDTH = 16
LIMIT = 12  # tokens that a model reads


def tiny_tokenizer() -> T5Tokenizer:
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*specials, ("▁", -9.0), *((f"▁{word}", -1.0) for word in WORDS)], extra_ids=0)


def tiny_text_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            vocab_size=4 + len(WORDS),
            feed_forward_proj="gated-gelu",
            initializer_factor=1.0,
        )
    )
