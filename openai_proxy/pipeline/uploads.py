"""Multipart uploads: the `model` field decides, text fields lose their secrets, files pass unchanged."""

from collections.abc import AsyncIterator

from openai_proxy.decision.restricted import names_models
from openai_proxy.errors import BadRequest, unknown_model
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.batch_files import BatchFile
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.form_parts import MODEL, FormSplitter, boundary_of
from openai_proxy.pipeline.form_text import TextFields
from openai_proxy.pipeline.multipart import ModelField
from openai_proxy.pipeline.passthrough import pass_through, upstream_request


async def serve(context: RequestContext) -> None:
    """Answer a multipart request."""
    if context.content_codings:
        raise BadRequest("An upload of several parts must not be compressed.", code="unsupported_encoding")
    boundary = boundary_of(context.request.headers["Content-Type"])
    pieces = context.body.pieces()
    if context.redacts:
        pieces = TextFields(boundary, await redacting.cleaner(context)).through(pieces)
    if context.endpoint.name == "files" and context.generation.snapshot.models:
        pieces = BatchFile(boundary, context.generation.snapshot.models).through(pieces)
    if context.restricted:
        pieces = _naming_no_others(boundary, pieces)
    upload = ModelField(boundary, pieces)
    try:
        decision = context.decide(await upload.find())

        def make(target: Target) -> UpstreamRequest:
            request = upstream_request(context, target, upload.replay(target.model))
            if context.body.length is not None:
                request.length = context.body.length + upload.growth(target.model)
            return request

        await pass_through(context, decision, make)
    finally:
        upload.close()


async def _naming_no_others(boundary: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The form's `pieces`, unchanged. Raises NotFound at a field other than `model` that names models."""
    splitter = FormSplitter(boundary)
    async for piece in pieces:
        for chunk in splitter.feed(piece):
            name = chunk.part.name if chunk.part is not None else None
            if name is not None and name != MODEL and names_models(name.rstrip("[]")):
                raise unknown_model(name)
        yield piece
