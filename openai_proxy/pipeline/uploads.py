"""Multipart uploads: the `model` field decides, text fields lose their secrets, files pass as they come."""

from openai_proxy.errors import BadRequest
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.batch_files import BatchFile
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.form_parts import boundary_of
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
