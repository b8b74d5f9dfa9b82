"""Tokens of the formats that SageMaker's model servers stream."""

from __future__ import annotations

import pytest
from support.framing_corpus import (
    CHAT,
    DONE,
    OPENAI_USAGE,
    TGI_DETAILS,
    TOKENS,
    check_case,
    chunk,
    completion,
    drained,
    json_lines,
    lmi,
    outcome,
    sse,
    tgi,
)

from aiosmrt.errors import InvalidMessageError, ModelError
from aiosmrt.framing import Token, TokenDecoder, TokenUsage
from aiosmrt.framing._tokens import extract_tokens


@pytest.mark.parametrize("name", TOKENS)
def test_the_corpus_however_it_is_cut(name):
    check_case(TokenDecoder, TOKENS[name])


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/jsonlines", None])
def test_the_content_type_need_not_be_right(content_type):
    for data in (sse(*CHAT) + DONE, json_lines(*CHAT)):
        found = outcome(TokenDecoder(content_type), [data])
        assert "".join(token.text for token in found.items) == "Hé you"
        assert found.error is None


def test_the_texts_joined_are_the_text_that_tgi_and_lmi_repeat_at_the_end():
    tgis = [
        tgi(1, "Hé"),
        tgi(2, "<s>", special=True),
        tgi(3, " you", generated_text="Hé you", details=TGI_DETAILS),
    ]
    lmis = [lmi("Hé"), lmi(" you", generated_text="Hé you")]
    for chunks in (tgis, lmis):
        text = "".join(token.text for value in chunks for token in extract_tokens(value))
        assert text == chunks[-1]["generated_text"]


def test_the_last_token_says_how_the_answer_ended():
    usage = {"choices": [], "usage": OPENAI_USAGE}
    last = outcome(TokenDecoder(), [sse(*CHAT, usage) + DONE]).items[-1]
    assert (last.finish_reason, last.usage) == ("stop", TokenUsage(12, 2))
    # Of two answers, the one that ended last.
    more = {"choices": [{"index": 1, "text": "b"}]}
    last = outcome(TokenDecoder(), [sse(*CHAT, more, usage) + DONE]).items[-1]
    assert (last.finish_reason, last.usage) == ("stop", TokenUsage(12, 2))
    last = outcome(TokenDecoder(), [sse(*CHAT[:2], usage) + DONE]).items[-1]
    assert (last.finish_reason, last.usage) == (None, TokenUsage(12, 2))


def test_the_chunk_is_there_for_what_has_no_attribute():
    value = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})
    (token,) = extract_tokens(value)
    assert token.text == ""
    assert token.chunk is value


def test_the_repr_hides_text_reasoning_and_chunk():
    token = Token("secret", 1, "secret", "stop", TokenUsage(1, 2), {"secret": 1})
    assert repr(token) == (
        "Token(text=<6 characters>, index=1, reasoning=<6 characters>, finish_reason='stop', "
        "usage=TokenUsage(prompt_tokens=1, completion_tokens=2))"
    )
    assert hash(token) == hash(Token("secret", 1, "secret", "stop", TokenUsage(1, 2)))


@pytest.mark.parametrize(
    "value,tokens",
    [
        (chunk({"content": "a"}, usage={"prompt_tokens": "x"}), [Token("a", usage=TokenUsage())]),
        (chunk({"content": "a"}, usage={"other": 1}), [Token("a")]),
        (chunk({"content": "a"}, usage=[]), [Token("a")]),
        (chunk({"content": "a"}, reason={"type": "stop"}), [Token("a")]),
        ({"choices": [{"index": None, "text": "a"}]}, [Token("a")]),
        (
            {"choices": [{"index": True, "text": None, "finish_reason": "stop"}]},
            [Token("", finish_reason="stop")],
        ),
        ({"token": {"text": None}, "details": "x"}, [Token("")]),
        ({"error": None, "outputs": [None]}, [Token("")]),
        ({"error": "", "outputs": []}, []),
    ],
    ids=str,
)
def test_facts_of_a_wrong_type_are_left_out(value, tokens):
    assert extract_tokens(value) == tokens


# -- errors in the stream


