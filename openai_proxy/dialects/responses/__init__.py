"""OpenAI's Responses API, client and provider side.

    read_request    `tools`, `conversation`, `content`        a client's request
    write_request   `input_items`                             a request to a provider
    read_answer                                               a provider's answer
    write_answer    `output_items`, `response_object`         an answer for a client
                    `reasoning`                               a model's reasoning, in all four

https://platform.openai.com/docs/api-reference/responses
"""
