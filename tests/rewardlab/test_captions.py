"""Captions: templates on real faces, and LLaVA's code on a small random model in the published layout."""

import re

import numpy as np
import pytest

from rewardlab import assets, captions, face_alignment, images

needs_demo = pytest.mark.skipif(
    not (assets.is_available("demo-faces") and assets.is_available("yunet")),
    reason="requirements-demo.txt is not installed",
)

# eyes, nose, mouth of a frontal face; turning the head moves the nose
FRONTAL = (face_alignment.TEMPLATE / 2).astype(np.float32)
BLANK = np.full((256, 256, 3), 128, np.uint8)


def with_nose_moved(pixels: float) -> np.ndarray:
    moved = FRONTAL.copy()
    moved[2, 0] += pixels
    return moved


def test_limit_words_keeps_whole_sentences_if_possible():
    assert captions.limit_words("  The face\n of a man. ") == "The face of a man."
    assert captions.limit_words("One two three. Four five six.", 5) == "One two three."
    assert captions.limit_words("One two three, four five six", 3) == "One two three."
    assert len(captions.limit_words("word " * 100).split()) == captions.WORD_LIMIT


def test_pose_follows_offset_of_nose():
    assert captions.describe_pose(FRONTAL) == "front-facing"
    assert captions.describe_pose(with_nose_moved(-25)) == "turned to the left"
    assert captions.describe_pose(with_nose_moved(25)) == "turned to the right"
    assert captions.describe_pose(None) is None
    tilted = (FRONTAL - 128) @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + 128
    assert captions.describe_pose(tilted.astype(np.float32)) == "front-facing"


@needs_demo
def test_template_caption_omits_unknown_facts():
    captioner = captions.TemplateCaptioner()
    files = sorted(assets.find("demo-faces").glob("*.jpg"))[:60:10]
    crops = [face_alignment.align(images.read(file), 192) for file in files]
    texts = captioner.caption([crop.image for crop in crops], [crop.landmarks for crop in crops])
    for text in texts:
        described = re.fullmatch(r"The face of a (?:man|woman|person) aged about (\d+), [a-z -]+\.", text)
        assert described and 18 <= int(described[1]) <= 90
    assert captioner.caption([BLANK, BLANK], [FRONTAL, None]) == [
        "The face of a person, front-facing.",
        "The face of a person.",
    ]


@pytest.fixture(scope="module")
def tiny_llava(tmp_path_factory):
    """A LLaVA with 60,000 random parameters, saved like the published model."""
    from rewardlab.torchvision_stub import ensure_torchvision

    ensure_torchvision()
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    words = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "USER", "ASSISTANT", ":", "face", *"abcdefghijklmnopqrst"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **small),
        text_config=LlamaConfig(vocab_size=len(words), bos_token_id=1, eos_token_id=2, pad_token_id=3, **small),
        image_token_id=4,
    )
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(10)  # so that attention is not uniform and the image affects the text
    model.generation_config.eos_token_id = None  # generation never ends by itself: the limits have to apply
    model.save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        fast,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(
            "USER: {% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}<image>\n"
            "{% else %}{{ part['text'] }}{% endif %}{% endfor %} ASSISTANT:"
        ),
    ).save_pretrained(folder)
    return folder


def test_llava_batch_is_captioned_within_word_limit(tiny_llava):
    captioner = captions.LlavaCaptioner(tiny_llava, batch_size=2)
    assert captioner._prompt() == f"USER: <image>\n{captions.LLAVA_PROMPT} ASSISTANT:"
    pictures = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8) for seed in range(3)]
    texts = captioner.caption(pictures, [None] * 3)
    assert len(texts) == 3 and all(0 < len(text.split()) <= captions.WORD_LIMIT for text in texts)
    assert not any(special in text for text in texts for special in ("<s>", "<image>", "<pad>"))
    assert captioner.caption(pictures[1:2]) == texts[1:2]  # greedy, so that batching changes nothing
    assert len(set(texts)) > 1  # the image affects the text


def test_missing_llava_error_names_files_source_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    for model in (None, tmp_path / "absent", empty):
        with pytest.raises(assets.MissingAsset) as caught:
            captions.LlavaCaptioner(model)
        for part in ("model-*.safetensors", "llava-hf/llava-1.5-7b-hf", "weights fetch llava-1.5-7b", str(tmp_path)):
            assert part in str(caught.value)