@pytest.mark.parametrize(
    "value,message,status",
    [
        # vLLM, and LMI with it
        (
            {"error": {"message": "Boom", "type": "BadRequestError", "param": None, "code": 400}},
            "BadRequestError: Boom",
            400,
        ),
        # SGLang
        (
            {"error": {"object": "error", "message": "Boom", "type": "Bad", "code": 503}},
            "Bad: Boom",
            503,
        ),
        # SGLang and older vLLM
        ({"object": "error", "message": "Boom", "type": "Bad", "code": 400}, "Bad: Boom", 400),
        # TGI, in OpenAI's form and in its own
        ({"error": {"message": "Boom", "http_status_code": 422}}, "Boom", 422),
        ({"error": "Boom", "error_type": "generation"}, "generation: Boom", None),
        # LMI
        ({"error": "Boom", "code": 424}, "Boom", 424),
        ({"code": 424, "message": "invoke handler failure", "error": "Boom"}, "Boom", 424),
        (
            {
                "token": {"id": -1, "text": "", "log_prob": -1, "error_msg": "Boom"},
                "generated_text": "",
                "details": {"finish_reason": "error"},
            },
            "Boom",
            None,
        ),
        (
            {"token": {"id": -1, "text": ""}, "details": {"finish_reason": "error"}},
            "",
            None,
        ),
        (completion("", "error"), "", None),
        ({"error": {"message": ["x"], "type": 5, "code": "500"}}, "", None),
        ({"error": True}, "", None),
        ({"error": {"message": "\ud83d no", "type": "\ude00"}}, "?: ? no", None),
    ],
    ids=str,
)
def test_an_error_in_the_stream_is_raised_as_such(value, message, status):
    for data in (sse(CHAT[1], value) + DONE, json_lines(CHAT[1], value)):
        found = outcome(TokenDecoder(), [data])
        assert found.items == [Token("Hé")]
        error = found.error
        assert type(error) is ModelError
        assert error.message == message
        assert error.status_code == 200
        assert error.original_status_code == status
        assert error.original_message == (message.rpartition(": ")[2] or None)


def test_nothing_behind_an_error_is_handed_out():
    decoder = TokenDecoder()
    decoder.receive_data(sse({"error": "Boom"}, CHAT[1]))
    for _ in range(2):
        with pytest.raises(ModelError):
            list(decoder)
        decoder.receive_data(sse(CHAT[1]))
    decoder.receive_eof()
    with pytest.raises(ModelError):
        list(decoder)


def test_a_loop_left_inside_a_chunk_goes_on_there_even_before_an_error():
    decoder = TokenDecoder()
    decoder.receive_data(sse({"choices": [{"text": "a"}, {"index": 1, "text": "b"}]}))
    assert next(iter(decoder)) == Token("a")
    decoder.receive_data(sse({"error": "Boom"}))
    found = drained(decoder)
    assert found.items == [Token("b", 1)]
    assert type(found.error) is ModelError


# -- formats that are not known


@pytest.mark.parametrize(
    "value,seen",
    [
        (
            {"generation": "secret", "stop": 1},
            "a chunk of the stream: it is an object with the keys 'generation', 'stop'",
        ),
        ({}, "it is an empty object; iter_json() reads values of any form"),
        (["secret"], "a chunk of the stream: it is an array"),
        ("secret", "it is a string"),
        (5, "it is a number"),
        (5.5, "it is a number"),
        (True, "it is a boolean"),
        (None, "it is null"),
        ({"choices": ["secret"]}, "a choice of the stream: it is a string"),
        (
            {"choices": [{"index": 0}]},
            "a choice of the stream: it is an object with the keys 'index'",
        ),
        ({"choices": {"other": 1}}, "it is an object with the keys 'choices'"),
        ({"choices": [{"text": ["secret"]}]}, "a text of the stream: it is an array"),
        ({"choices": [{"delta": {"content": 5}}]}, "a text of the stream: it is a number"),
        ({"token": {"id": 1}}, "a token of the stream: it is an object with the keys 'id'"),
        ({"token": "secret"}, "it is an object with the keys 'token'"),
        ({"outputs": [{"other": "secret"}]}, "a text of the stream: it is an object"),
        (
            {"generated_text": "secret"},
            'which is a whole answer: does the request say "stream": true',
        ),
        ({"choices": [{"message": {"content": "secret"}}]}, "which is a whole answer"),
        ([{"generated_text": "secret"}], "it is an array, which is a whole answer"),
    ],
    ids=str,
)
def test_a_form_that_is_not_known_is_told_by_its_shape(value, seen):
    with pytest.raises(InvalidMessageError) as caught:
        extract_tokens(value)
    assert seen in str(caught.value)
    assert "secret" not in str(caught.value)


def test_few_and_short_keys_are_told():
    with pytest.raises(InvalidMessageError) as caught:
        extract_tokens({f"{number}{'k' * 1000}": 1 for number in range(1000)})
    assert "'9kkk" in str(caught.value)
    assert ", ..." in str(caught.value)
    assert "'10kkk" not in str(caught.value)
    assert len(str(caught.value)) < 800
