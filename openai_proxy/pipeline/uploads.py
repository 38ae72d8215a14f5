"""Multipart uploads: the `model` field decides, text fields lose their secrets, files pass unchanged."""

from openai_proxy.decision.restricted import names_models
from openai_proxy.errors import BadRequest, unknown_model
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.batch_files import BatchFile
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.form_parts import MODEL, Chunk, Form, FormStep, boundary_of
from openai_proxy.pipeline.form_text import TextFields
from openai_proxy.pipeline.multipart import ModelField
from openai_proxy.pipeline.passthrough import pass_through, upstream_request


async def serve(context: RequestContext) -> None:
    """Answer a multipart request."""
    if context.content_codings:
        raise BadRequest("An upload of several parts must not be compressed.", code="unsupported_encoding")
    boundary = boundary_of(context.request.headers["Content-Type"])
    steps: list[FormStep] = []
    if context.redacts:
        steps.append(TextFields(boundary, await redacting.cleaner(context)))
    if context.endpoint.name == "files" and context.generation.snapshot.models:
        steps.append(BatchFile(context.generation.snapshot.models))
    if context.restricted:
        steps.append(_NamingNoOthers())
    upload = ModelField(Form(boundary, context.body.pieces(), steps))
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


class _NamingNoOthers:
    """Refuses fields other than `model` that name models. See form_parts.FormStep."""

    def take(self, chunks: list[Chunk], *, last: bool) -> list[Chunk]:
        """`chunks`, unchanged. Raises NotFound."""
        for chunk in chunks:
            name = chunk.part.name if chunk.part is not None else None
            if name is not None and name != MODEL and names_models(name.rstrip("[]")):
                raise unknown_model(name)
        return chunks
